"""Write the report of an evaluation into the workspace, and print its main results."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

from memoirist.data.evaluation.findings import Findings, Side
from memoirist.data.evaluation.report_pages import LANGUAGES, Report, assess, pages
from memoirist.data.schema.records import Run
from memoirist.flows.evaluation.eval_set import EvalSet
from memoirist.flows.recipe.recipe import Recipe
from memoirist.flows.runtime.context import Context
from memoirist.train.disk import write_text

_SHOWN = 5


def write_report(
    context: Context, run: Run, sides: Mapping[str, Side], findings: Findings, eval_set: EvalSet
) -> Path:
    """Write report.md with its plots and report.html; return the latter's path."""
    folder = context.workspace.reports / run.id
    folder.mkdir(parents=True, exist_ok=True)
    persona = Recipe.model_validate_json(run.recipe).persona.name
    settings = context.recipe.evaluate
    rows = "test" if eval_set.on_test else "validation"
    report = Report(
        title=f"How much is it {persona}?" if persona else "How close is the model?",
        facts=(
            ("run", run.id),
            ("base", run.base_model),
            ("dataset", run.dataset_id),
            ("language", LANGUAGES.get(eval_set.data.lang, eval_set.data.lang)),
            ("held out", f"{len(eval_set.rows)} {rows} conversations"),
            ("questions", str(len(eval_set.questions))),
            ("created", f"{context.now:%Y-%m-%d %H:%M} UTC"),
        ),
        findings=findings,
        examples=_examples(sides, eval_set),
        sampling=settings.model_dump() | {"n_examples": len(eval_set.examples) // 2},
        on_test=eval_set.on_test,
    )
    for old in folder.glob("*.svg"):
        old.unlink()
    for name, text in pages(report).items():
        write_text(folder / name, text)
    return folder / "report.html"


def report_findings(context: Context, findings: Findings, page: Path) -> None:
    """Print the assessments in a few lines, bad ones as warnings."""
    for assessment in assess(findings):
        answer = f"{assessment.question} {assessment.answer}"
        if assessment.rating == "bad":
            first = assessment.details.split(". ")[0].split("; ")[0].rstrip(".")
            context.report.warn(f"{answer}. {first}.")
        else:
            context.report.note(answer)
    context.report.note(f"report: {page}")


def _examples(sides: Mapping[str, Side], eval_set: EvalSet) -> list[tuple[str, Mapping[str, str]]]:
    """Return randomly drawn questions with the answer of each side."""
    n = len(eval_set.questions)
    indices = sorted(random.Random(eval_set.data.seed).sample(range(n), min(_SHOWN, n)))
    answers = {name: side.answers for name, side in sides.items() if side.answers}
    return [
        (eval_set.questions[i].question, {name: texts[i] for name, texts in answers.items()})
        for i in indices
    ]

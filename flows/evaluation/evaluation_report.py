"""Write the report of an evaluation into the workspace, and say the main of it on the terminal."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

from memoirist.data.evaluation.assessment import assess
from memoirist.data.evaluation.findings import Findings, Side
from memoirist.data.evaluation.report_pages import LANGUAGES, Report, pages
from memoirist.data.schema.records import Run
from memoirist.flows.evaluation.eval_set import EvalSet
from memoirist.flows.recipe.recipe import Recipe
from memoirist.flows.runtime.context import Context
from memoirist.train.disk import write_text

_SHOWN = 5


def write_report(
    context: Context, run: Run, sides: Mapping[str, Side], findings: Findings, setting: EvalSet
) -> Path:
    """Write report.md with its plots and report.html; return the latter's path."""
    folder = context.workspace.reports / run.id
    folder.mkdir(parents=True, exist_ok=True)
    persona = Recipe.model_validate_json(run.recipe).persona.name
    settings = context.recipe.evaluate
    rows = "test" if setting.on_test else "validation"
    report = Report(
        title=f"How much is it {persona}?" if persona else "How close is the model?",
        facts=(
            ("run", run.id),
            ("base", run.base_model),
            ("dataset", run.dataset_id),
            ("language", LANGUAGES.get(setting.data.lang, setting.data.lang)),
            ("held out", f"{len(setting.rows)} {rows} conversations"),
            ("questions", str(len(setting.held))),
            ("made", f"{context.now:%Y-%m-%d %H:%M} UTC"),
        ),
        findings=findings,
        examples=_examples(sides, setting),
        sampling=settings.model_dump() | {"n_examples": len(setting.examples) // 2},
        on_test=setting.on_test,
    )
    for old in folder.glob("*.svg"):
        old.unlink()
    for name, text in pages(report).items():
        write_text(folder / name, text)
    return folder / "report.html"


def report_findings(context: Context, findings: Findings, page: Path) -> None:
    """Say in a few lines what came out, the warnings among them as warnings."""
    for assessment in assess(findings):
        answer = f"{assessment.question} {assessment.word}"
        if assessment.tone == "bad":
            first = assessment.details.split(". ")[0].split("; ")[0].rstrip(".")
            context.report.warn(f"{answer}. {first}.")
        else:
            context.report.note(answer)
    context.report.note(f"report: {page}")


def _examples(sides: Mapping[str, Side], setting: EvalSet) -> list[tuple[str, Mapping[str, str]]]:
    """Return some questions, drawn by chance, with the answer of each side."""
    n = len(setting.held)
    places = sorted(random.Random(setting.data.seed).sample(range(n), min(_SHOWN, n)))
    return [
        (
            setting.held[place].question,
            {name: side.answers[place] for name, side in sides.items() if side.answers},
        )
        for place in places
    ]

"""Evaluate the tuned model against its base and the person, report, and choose the champion."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from memoirist.data.evaluation.findings import Findings, Side, compute_findings, figures
from memoirist.data.evaluation.intervals import Estimate
from memoirist.data.evaluation.report_pages import LANGUAGES, Report, assess, pages
from memoirist.data.schema.errors import MemoiristError, NothingToDo
from memoirist.data.schema.records import Evaluation, Metric, Model, Run
from memoirist.flows.evaluation.comparison import is_judge_due, judge_duels, scores
from memoirist.flows.evaluation.eval_set import EvalSet, build_eval_set, predict_sides
from memoirist.flows.models.model_card import write_model_card
from memoirist.flows.models.model_promotion import model_before, promote
from memoirist.flows.recipe import Recipe
from memoirist.flows.runtime.context import Context
from memoirist.flows.steps.base import Step, fingerprint
from memoirist.flows.steps.train import current_run
from memoirist.train.disk import write_text

if TYPE_CHECKING:
    from memoirist.train.model.prepared_base import PreparedBase


def evaluate_model(context: Context) -> Mapping[str, float]:
    """Evaluate the newest run, unless nothing has changed since, and choose the champion."""
    run, base = current_run(context)
    model = context.workspace.model_of(run.id)
    if model is None:
        raise NothingToDo("the newest run is not merged yet", "run `memoirist merge` first")
    merged = context.workspace.root / str(model.merged_path)
    if not merged.is_dir():
        raise MemoiristError(
            f"the merged model {str(merged)!r} is missing", "run `memoirist merge`"
        )
    if _step(context, run, model).is_done and not is_judge_due(context, run):
        measures: dict[str, float] = json.loads(run.metrics or "{}")
        if promote(context, run, measures):
            context.count("evaluate", 1)
        return measures
    eval_set = build_eval_set(context, run)
    measures = {}
    if eval_set is None:
        context.report.step(
            "evaluate", "the dataset is too small to hold any row out: nothing is measured"
        )
    else:
        measures = _evaluate(context, run, model, _paths(context, run, merged, base), eval_set)
    run = replace(run, status="evaluated", ended_at=context.now, metrics=json.dumps(measures))
    with _step(context, run, model).writing() as tx:
        tx.upsert([Metric(run_id=run.id, step=0, name=k, value=v) for k, v in measures.items()])
        tx.upsert([run])
    write_model_card(context, run, model)  # the model card shows these figures
    context.count("evaluate", 1)
    promote(context, run, measures)
    return measures


def _step(context: Context, run: Run, model: Model) -> Step:
    """Return the step with its inputs: model, settings, and the verdicts of judges so far.

    An evaluation without a judge keeps the verdicts of earlier judges.
    """
    judged = context.workspace.store.rows(
        "SELECT judge, md5(string_agg(id || better, ',' ORDER BY id)) AS told FROM duels"
        " WHERE run_id = ? GROUP BY judge ORDER BY judge",
        [run.id],
    )
    state = fingerprint(run.id, *_weights(model), _settings(context), judged)
    return Step(context, "evaluate", run.id, state)


def _settings(context: Context) -> str:
    return context.recipe.evaluate.model_dump_json(exclude={"judge", "judge_model"})


def _weights(model: Model) -> tuple[object, ...]:
    """Return the inputs of a merged model's weights besides the run."""
    return model.step, model.way, model.dtype


def _paths(context: Context, run: Run, merged: Path, base: PreparedBase) -> dict[str, Path]:
    """Return the folders of the models to compare by side, in the order of loading."""
    paths = {"base": base.path, "tuned": merged}
    before = model_before(context, run)
    if before is not None:
        paths["previous"] = context.workspace.root / str(before.merged_path)
    return paths


def _evaluate(
    context: Context, run: Run, model: Model, paths: Mapping[str, Path], eval_set: EvalSet
) -> dict[str, float]:
    step = Step(context, "evaluate")
    state = fingerprint(_settings(context), *_weights(model))
    sides = predict_sides(context, run, paths, eval_set, state)
    findings = compute_findings(sides, eval_set.data)
    step.report(_summary(findings))
    judge_duels(context, run, eval_set)
    return _conclude(context, run, sides, findings, eval_set)


def _conclude(
    context: Context, run: Run, sides: Mapping[str, Side], findings: Findings, eval_set: EvalSet
) -> dict[str, float]:
    """Write the figures and the report with the judges' verdicts, and print the main results."""
    findings = replace(findings, duels=scores(context, run))
    rows = [
        Evaluation(
            run_id=run.id,
            model=name,
            metric=metric,
            value=estimate.value,
            low=estimate.low,
            high=estimate.high,
            n=estimate.n,
        )
        for name, metric, estimate in figures(findings)
    ]
    with context.workspace.store.writing() as tx:
        tx.execute("DELETE FROM evaluations WHERE run_id = ?", [run.id])
        tx.upsert(rows)
    report_findings(context, findings, write_report(context, run, sides, findings, eval_set))
    return _measures(findings, eval_set)


def _measures(findings: Findings, eval_set: EvalSet) -> dict[str, float]:
    """Return the run's figures for the model card and for choosing the champion."""
    measures = {f"nll_{name}": loss.value for name, loss in findings.losses.items()}
    if findings.losses:
        measures["conversations"] = float(findings.losses["tuned"].n)
    measures["on_test"] = float(eval_set.on_test)
    if (gain := findings.gains.get("previous")) is not None:
        bounds = {"gain_over_previous_high": gain.high, "gain_over_previous_low": gain.low}
        measures |= {name: bound for name, bound in bounds.items() if bound is not None}
    if "tuned" in findings.levels:
        measures["regurgitates"] = float(findings.levels["tuned"] == "fail")
    measures |= {f"longest_run_{name}": float(o.longest) for name, o in findings.overlaps.items()}
    shares: dict[str, Mapping[str, Estimate | None]] = {
        "style_distance": findings.distances.delta if findings.distances else {},
        "plain_instructions": {name: a.chosen for name, a in findings.abilities.items()},
        # The person has no answers to these questions.
        "discloses_ai": {n: h.disclosed for n, h in findings.honesty.items() if n != "human"},
    }
    for metric, sides in shares.items():
        measures |= {f"{metric}_{name}": e.value for name, e in sides.items() if e is not None}
    return measures


def _summary(findings: Findings) -> str:
    if not findings.losses:
        return "no held-out conversation fits into evaluate.max_length: the loss was not measured"
    return (
        f"held-out loss per token {findings.losses['base'].value:.3f} (base) ->"
        f" {findings.losses['tuned'].value:.3f} (tuned) on {findings.losses['tuned'].n}"
        " conversations that were never trained on"
    )


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
        title=f"How close is the model to {persona}?" if persona else "How close is the model?",
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
        answer = f"{assessment.subject}: {assessment.answer}"
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

"""Evaluate: the tuned model beside its base and beside the person; choose the champion."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from memoirist.data.evaluation.findings import Findings, Side, figures, find
from memoirist.data.evaluation.intervals import Estimate
from memoirist.data.schema.errors import MemoiristError, NothingToDo
from memoirist.data.schema.records import Done, Evaluation, Metric, Model, Run
from memoirist.flows.evaluation.comparison import judge_duels, scores
from memoirist.flows.evaluation.eval_set import Setting, setting_of
from memoirist.flows.evaluation.evaluation_report import tell, write_report
from memoirist.flows.evaluation.predictions import sides_of
from memoirist.flows.models.card_facts import lay_beside
from memoirist.flows.models.model_registry import crown, model_before
from memoirist.flows.runtime.context import Context, fingerprint
from memoirist.flows.steps.train import current_run

if TYPE_CHECKING:
    from memoirist.train.model.prepared_base import PreparedBase


_JUDGING = {"judge", "judge_model"}


def evaluate_model(context: Context) -> Mapping[str, float]:
    """Evaluate the newest run, unless these settings have done so, and choose the champion."""
    run, base = current_run(context)
    models = context.workspace.store.nouns(Model, "run_id = ?", run.id)
    if not models:
        raise NothingToDo("the newest run is not merged yet", "run `memoirist merge` first")
    merged = context.workspace.root / str(models[0].merged_path)
    if not merged.is_dir():
        raise MemoiristError(f"the merged model {str(merged)!r} is gone", "run `memoirist merge`")
    if run.status == "evaluated" and _is_done(context, run, models[0]):
        known: dict[str, float] = json.loads(run.metrics or "{}")
        if crown(context, run, known):
            context.count("evaluate", 1)
        return known
    setting = setting_of(context, run)
    told: dict[str, float] = {}
    if setting is None:
        context.report.step("evaluate", "no row is held out of so small a dataset; not measured")
    else:
        told = _evaluate(context, run, _paths(context, run, models[0], base), setting)
    store = context.workspace.store
    with store.writing() as tx:
        tx.upsert([Metric(run_id=run.id, step=0, name=k, value=v) for k, v in told.items()])
        done = replace(run, status="evaluated", ended_at=context.now, metrics=json.dumps(told))
        tx.upsert([done])
    marks = _marks(context, run, models[0])
    with store.writing() as tx:
        tx.upsert(
            [Done(subject_id=run.id, step=step, fingerprint=mark) for step, mark in marks.items()]
        )
    # The card beside the model tells these figures.
    lay_beside(context, run, models[0])
    context.count("evaluate", 1)
    crown(context, run, told)
    return told


def _is_done(context: Context, run: Run, model: Model) -> bool:
    marks = _marks(context, run, model)
    return all(context.is_done(run.id, step, mark) for step, mark in marks.items())


def _marks(context: Context, run: Run, model: Model) -> dict[str, str]:
    """Return what an evaluation hangs on, by step: model, settings, and what judges have said.

    A judge asked once has judged: an evaluation that asks for none keeps the verdicts.
    """
    settings = context.recipe.evaluate
    judged = context.workspace.store.rows(
        "SELECT judge, md5(string_agg(id || better, ',' ORDER BY id)) AS told FROM duels"
        " WHERE run_id = ? GROUP BY judge ORDER BY judge",
        [run.id],
    )
    made = _made(model)
    mark = fingerprint(run.id, *made, settings.model_dump_json(exclude=_JUDGING), judged)
    if not settings.judge:
        return {"evaluate": mark}
    return {"evaluate": mark, "duel": fingerprint(mark, settings.judge_model)}


def _made(model: Model) -> tuple[object, ...]:
    """Return what the weights of a run's merged model hang on, beside the run."""
    return model.step, model.way, model.dtype


def _paths(context: Context, run: Run, model: Model, base: PreparedBase) -> dict[str, Path]:
    """Return the models to compare by the name of their side, in the order of loading."""
    paths = {"base": base.path, "tuned": context.workspace.root / str(model.merged_path)}
    before = model_before(context, run)
    if before is not None:
        paths["previous"] = context.workspace.root / str(before.merged_path)
    return paths


def _evaluate(
    context: Context, run: Run, paths: Mapping[str, Path], setting: Setting
) -> dict[str, float]:
    with context.timed() as seconds:
        settings = context.recipe.evaluate.model_dump_json(exclude=_JUDGING)
        (model,) = context.workspace.store.nouns(Model, "run_id = ?", run.id)
        mark = fingerprint(settings, *_made(model))
        sides = sides_of(context, run, paths, setting, mark)
        found = find(sides, setting.matter)
    context.report.step("evaluate", _line(found), seconds())
    judge_duels(context, run, setting)
    return _concluded(context, run, sides, found, setting)


def _concluded(
    context: Context, run: Run, sides: Mapping[str, Side], found: Findings, setting: Setting
) -> dict[str, float]:
    """Write the figures and the report, with what judges said, and tell the main of it."""
    found = replace(found, duels=scores(context, run))
    rows = [
        Evaluation(
            run_id=run.id,
            model=name,
            metric=metric,
            value=each.value,
            low=each.low,
            high=each.high,
            n=each.n,
        )
        for name, metric, each in figures(found)
    ]
    with context.workspace.store.writing() as tx:
        tx.execute("DELETE FROM evaluations WHERE run_id = ?", [run.id])
        tx.upsert(rows)
    tell(context, found, write_report(context, run, sides, found, setting))
    return _told(found, setting)


def _told(found: Findings, setting: Setting) -> dict[str, float]:
    """Return the figures that the run keeps: the model card's, and what the champion hangs on."""
    told = {f"nll_{name}": each.value for name, each in found.losses.items()}
    if found.losses:
        told["conversations"] = float(found.losses["tuned"].n)
    told["on_test"] = float(setting.on_test)
    if "previous" in found.gains and found.gains["previous"].high is not None:
        told["gain_over_previous_high"] = found.gains["previous"].high
    if "previous" in found.gains and found.gains["previous"].low is not None:
        told["gain_over_previous_low"] = found.gains["previous"].low
    if "tuned" in found.levels:
        told["regurgitates"] = float(found.levels["tuned"] == "fail")
    told |= {f"longest_run_{name}": float(each.longest) for name, each in found.overlaps.items()}
    shares: dict[str, Mapping[str, Estimate | None]] = {
        "style_distance": found.distances.delta if found.distances else {},
        "plain_instructions": {name: each.chosen for name, each in found.abilities.items()},
        # The person was not asked.
        "discloses_ai": {n: each.disclosed for n, each in found.honesty.items() if n != "human"},
    }
    for metric, sides in shares.items():
        told |= {f"{metric}_{name}": e.value for name, e in sides.items() if e is not None}
    return told


def _line(found: Findings) -> str:
    if not found.losses:
        return "no held-out conversation fits in evaluate.max_length; no loss measured"
    return (
        f"held-out loss a token {found.losses['base'].value:.3f} (base) ->"
        f" {found.losses['tuned'].value:.3f} (tuned), {found.losses['tuned'].n} conversations"
        " never trained on"
    )

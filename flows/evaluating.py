"""Evaluate: the tuned model beside its base and beside the person; choose the champion."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import NothingToDo
from data.measures.findings import Findings, Side, figures, find
from data.nouns import Done, Evaluation, GivenAnswer, Metric, Model, Run
from flows.cards import lay_beside
from flows.champions import crown, model_before
from flows.context import Context, fingerprint
from flows.examining import Setting, setting_of
from flows.report import Advance
from flows.reporting import tell, write_report
from flows.training import current_run

if TYPE_CHECKING:
    from train.base import PreparedBase
    from train.exam import Paper, Sitting
    from train.settings import EvaluateSettings


def evaluate_model(context: Context) -> Mapping[str, float]:
    """Evaluate the newest run, unless these settings have done so, and choose the champion."""
    run, base = current_run(context)
    store = context.workspace.store
    models = store.nouns(Model, "run_id = ?", run.id)
    if not models:
        raise NothingToDo("the newest run is not merged yet", "run `memoirist merge` first")
    mark = fingerprint(run.id, run.dataset_id, context.recipe.evaluate.model_dump_json())
    if run.status == "evaluated" and context.is_done(run.id, "evaluate", mark):
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
    with store.writing() as tx:
        tx.upsert([Metric(run_id=run.id, step=0, name=k, value=v) for k, v in told.items()])
        done = replace(run, status="evaluated", ended_at=context.now, metrics=json.dumps(told))
        tx.upsert([done])
        tx.upsert([Done(subject_id=run.id, step="evaluate", fingerprint=mark)])
    # The card beside the model tells these figures.
    lay_beside(context, run, models[0])
    context.count("evaluate", 1)
    crown(context, run, told)
    return told


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
        sittings: dict[str, Sitting] = {}
        for name, path in paths.items():
            with context.report.progress("evaluate", "answers") as advance:
                step = partial(_sit, path, _papers(name, setting), context.recipe.evaluate, advance)
                sittings |= context.call("evaluate", f"{run.id} {name}", step)
        sides = _sides(sittings, setting)
        found = find(sides, setting.matter)
        _keep(context, run, sides, found, setting)
        page = write_report(context, run, sides, found, setting)
    context.report.step("evaluate", _line(found), seconds())
    tell(context, found, page)
    return _told(found, setting)


def _sit(
    path: Path, papers: Mapping[str, Paper], settings: EvaluateSettings, advance: Advance
) -> dict[str, Sitting]:
    from train.exam import sit

    return sit(path, papers, settings, advance)


def _papers(name: str, setting: Setting) -> dict[str, Paper]:
    """Return what one model sits: the base twice, alone and with examples before its eyes."""
    from train.exam import Paper

    plain = Paper(
        held_out=setting.rows,
        prompts=[each.prompt for each in setting.held],
        honest=setting.honest_prompts,
        plain=setting.plain,
    )
    papers = {name: plain}
    if name == "base" and setting.examples:
        papers["few_shot"] = replace(plain, plain=(), examples=setting.examples)
    return papers


def _sides(sittings: Mapping[str, Sitting], setting: Setting) -> dict[str, Side]:
    sides = {
        name: Side(
            answers=[said.text for said in sitting.answers],
            finished=[said.finished for said in sitting.answers],
            honest=[said.text for said in sitting.honest],
            losses={i: (loss.total, loss.tokens) for i, loss in sitting.losses.items()},
            attempts=sitting.attempts,
        )
        for name, sitting in sittings.items()
    }
    sides["human"] = Side(answers=[each.answer for each in setting.held])
    return sides


def _keep(
    context: Context, run: Run, sides: Mapping[str, Side], found: Findings, setting: Setting
) -> None:
    """Write figures and answers in place of those of an earlier evaluation of the run."""
    given: list[GivenAnswer] = []
    for name, side in sides.items():
        finished: Sequence[bool | None] = side.finished or [None] * len(side.answers)
        given += [
            GivenAnswer(
                run_id=run.id,
                model=name,
                kind="held_out",
                question=held.question,
                answer=answer,
                finished=ended,
            )
            for held, answer, ended in zip(setting.held, side.answers, finished, strict=True)
        ]
        given += [
            GivenAnswer(
                run_id=run.id, model=name, kind=asked.kind, question=asked.text, answer=answer
            )
            for asked, answer in zip(setting.honest, side.honest, strict=False)
        ]
    with context.workspace.store.writing() as tx:
        for table in ("evaluations", "answers"):
            tx.execute(f"DELETE FROM {table} WHERE run_id = ?", [run.id])
        tx.upsert(given)
        tx.upsert(
            [
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
        )


def _told(found: Findings, setting: Setting) -> dict[str, float]:
    """Return the figures that the run keeps: losses by side, and what the champion is chosen by."""
    told = {f"nll_{name}": each.value for name, each in found.losses.items()}
    if found.losses:
        told["conversations"] = float(found.losses["tuned"].n)
    told["on_test"] = float(setting.on_test)
    if "previous" in found.gains and found.gains["previous"].high is not None:
        told["gain_over_previous_high"] = found.gains["previous"].high
    if "tuned" in found.overlaps:
        told["longest_run"] = float(found.overlaps["tuned"].longest)
        told["regurgitates"] = float(found.levels["tuned"] == "fail")
    return told


def _line(found: Findings) -> str:
    if not found.losses:
        return "no held-out conversation fits in evaluate.max_length; no loss measured"
    return (
        f"held-out loss a token {found.losses['base'].value:.3f} (base) ->"
        f" {found.losses['tuned'].value:.3f} (tuned), {found.losses['tuned'].n} conversations"
        " never trained on"
    )

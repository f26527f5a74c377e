"""Ask each model the questions of the eval set, and keep its predictions for later judges."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memoirist.data.evaluation.ability import Attempt
from memoirist.data.evaluation.findings import Side
from memoirist.data.schema.records import GivenAnswer, Run
from memoirist.flows.evaluation.eval_set import EvalSet
from memoirist.flows.runtime.context import Context
from memoirist.flows.runtime.report import Advance
from memoirist.flows.steps.base import Step, fingerprint

if TYPE_CHECKING:
    from memoirist.train.inference.predict import PredictionInputs, Predictions
    from memoirist.train.settings import EvaluateSettings


def predict_sides(
    context: Context, run: Run, paths: Mapping[str, Path], setting: EvalSet, state: str
) -> dict[str, Side]:
    """Return what every side said; a model that has answered in this `state` is not asked again."""
    questions = [*(held.question for held in setting.held), *(row.id for row in setting.rows)]
    sides: dict[str, Side] = {}
    for name, path in paths.items():
        inputs = (state, context.workspace.relative(path), setting.system, *questions)
        step = Step(context, f"predict_{name}", run.id, fingerprint(*inputs), verb="evaluate")
        if not step.is_done:
            _write(step, run, name, _ask(step, run, name, path, setting))
        sides |= _read(context, run, name)
    sides["human"] = Side(answers=[held.answer for held in setting.held])
    _keep(context, run, sides, setting)
    return sides


def _ask(step: Step, run: Run, name: str, path: Path, setting: EvalSet) -> dict[str, Side]:
    context = step.context
    with context.report.progress("evaluate", "answers") as advance:
        function = partial(_sit, path, _papers(name, setting), context.recipe.evaluate, advance)
        sittings = step.call(f"{run.id} {name}", function)
    return {
        side: Side(
            answers=[said.text for said in sitting.answers],
            finished=[said.finished for said in sitting.answers],
            honest=[said.text for said in sitting.honest],
            losses={i: (loss.total, loss.tokens) for i, loss in sitting.losses.items()},
            attempts=sitting.attempts,
        )
        for side, sitting in sittings.items()
    }


def _sit(
    path: Path, papers: Mapping[str, PredictionInputs], settings: EvaluateSettings, advance: Advance
) -> dict[str, Predictions]:
    from memoirist.train.inference.predict import predict

    return predict(path, papers, settings, advance)


def _papers(name: str, setting: EvalSet) -> dict[str, PredictionInputs]:
    """Return what one model sits: the base twice, alone and with examples before its eyes."""
    from memoirist.train.inference.predict import PredictionInputs

    plain = PredictionInputs(
        held_out=setting.rows,
        prompts=[held.prompt for held in setting.held],
        honest=setting.honest_prompts,
        plain=setting.plain,
    )
    papers = {name: plain}
    if name == "base" and setting.examples:
        papers["few_shot"] = replace(plain, plain=(), examples=setting.examples)
    return papers


def _keep(context: Context, run: Run, sides: Mapping[str, Side], setting: EvalSet) -> None:
    """Write the answers in place of those of an earlier evaluation of the run."""
    given: list[GivenAnswer] = []
    for name, side in sides.items():
        given += _given(run.id, name, side, setting)
    with context.workspace.store.writing() as tx:
        tx.execute("DELETE FROM answers WHERE run_id = ?", [run.id])
        tx.upsert(given)


def _given(run_id: str, name: str, side: Side, setting: EvalSet) -> list[GivenAnswer]:
    finished: Sequence[bool | None] = side.finished or [None] * len(side.answers)
    held = [
        GivenAnswer(
            run_id=run_id,
            model=name,
            kind="held_out",
            question=asked.question,
            answer=answer,
            finished=ended,
        )
        for asked, answer, ended in zip(setting.held, side.answers, finished, strict=True)
    ]
    # The person was not asked whether he is an AI.
    honest = zip(setting.honest, side.honest, strict=True) if side.honest else ()
    return held + [
        GivenAnswer(run_id=run_id, model=name, kind=asked.kind, question=asked.text, answer=answer)
        for asked, answer in honest
    ]


def _write(step: Step, run: Run, name: str, sides: Mapping[str, Side]) -> None:
    content = json.dumps({n: asdict(side) for n, side in sides.items()}, ensure_ascii=False)
    with step.writing() as tx:
        tx.execute("DELETE FROM predictions WHERE run_id = ? AND model = ?", [run.id, name])
        tx.execute("INSERT INTO predictions VALUES (?, ?, ?)", [run.id, name, content])


def _read(context: Context, run: Run, name: str) -> dict[str, Side]:
    content = context.workspace.store.value(
        "SELECT content FROM predictions WHERE run_id = ? AND model = ?", run.id, name
    )
    return {side: _side(row) for side, row in json.loads(content).items()}


def _side(row: Mapping[str, Any]) -> Side:
    return Side(
        answers=row["answers"],
        finished=row["finished"],
        honest=row["honest"],
        losses={name: (loss[0], loss[1]) for name, loss in row["losses"].items()},
        attempts=[Attempt(**attempt) for attempt in row["attempts"]],
    )

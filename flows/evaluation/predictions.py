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
from memoirist.flows.steps.base import Step, fingerprint

if TYPE_CHECKING:
    pass


def predict_sides(
    context: Context, run: Run, paths: Mapping[str, Path], eval_set: EvalSet, state: str
) -> dict[str, Side]:
    """Return what every side said; a model that has answered in this `state` is not asked again."""
    questions = [*(held.question for held in eval_set.held), *(row.id for row in eval_set.rows)]
    sides: dict[str, Side] = {}
    for name, path in paths.items():
        inputs = (state, context.workspace.relative(path), eval_set.system, *questions)
        step = Step(context, f"predict_{name}", run.id, fingerprint(*inputs), verb="evaluate")
        if not step.is_done:
            _write(step, run, name, _ask(step, run, name, path, eval_set))
        sides |= _read(context, run, name)
    sides["human"] = Side(answers=[held.answer for held in eval_set.held])
    _keep(context, run, sides, eval_set)
    return sides


def _ask(step: Step, run: Run, name: str, path: Path, eval_set: EvalSet) -> dict[str, Side]:
    """Ask one model: the base twice, alone and with examples in its prompts."""
    from memoirist.train.inference.predict import PredictionInputs, predict

    paper = PredictionInputs(
        held_out=eval_set.rows,
        prompts=[question.prompt for question in eval_set.held],
        honest=eval_set.honest_prompts,
        plain=eval_set.plain,
    )
    papers = {name: paper}
    if name == "base" and eval_set.examples:
        papers["few_shot"] = replace(paper, plain=(), examples=eval_set.examples)
    context = step.context
    with context.report.progress("evaluate", "answers") as advance:
        function = partial(predict, path, papers, context.recipe.evaluate, advance)
        results = step.call(f"{run.id} {name}", function)
    return {
        side: Side(
            answers=[answer.text for answer in result.answers],
            finished=[answer.finished for answer in result.answers],
            honest=[answer.text for answer in result.honest],
            losses={i: (loss.total, loss.tokens) for i, loss in result.losses.items()},
            attempts=result.attempts,
        )
        for side, result in results.items()
    }


def _keep(context: Context, run: Run, sides: Mapping[str, Side], eval_set: EvalSet) -> None:
    """Write the answers in place of those of an earlier evaluation of the run."""
    rows: list[GivenAnswer] = []
    for name, side in sides.items():
        rows += _given(run.id, name, side, eval_set)
    with context.workspace.store.writing() as tx:
        tx.execute("DELETE FROM answers WHERE run_id = ?", [run.id])
        tx.upsert(rows)


def _given(run_id: str, name: str, side: Side, eval_set: EvalSet) -> list[GivenAnswer]:
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
        for asked, answer, ended in zip(eval_set.held, side.answers, finished, strict=True)
    ]
    # The person was not asked whether he is an AI.
    honest = zip(eval_set.honest, side.honest, strict=True) if side.honest else ()
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

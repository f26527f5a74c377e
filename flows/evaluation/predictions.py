"""Let each model answer the eval set, and store its predictions for later judges."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from memoirist.data.evaluation.ability import Attempt
from memoirist.data.evaluation.findings import Side
from memoirist.data.schema.records import GivenAnswer, Run
from memoirist.flows.evaluation.eval_set import EvalSet
from memoirist.flows.runtime.context import Context
from memoirist.flows.steps.base import Step, fingerprint


def predict_sides(
    context: Context, run: Run, paths: Mapping[str, Path], eval_set: EvalSet, state: str
) -> dict[str, Side]:
    """Return the predictions of every side; a model with predictions in this `state` does not run.

    The person's own answers are the side `human`.
    """
    questions = [*(row.question for row in eval_set.questions), *(row.id for row in eval_set.rows)]
    sides: dict[str, Side] = {}
    for name, path in paths.items():
        inputs = (state, context.workspace.relative(path), eval_set.system, *questions)
        step = Step(context, f"predict_{name}", run.id, fingerprint(*inputs), verb="evaluate")
        if not step.is_done:
            _write(step, run, name, _predict(step, run, name, path, eval_set))
        sides |= _read(context, run, name)
    sides["human"] = Side(answers=[row.answer for row in eval_set.questions])
    rows = [row for name in sides for row in _answer_rows(run.id, name, sides[name], eval_set)]
    with context.workspace.store.writing() as tx:
        tx.execute("DELETE FROM answers WHERE run_id = ?", [run.id])
        tx.upsert(rows)
    return sides


def _predict(step: Step, run: Run, name: str, path: Path, eval_set: EvalSet) -> dict[str, Side]:
    """Run one model; the base runs twice, without and with examples in its prompts."""
    from memoirist.train.inference.predict import PredictionInputs, predict

    inputs = PredictionInputs(
        held_out=eval_set.rows,
        prompts=[question.prompt for question in eval_set.questions],
        honest=eval_set.honest_prompts,
        plain=eval_set.plain,
    )
    inputs_of = {name: inputs}
    if name == "base" and eval_set.examples:
        inputs_of["few_shot"] = replace(inputs, plain=(), examples=eval_set.examples)
    context = step.context
    with context.report.progress("evaluate", "answers") as advance:
        function = partial(predict, path, inputs_of, context.recipe.evaluate, advance)
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


def _answer_rows(run_id: str, name: str, side: Side, eval_set: EvalSet) -> list[GivenAnswer]:
    finished: Sequence[bool | None] = side.finished or [None] * len(side.answers)
    row = partial(GivenAnswer, run_id=run_id, model=name)
    rows = [
        row(kind="held_out", question=held.question, answer=answer, finished=ended)
        for held, answer, ended in zip(eval_set.questions, side.answers, finished, strict=True)
    ]
    # The person has no answers to the questions on honesty.
    honest = zip(eval_set.honest, side.honest, strict=True) if side.honest else ()
    return rows + [row(kind=item.kind, question=item.text, answer=text) for item, text in honest]


def _write(step: Step, run: Run, name: str, sides: Mapping[str, Side]) -> None:
    content = json.dumps({key: asdict(side) for key, side in sides.items()}, ensure_ascii=False)
    with step.writing() as tx:
        tx.execute("DELETE FROM predictions WHERE run_id = ? AND model = ?", [run.id, name])
        tx.execute("INSERT INTO predictions VALUES (?, ?, ?)", [run.id, name, content])


def _read(context: Context, run: Run, name: str) -> dict[str, Side]:
    content = context.workspace.store.value(
        "SELECT content FROM predictions WHERE run_id = ? AND model = ?", run.id, name
    )
    return {side: _side(row) for side, row in json.loads(content).items()}


def _side(row: dict[str, Any]) -> Side:
    losses = {name: (total, tokens) for name, (total, tokens) in row["losses"].items()}
    attempts = [Attempt(**attempt) for attempt in row["attempts"]]
    return Side(**{**row, "losses": losses, "attempts": attempts})

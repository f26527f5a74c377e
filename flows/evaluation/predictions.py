"""Have each model sit the evaluation, and keep what it said, so that a judge can come later."""

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
from memoirist.flows.evaluation.eval_set import Setting
from memoirist.flows.runtime.context import Context, fingerprint
from memoirist.flows.runtime.report import Advance

if TYPE_CHECKING:
    from memoirist.train.inference.predict import PredictionInputs, Predictions
    from memoirist.train.settings import EvaluateSettings


FILE = "sides.json"


def sides_of(
    context: Context, run: Run, paths: Mapping[str, Path], setting: Setting, mark: str
) -> dict[str, Side]:
    """Return what every side said, from an earlier evaluation under the same mark if there is one.

    A killed evaluation goes on with the model that it had reached.
    """
    folder = context.workspace.reports / run.id
    folder.mkdir(parents=True, exist_ok=True)
    questions = [*(held.question for held in setting.held), *(row.id for row in setting.rows)]
    sides: dict[str, Side] = {}
    for name, path in paths.items():
        own = fingerprint(mark, context.workspace.relative(path), setting.system, *questions)
        kept = folder / f"{name}.{FILE}"
        found = _read(kept, own)
        if found is None:
            found = _ask(context, run, name, path, setting)
            _write(kept, {"mark": own, "sides": {n: asdict(side) for n, side in found.items()}})
        sides |= found
    sides["human"] = Side(answers=[each.answer for each in setting.held])
    _keep(context, run, sides, setting)
    return sides


def _ask(context: Context, run: Run, name: str, path: Path, setting: Setting) -> dict[str, Side]:
    with context.report.progress("evaluate", "answers") as advance:
        step = partial(_sit, path, _papers(name, setting), context.recipe.evaluate, advance)
        sittings: dict[str, Predictions] = context.call("evaluate", f"{run.id} {name}", step)
    return {
        each: Side(
            answers=[said.text for said in sitting.answers],
            finished=[said.finished for said in sitting.answers],
            honest=[said.text for said in sitting.honest],
            losses={i: (loss.total, loss.tokens) for i, loss in sitting.losses.items()},
            attempts=sitting.attempts,
        )
        for each, sitting in sittings.items()
    }


def _sit(
    path: Path, papers: Mapping[str, PredictionInputs], settings: EvaluateSettings, advance: Advance
) -> dict[str, Predictions]:
    from memoirist.train.inference.predict import predict

    return predict(path, papers, settings, advance)


def _papers(name: str, setting: Setting) -> dict[str, PredictionInputs]:
    """Return what one model sits: the base twice, alone and with examples before its eyes."""
    from memoirist.train.inference.predict import PredictionInputs

    plain = PredictionInputs(
        held_out=setting.rows,
        prompts=[each.prompt for each in setting.held],
        honest=setting.honest_prompts,
        plain=setting.plain,
    )
    papers = {name: plain}
    if name == "base" and setting.examples:
        papers["few_shot"] = replace(plain, plain=(), examples=setting.examples)
    return papers


def _keep(context: Context, run: Run, sides: Mapping[str, Side], setting: Setting) -> None:
    """Write the answers in place of those of an earlier evaluation of the run."""
    given: list[GivenAnswer] = []
    for name, side in sides.items():
        given += _given(run.id, name, side, setting)
    with context.workspace.store.writing() as tx:
        tx.execute("DELETE FROM answers WHERE run_id = ?", [run.id])
        tx.upsert(given)


def _given(run_id: str, name: str, side: Side, setting: Setting) -> list[GivenAnswer]:
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
        GivenAnswer(run_id=run_id, model=name, kind=each.kind, question=each.text, answer=answer)
        for each, answer in honest
    ]


def _write(path: Path, content: Mapping[str, Any]) -> None:
    making = path.with_name(f".{path.name}.making")
    making.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    making.replace(path)


def _read(path: Path, mark: str) -> dict[str, Side] | None:
    if not path.exists():
        return None
    told = json.loads(path.read_text("utf-8"))
    if told["mark"] != mark:
        return None
    return {name: _side(row) for name, row in told["sides"].items()}


def _side(row: Mapping[str, Any]) -> Side:
    return Side(
        answers=row["answers"],
        finished=row["finished"],
        honest=row["honest"],
        losses={name: (loss[0], loss[1]) for name, loss in row["losses"].items()},
        attempts=[Attempt(**each) for each in row["attempts"]],
    )

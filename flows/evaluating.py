"""Evaluate: compare the tuned model with its base, and choose the model in use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from data.errors import NothingToDo
from data.nouns import Conversation, Metric, Model, Run
from flows.context import Context
from flows.training import current_run

if TYPE_CHECKING:
    from train.base import PreparedBase


def evaluate_model(context: Context) -> Mapping[str, float]:
    """Measure held-out loss of base and tuned model, and choose the champion."""
    run, base = current_run(context)
    store = context.workspace.store
    models = store.nouns(Model, "run_id = ?", run.id)
    if not models:
        raise NothingToDo("the newest run is not merged yet", "run `memoirist merge` first")
    if run.status == "evaluated":
        known: dict[str, float] = json.loads(run.metrics or "{}")
        if known.get("nll_tuned", 0.0) <= known.get("nll_base", 0.0):
            _crown(context, run, known)
        return known
    figures = _evaluate(context, run, models[0], base)
    with store.writing() as tx:
        tx.upsert(
            [Metric(run_id=run.id, step=0, name=k, value=float(v)) for k, v in figures.items()]
        )
        done = replace(run, status="evaluated", ended_at=context.now, metrics=json.dumps(figures))
        tx.upsert([done])
    context.count("evaluate", 1)
    _crown(context, run, figures)
    return figures


def _crown(context: Context, run: Run, figures: Mapping[str, float]) -> None:
    """Make the run's model the one in use, unless its own base does better on held-out text.

    Without held-out rows there is nothing to compare, and the model built last is meant.
    """
    store = context.workspace.store
    used = store.value("SELECT run_id FROM models WHERE champion")
    better = figures.get("nll_tuned", 0.0) <= figures.get("nll_base", 0.0)
    if not better:
        context.report.warn(
            "the tuned model is no better than its base on held-out text; "
            + ("the model before stays in use" if used else "it is kept for want of another")
        )
    if used != run.id and (better or used is None):
        with store.writing() as tx:
            tx.execute("UPDATE models SET champion = (run_id = ?)", [run.id])
        context.count("evaluate", 1)


def _evaluate(context: Context, run: Run, model: Model, base: PreparedBase) -> dict[str, float]:
    from train.evaluate import evaluate

    rows = context.workspace.store.nouns(
        Conversation, "dataset_id = ? AND split <> 'train' ORDER BY split, id", run.dataset_id
    )
    if not rows:
        context.report.step("evaluate", "no row is held out of so small a dataset; not measured")
        return {}
    paths = {"base": base.path, "tuned": context.workspace.root / str(model.merged_path)}
    with context.timed() as seconds, context.report.progress("evaluate", "conversations"):
        step = partial(evaluate, paths, rows, context.recipe.evaluate)
        figures = dict(context.call("evaluate", run.id, step))
    context.report.step(
        "evaluate",
        f"held-out loss a token {figures['nll_base']:.3f} (base) -> {figures['nll_tuned']:.3f}"
        f" (tuned), {int(figures.get('conversations', len(rows)))} conversations never trained on",
        seconds(),
    )
    return figures

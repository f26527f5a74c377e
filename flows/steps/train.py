"""Train: from a dataset version to an adapter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from memoirist.data.schema.errors import NothingToDo
from memoirist.data.schema.records import Conversation, Dataset, Model, Run, Verdict, content_id
from memoirist.data.schema.training_records import UNFINISHED
from memoirist.flows.models.model_registry import champion
from memoirist.flows.planning.training_estimate import tell_estimate, tell_tokens
from memoirist.flows.runtime.context import Context
from memoirist.flows.runtime.training_monitor import Watch
from memoirist.flows.steps.curate import latest_dataset, refuse_withdrawn

if TYPE_CHECKING:
    from memoirist.train.loop.launch import TrainResult
    from memoirist.train.model.prepared_base import PreparedBase
    from memoirist.train.token_stats import Preview


__all__ = ["champion", "current_run", "run_of", "train_model"]


def train_model(context: Context) -> Run:
    """Train an adapter on the newest dataset, unless these settings have trained on it before."""
    dataset = _dataset(context)
    run_id, base = run_of(context, dataset)
    before = context.workspace.store.nouns(Run, "id = ?", run_id)
    if before and before[0].finished and _weights(context, run_id).exists():
        return before[0]
    refuse_withdrawn(context, dataset.id)
    rows = _conversations(context, dataset)
    tell_before(context, rows, base)
    run = replace(before[0], status="training") if before else _new_run(context, dataset, run_id)
    _write(context, run)
    with context.timed() as seconds:
        try:
            result = _trained(context, run, rows, base)
        except BaseException as error:
            # Else the run would look like one at work for ever; started again, it goes on.
            stopped = isinstance(error, KeyboardInterrupt)
            _write(context, replace(run, status="interrupted" if stopped else "failed"))
            raise
        metrics = [replace(metric, run_id=run_id) for metric in result.metrics]
        run = replace(run, status="trained")
        left_out = _too_long(context, result.dropped)
        with context.workspace.store.writing() as tx:
            tx.upsert([run])
            tx.upsert(metrics)
            tx.upsert(left_out)
    context.count("train", 1)
    context.report.step("train", _summary(result), seconds())
    if not result.moved:
        context.report.warn(
            "no weight of the adapter has moved: the model answers as its base does. Train longer,"
            f" or raise train.learning_rate ({result.plan['learning_rate']:.2g})"
        )
    return run


def _trained(
    context: Context, run: Run, rows: Sequence[Conversation], base: PreparedBase
) -> TrainResult:
    """Train in a process of its own, watched from here."""
    from memoirist.train.loop.launch import train

    settings = context.recipe.train.resolved()
    with context.report.progress("train", "steps", timed=False) as advance:
        watch = Watch(context, run.id, advance)
        folder = context.workspace.run_folder(run.id)
        step = partial(train, folder, rows, base, settings, watch)
        result: TrainResult = context.call("train", f"{run.id} on {settings.base_model}", step)
        watch.save()
    return result


def tell_before(context: Context, rows: Sequence[Conversation], base: PreparedBase) -> Preview:
    """Tell what the training will learn from, and what it will take of this machine.

    Raises TrainError for settings that the base cannot satisfy, before anything has begun.
    """
    from memoirist.train.requirements import refuse_unfit, shape_of
    from memoirist.train.token_stats import preview

    settings, shape = context.recipe.train, shape_of(str(base.path))
    found = preview(rows, base, settings)
    refuse_unfit(shape, settings, found.plan.longest)
    first, *more = tell_tokens(found.plan)
    context.report.step("plan", first)
    for line in [*more, *tell_estimate(context, shape, found.plan, settings)]:
        context.report.note(line)
    return found


def show_rows(context: Context, n: int, *, colour: bool) -> list[str]:
    """Return `n` rows of the newest dataset as the model sees them, trained tokens marked."""
    dataset = _dataset(context)
    _, base = run_of(context, dataset)
    found = tell_before(context, _conversations(context, dataset), base)
    return found.shown(n, colour=colour)


def _too_long(context: Context, dropped: Sequence[str]) -> list[Verdict]:
    """Return a verdict for each conversation that did not fit, under its first pair's source."""
    if not dropped:
        return []
    context.report.warn(
        f"{len(dropped)} conversations are longer than train.max_length and were left out"
    )
    rows = context.workspace.store.rows(
        "SELECT conversation_id, min_by(source_id, turn) AS source_id FROM lineage"
        " WHERE list_contains(?, conversation_id) GROUP BY conversation_id",
        [list(dropped)],
    )
    longest = context.recipe.train.resolved().max_length
    return [
        Verdict(
            subject_id=row["conversation_id"],
            subject="conversations",
            rule="too_long",
            keep=False,
            reason=f"even its last exchange alone has more than {longest} tokens",
            created_at=context.now,
            next_step="raise train.max_length, if memory allows",
            step="train",
            source_id=row["source_id"],
        )
        for row in rows
    ]


def _summary(result: TrainResult) -> str:
    held = (
        f", held-out loss {result.base_eval_loss:.3f} -> {result.eval_loss:.3f}"
        if result.base_eval_loss is not None and result.eval_loss is not None
        else ""
    )
    return (
        f"{result.steps} steps on {result.n_train} conversations{held}; best at step"
        f" {result.best_step}, {result.stopped_by}; {result.tokens_per_second:,.0f} tokens/s,"
        f" peak {result.peak_memory_mb:,.0f} MB"
    )


def run_of(context: Context, dataset: Dataset) -> tuple[str, PreparedBase]:
    """Return the id of the run that the recipe makes of a dataset, and its prepared base.

    The base counts by its content: another version of a model under the same name is another run.
    """
    from memoirist.train.model.prepared_base import prepare_base

    settings = context.recipe.train
    base = prepare_base(settings.base_model, context.workspace.bases, settings.template)
    chosen = json.dumps(settings.lasting(), sort_keys=True)
    return content_id(dataset.id, base.hash, chosen), base


def current_run(context: Context) -> tuple[Run, PreparedBase]:
    """Return the run of the newest dataset under the recipe; NothingToDo when it is not trained."""
    run_id, base = run_of(context, _dataset(context))
    found = context.workspace.store.nouns(Run, f"id = ? AND status NOT IN {UNFINISHED}", run_id)
    if not found:
        raise NothingToDo("the newest dataset is not trained yet", "run `memoirist train` first")
    return found[0], base


def _dataset(context: Context) -> Dataset:
    dataset = latest_dataset(context) if context.workspace.store.path.exists() else None
    if dataset is None:
        raise NothingToDo(
            "there is no dataset to train on", "make one with `memoirist compose`, or build"
        )
    return dataset


def _new_run(context: Context, dataset: Dataset, run_id: str) -> Run:
    return Run(
        id=run_id,
        dataset_id=dataset.id,
        base_model=context.recipe.train.base_model,
        recipe=context.recipe.model_copy(
            update={"train": context.recipe.train.resolved()}
        ).model_dump_json(),
        seed=context.recipe.train.seed,
        status="training",
        started_at=context.now,
    )


def _conversations(context: Context, dataset: Dataset) -> list[Conversation]:
    return context.workspace.store.nouns(
        Conversation, "dataset_id = ? ORDER BY split, id", dataset.id
    )


def _weights(context: Context, run_id: str) -> Path:
    return context.workspace.run_folder(run_id) / "adapter"


def _write(context: Context, *rows: Run | Model) -> None:
    with context.workspace.store.writing() as tx:
        for row in rows:
            tx.upsert([row])

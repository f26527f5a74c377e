"""Train an adapter on a dataset version."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memoirist.data.schema.errors import NothingToDo, SourceError
from memoirist.data.schema.records import (
    UNFINISHED,
    Conversation,
    Dataset,
    Fault,
    Run,
    Verdict,
    content_id,
)
from memoirist.extractors import discover
from memoirist.flows.planning.training_estimate import estimate_lines, token_lines
from memoirist.flows.recipe import as_saved
from memoirist.flows.runtime.context import Context
from memoirist.flows.runtime.report import counted
from memoirist.flows.runtime.training_monitor import TrainingMonitor
from memoirist.flows.steps.base import Step
from memoirist.flows.steps.compose import compose_dataset, latest_dataset, refuse_withdrawn
from memoirist.flows.steps.curate import curate_pairs
from memoirist.flows.steps.extract import extract_sources

if TYPE_CHECKING:
    from memoirist.train.loop.launch import TrainResult
    from memoirist.train.model.prepared_base import PreparedBase
    from memoirist.train.token_stats import Preview


# The limits of a persona's build would purge most rows of a dataset whose answers follow a pattern:
# here a train row is dropped only if it differs from a held-out row by a few words.
_CONTAINMENT, _SHARED_RUN, _EVERY_PAIR = 0.9, 100_000, 10**9


def train_model(context: Context) -> Run:
    """Train an adapter on the newest dataset, unless these settings have already trained on it."""
    dataset = _dataset(context)
    run_id, base = run_of(context, dataset)
    rows = context.workspace.store.nouns(Run, "id = ?", run_id)
    step = Step(context, "train", run_id, run_id)  # the id is a hash of all inputs
    if rows and step.is_done and (context.workspace.run_folder(run_id) / "adapter").exists():
        return rows[0]
    refuse_withdrawn(context, dataset.id)
    conversations = _conversations(context, dataset)
    report_before(context, conversations, base)
    run = replace(rows[0], status="training") if rows else _new_run(context, dataset, run_id)
    with context.workspace.store.writing() as tx:
        tx.upsert([run])
        # Merge and evaluation of an earlier training of this run are repeated.
        tx.execute("DELETE FROM done WHERE subject_id = ?", [run_id])
    try:
        result = _train(step, run, conversations, base)
    except BaseException as error:
        # Otherwise the run would seem to be in training; a new start resumes it.
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        with context.workspace.store.writing() as tx:
            tx.upsert([replace(run, status=status)])
        raise
    run = replace(run, status="trained")
    too_long = _too_long(context, result.dropped)
    with step.writing() as tx:
        tx.upsert([run])
        tx.upsert([replace(metric, run_id=run_id) for metric in result.metrics])
        tx.upsert(too_long)
    step.finish(1, _summary(result))
    if not result.moved:
        context.report.warn(
            "no weight of the adapter has changed: the model answers as the base does. Train"
            f" longer, or raise train.learning_rate ({result.plan['learning_rate']:.2g})"
        )
    return run


def _train(step: Step, run: Run, rows: Sequence[Conversation], base: PreparedBase) -> TrainResult:
    """Train in a separate process and monitor it."""
    from memoirist.train.loop.launch import train

    context = step.context
    settings = context.recipe.train.resolved()
    with context.report.progress("train", "steps", timed=False) as advance:
        monitor = TrainingMonitor(context.workspace, run.id, advance, context.artifacts)
        folder = context.workspace.run_folder(run.id)
        function = partial(train, folder, rows, base, settings, monitor)
        result = step.call(f"{run.id} on {settings.base_model}", function)
        monitor.save()
    return result


def report_before(context: Context, rows: Sequence[Conversation], base: PreparedBase) -> Preview:
    """Report the training's tokens and its estimated memory and time on this machine.

    Raises TrainError for settings that do not fit the base.
    """
    from memoirist.train.requirements import refuse_unfit, shape_of
    from memoirist.train.token_stats import preview

    settings, shape = context.recipe.train, shape_of(str(base.path))
    result = preview(rows, base, settings)
    refuse_unfit(shape, settings, result.plan.longest)
    first, *more = token_lines(result.plan)
    context.report.step("plan", first)
    for line in [*more, *estimate_lines(context, shape, result.plan, settings)]:
        context.report.note(line)
    return result


def show_rows(context: Context, n: int, *, colour: bool) -> list[str]:
    """Return `n` rows of the newest dataset as token text with the trained tokens marked."""
    dataset = _dataset(context)
    _, base = run_of(context, dataset)
    result = report_before(context, _conversations(context, dataset), base)
    return result.shown(n, colour=colour)


def _too_long(context: Context, dropped: Sequence[str]) -> list[Verdict]:
    """Return a verdict for each too long conversation, with the source of its first pair."""
    if not dropped:
        return []
    context.report.warn(
        f"{counted(len(dropped), 'conversation')} longer than train.max_length: left out"
    )
    rows = context.workspace.store.rows(
        "SELECT conversation_id, min_by(source_id, turn) AS source_id FROM lineage"
        " WHERE list_contains(?, conversation_id) GROUP BY conversation_id",
        [list(dropped)],
    )
    max_length = context.recipe.train.resolved().max_length
    reason = f"even its last exchange alone has more than {max_length} tokens"
    fault = Fault("too_long", reason, "raise train.max_length, if memory allows")
    verdicts = [fault.verdict("conversations", r["conversation_id"], context.now) for r in rows]
    return [
        replace(verdict, step="train", source_id=row["source_id"])
        for verdict, row in zip(verdicts, rows, strict=True)
    ]


def _summary(result: TrainResult) -> str:
    from memoirist.train.loop.launch import STOP_REASONS

    loss = ""
    if result.base_eval_loss is not None and result.eval_loss is not None:
        loss = f", held-out loss {result.base_eval_loss:.3f} -> {result.eval_loss:.3f}"
    return (
        f"{result.steps} steps on {result.n_train} conversations{loss}; best at step"
        f" {result.best_step}, {STOP_REASONS[result.stopped_by]};"
        f" {result.tokens_per_second:,.0f} tokens/s, peak {result.peak_memory_mb:,.0f} MB"
    )


def run_of(context: Context, dataset: Dataset) -> tuple[str, PreparedBase]:
    """Return the run id of a dataset under the recipe, and the prepared base.

    The id depends on the base's content: another version of a base with the same name gives
    another run.
    """
    from memoirist.train.model.prepared_base import prepare_base

    settings = context.recipe.train
    base = prepare_base(settings.base_model, context.workspace.bases, settings.template)
    inputs = json.dumps(settings.lasting(), sort_keys=True)
    return content_id(dataset.id, base.hash, inputs), base


def current_run(context: Context) -> tuple[Run, PreparedBase]:
    """Return the run of the newest dataset under the recipe; NothingToDo when it is not trained."""
    run_id, base = run_of(context, _dataset(context))
    runs = context.workspace.store.nouns(Run, f"id = ? AND status NOT IN {UNFINISHED}", run_id)
    if not runs:
        raise NothingToDo("the newest dataset is not trained yet", "run `memoirist train` first")
    return runs[0], base


def _dataset(context: Context) -> Dataset:
    dataset = latest_dataset(context) if context.workspace.store.path.exists() else None
    if dataset is None:
        raise NothingToDo(
            "there is no dataset to train on", "make one with `memoirist compose`, or build"
        )
    return dataset


def _new_run(context: Context, dataset: Dataset, run_id: str) -> Run:
    settings = context.recipe.train
    recipe = context.recipe.model_copy(update={"train": settings.resolved()})
    return Run(
        id=run_id,
        dataset_id=dataset.id,
        base_model=settings.base_model,
        recipe=recipe.model_dump_json(),
        seed=settings.seed,
        status="training",
        started_at=context.now,
    )


def _conversations(context: Context, dataset: Dataset) -> list[Conversation]:
    return context.workspace.store.nouns(
        Conversation, "dataset_id = ? ORDER BY split, id", dataset.id
    )


def settings_for(data: Sequence[str], persona: str | None) -> dict[str, Any]:
    """Return the recipe's keys for a training on datasets: all rows, unchanged.

    Without a persona the rows keep their own system prompts and no AI disclosure is added.
    """
    return {
        "sources.include": as_saved(data),
        "sources.text_as": "completion",
        "persona.name": persona or Path(data[0].rstrip("/")).name.split(".")[0],
        **({} if persona else {"persona.system": "", "compose.disclosure_share": 0.0}),
        "compose.max_pairs": _EVERY_PAIR,
        "compose.max_group_pairs": _EVERY_PAIR,
        "compose.max_containment": _CONTAINMENT,
        "compose.max_shared_run": _SHARED_RUN,
        "compose.max_question_overlap": 2.0,
    }


def dataset_of(context: Context) -> Dataset:
    """Extract the recipe's datasets and compose all their rows, with a held-out share.

    Raises SourceError for a source that is not a dataset, and if the workspace has other sources.
    """
    _refuse_others(context, context.recipe.sources.include)
    extract_sources(context)
    _take_system_prompt(context)
    curate_pairs(context)
    return compose_dataset(context)


def _refuse_others(context: Context, include: Sequence[str]) -> None:
    files = discover(include, context.workspace.unpacked)
    for file in files:
        if file.format != "dataset":
            raise SourceError(
                f"--data takes datasets of conversations, but {file.location!r} is {file.format}",
                "make a persona of it: `memoirist build SOURCE --persona NAME`",
            )
    locations = {file.location for file in files}
    sources = context.workspace.sources("withdrawn_at IS NULL")
    if others := [source for source in sources if source.location not in locations]:
        raise SourceError(
            f"the workspace {str(context.workspace.root)!r} holds other sources, such as"
            f" {others[0].location!r}",
            "give the training a folder of its own: -o FOLDER",
        )


def _take_system_prompt(context: Context) -> None:
    """Use the rows' system prompt for chat and evaluation if all rows have the same."""
    if context.recipe.persona.system != "":
        return
    prompts = context.workspace.store.rows("SELECT DISTINCT system FROM pairs LIMIT 2")
    if len(prompts) == 1 and prompts[0]["system"]:
        context.recipe.persona.system = str(prompts[0]["system"])

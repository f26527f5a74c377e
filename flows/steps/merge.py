"""Merge: from a run's adapter to a model that one can talk to and give away."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from memoirist.data.schema.records import Metric, Model, Run
from memoirist.flows.models.card_facts import lay_beside
from memoirist.flows.runtime.context import Context
from memoirist.flows.steps.train import current_run

if TYPE_CHECKING:
    from memoirist.train.merge.adapter_merge import MergeResult
    from memoirist.train.model.prepared_base import PreparedBase


def merge_model(context: Context) -> Model:
    """Merge the newest run's adapter into its base and check that both answer alike.

    A checkpoint that was picked by hand stays the model of its run.
    """
    run, base = current_run(context)
    found = context.workspace.store.nouns(Model, "run_id = ?", run.id)
    return merge_run(context, run, base, found[0].step if found else None)


def merge_run(
    context: Context,
    run: Run,
    base: PreparedBase,
    step: int | None = None,
    *,
    for_use: bool = True,
) -> Model:
    """Merge a run's adapter, or its checkpoint `step`, unless that is the model it has.

    It is not where the model's folder is gone, or was made under other settings of [merge].
    Without `for_use` a model that the run has already stays the one it is known by.
    """
    store = context.workspace.store
    found = store.nouns(Model, "run_id = ?", run.id)
    before = found[0] if found else None
    if before and before.step == step and is_merged(context, before):
        return before
    from memoirist.train.merge.adapter_merge import merge

    folder = context.workspace.run_folder(run.id)
    with context.timed() as seconds, context.report.progress("merge", "steps"):
        work = partial(
            merge, folder, base, context.recipe.merge, step=step, tell=context.report.note
        )
        result = context.call("merge", run.id, work)
    model = _model(context, run, result, step)
    if before is not None:
        model = replace(model, champion=before.champion, picked_at=before.picked_at)
    metrics = [
        Metric(run_id=run.id, step=step or 0, name=f"merge_{name}", value=float(value))
        for name, value in result.figures.items()
    ]
    with store.writing() as tx:
        # The weights of the model that is known have been made anew: its row tells of these.
        if for_use or before is None or before.step == step:
            tx.upsert([model])
            tx.upsert(metrics)
        if run.status not in {"merged", "evaluated"}:
            tx.upsert([replace(run, status="merged")])
    lay_beside(context, run, model)
    context.count("merge", 1)
    context.report.step("merge", result.summary, seconds())
    if not result.alike:
        context.report.warn(
            "the merged model is not the trained one by every measure: read"
            f" {str(_report(folder, step))!r}; --set merge.dtype=float32 keeps more of it"
        )
    return model


def _model(context: Context, run: Run, result: MergeResult, step: int | None) -> Model:
    """Return the row of a merged model, with what was compared."""
    folder = context.workspace.run_folder(run.id)
    adapter = folder / ("adapter" if step is None else f"checkpoints/checkpoint-{step}")
    figures = result.figures
    return Model(
        run_id=run.id,
        adapter_path=context.workspace.relative(adapter),
        merged_path=context.workspace.relative(result.path),
        dtype=result.dtype,
        champion=False,
        way=result.way,
        alike=result.alike,
        prompts=int(figures["prompts"]),
        equal=int(figures["equal"]),
        ties=int(figures["ties"]),
        stops=int(figures["stopped"]),
        kl=figures["kl"],
        loss_base=figures["base_loss"],
        loss_adapter=figures["adapter_loss"],
        loss_merged=figures["loss"],
        step=step,
    )


def is_merged(context: Context, model: Model) -> bool:
    """Tell whether a model lies where it should, made under the recipe's settings of [merge]."""
    from memoirist.train.merge.merged_model import merged_before

    folder = context.workspace.root / str(model.merged_path)
    return merged_before(folder, context.recipe.merge) is not None


def _report(folder: Path, step: int | None) -> Path:
    return folder / ("parity.md" if step is None else f"parity-{step}.md")

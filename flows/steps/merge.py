"""Merge a run's adapter into its base."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from memoirist.data.schema.records import Metric, Model, Run
from memoirist.flows.models.model_card import write_model_card
from memoirist.flows.runtime.context import Context
from memoirist.flows.steps.base import Step, fingerprint
from memoirist.flows.steps.train import current_run

if TYPE_CHECKING:
    from memoirist.train.merge.adapter_merge import MergeResult
    from memoirist.train.model.prepared_base import PreparedBase


def merge_model(context: Context) -> Model:
    """Merge the newest run's adapter into its base and check that the answers agree.

    A checkpoint that the user has picked stays the model of its run.
    """
    run, base = current_run(context)
    model = context.workspace.model_of(run.id)
    return merge_run(context, run, base, model.step if model else None)


def merge_run(
    context: Context,
    run: Run,
    base: PreparedBase,
    checkpoint: int | None = None,
    *,
    for_use: bool = True,
) -> Model:
    """Merge the adapter of a run or of a checkpoint, unless the run already has that model.

    A model is merged again if its folder is gone or the settings of [merge] have changed. Without
    `for_use` the run keeps its model.
    """
    store = context.workspace.store
    before = context.workspace.model_of(run.id)
    if before and before.step == checkpoint and is_merged(context, before):
        return before
    from memoirist.train.merge.adapter_merge import merge

    step = _step(context, run.id, checkpoint)
    folder = context.workspace.run_folder(run.id)
    with context.report.progress("merge", "steps"):
        function = partial(
            merge, folder, base, context.recipe.merge, step=checkpoint, tell=context.report.note
        )
        result = step.call(run.id, function)
    model = _model(context, run, result, checkpoint)
    if before is not None:
        model = replace(model, champion=before.champion, picked_at=before.picked_at)
    metrics = [
        Metric(run_id=run.id, step=checkpoint or 0, name=f"merge_{name}", value=float(value))
        for name, value in result.figures.items()
    ]
    # A model with this step is in use, so its row must describe the new weights.
    in_use = for_use or before is None or before.step == checkpoint
    with step.writing() if in_use else store.writing() as tx:
        if in_use:
            tx.upsert([model])
            tx.upsert(metrics)
        if run.status not in {"merged", "evaluated"}:
            tx.upsert([replace(run, status="merged")])
    write_model_card(context, run, model)
    step.finish(1, result.summary)
    if not result.alike:
        report = folder / ("parity.md" if checkpoint is None else f"parity-{checkpoint}.md")
        context.report.warn(
            "the merged model differs from base + adapter by at least one measure: see"
            f" {str(report)!r}; --set merge.dtype=float32 keeps it closer"
        )
    return model


def is_merged(context: Context, model: Model) -> bool:
    """Tell whether a model's folder exists and was merged under the recipe's settings."""
    from memoirist.train.merge.merged_model import merged_before

    folder = context.workspace.root / str(model.merged_path)
    if _step(context, model.run_id, model.step).is_done:
        return folder.is_dir()
    # A merge by an earlier version left its settings in the folder and no state in the store.
    return merged_before(folder, context.recipe.merge) is not None


def _step(context: Context, run_id: str, checkpoint: int | None) -> Step:
    state = fingerprint(checkpoint, context.recipe.merge.model_dump_json())
    return Step(context, "merge", run_id, state)


def _model(context: Context, run: Run, result: MergeResult, checkpoint: int | None) -> Model:
    """Return the row of a merged model with the results of the comparison."""
    folder = context.workspace.run_folder(run.id)
    adapter = folder / "adapter"
    if checkpoint is not None:
        adapter = folder / f"checkpoints/checkpoint-{checkpoint}"
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
        step=checkpoint,
    )

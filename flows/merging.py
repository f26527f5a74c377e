"""Merge: from a run's adapter to a model that one can talk to and give away."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from data.nouns import Metric, Model
from flows.context import Context
from flows.training import current_run


def merge_model(context: Context) -> Model:
    """Merge the newest run's adapter into its base and check that both answer alike."""
    run, base = current_run(context)
    store = context.workspace.store
    before = store.nouns(Model, "run_id = ?", run.id)
    folder = context.workspace.run_folder(run.id)
    if before and (context.workspace.root / str(before[0].merged_path)).exists():
        return before[0]
    from train.merge import merge

    with context.timed() as seconds, context.report.progress("merge", "steps"):
        result = context.call("merge", run.id, partial(merge, folder, base, context.recipe.merge))
    model = Model(
        run_id=run.id,
        adapter_path=context.workspace.relative(folder / "adapter"),
        merged_path=context.workspace.relative(result.path),
        dtype=result.dtype,
        champion=bool(before and before[0].champion),
    )
    metrics = [
        Metric(run_id=run.id, step=0, name=f"merge_{name}", value=float(value))
        for name, value in result.figures.items()
    ]
    with store.writing() as tx:
        tx.upsert([model])
        tx.upsert(metrics)
        if run.status != "evaluated":
            tx.upsert([replace(run, status="merged")])
    context.count("merge", 1)
    context.report.step("merge", result.summary, seconds())
    return model

"""The flow `refresh`: take in what is new at the recipe's sources, retrain if it is worth it."""

from __future__ import annotations

from typing import Any

from memoirist.flows.build import open_context, publish  # isort: skip - it quiets Prefect first

from prefect import flow

from memoirist.data.schema.errors import NothingToDo
from memoirist.flows.pipeline import MODEL, PAIRS, extract, run_steps
from memoirist.flows.runtime.context import Context


@flow(name="refresh", flow_run_name="refresh {workspace}", persist_result=False)
def refresh(
    workspace: str = "workspace",
    recipe: str | None = None,
    overrides: dict[str, Any] | None = None,
) -> dict[str, int]:
    """Look at the recipe's sources again; return the new rows by verb.

    A training needs `refresh.min_new_pairs` pairs that no dataset has seen; fewer wait.
    """
    context = open_context(workspace, recipe, overrides)
    if not context.recipe.sources.include:
        raise NothingToDo(
            "the recipe names no source to look at again", "build once: `memoirist build SOURCE`"
        )
    with context.workspace.held():
        extract(context, named=())  # a source that fails does not stop the others
        run_steps(context, *PAIRS)
        if worth_training(context):
            run_steps(context, *MODEL)
        publish(context)
    return context.changed


def worth_training(context: Context) -> bool:
    """Tell whether enough pairs are new since the last dataset, and report it either way."""
    store, n_wanted = context.workspace.store, context.recipe.refresh.min_new_pairs
    n_new = store.value(
        "SELECT count(*) FROM kept WHERE id NOT IN (SELECT unnest(pair_ids) FROM conversations"
        " WHERE dataset_id IN (SELECT dataset_id FROM runs WHERE status = 'evaluated'))"
        " AND id NOT IN (SELECT subject_id FROM verdicts WHERE step = 'compose' AND NOT keep)"
    )
    n_withdrawn = store.value(
        "SELECT count(*) FROM pairs WHERE id IN (SELECT unnest(pair_ids) FROM conversations WHERE"
        " dataset_id = (SELECT id FROM datasets ORDER BY created_at DESC LIMIT 1))"
        " AND source_id IN (SELECT id FROM sources WHERE withdrawn_at IS NOT NULL)"
    )
    worth = True
    if not store.value("SELECT count(*) FROM models"):
        message = "nothing is trained yet, so everything is new"
    elif n_withdrawn:
        message = f"{n_withdrawn:,} pairs were withdrawn: training without them"
    else:
        worth = bool(n_new >= n_wanted)
        message = (
            f"{n_new:,} new pairs since the last training; refresh.min_new_pairs = {n_wanted}: "
            + ("training again" if worth else "waiting for more")
        )
    context.report.step("refresh", message)
    return worth


if __name__ == "__main__":
    refresh()

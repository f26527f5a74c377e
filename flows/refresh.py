"""Define the flow `refresh`: read new sources of the recipe, and retrain if they are enough."""

from __future__ import annotations

from typing import Any

from memoirist.flows.build import open_context, publish  # isort: skip - it quiets Prefect first

from prefect import flow

from memoirist.data.schema.errors import NothingToDo
from memoirist.data.store.transaction import statement
from memoirist.flows.pipeline import MODEL, PAIRS, extract, run_steps
from memoirist.flows.runtime.context import Context


@flow(name="refresh", flow_run_name="refresh {workspace}", persist_result=False)
def refresh(
    workspace: str = "workspace",
    recipe: str | None = None,
    overrides: dict[str, Any] | None = None,
) -> dict[str, int]:
    """Read the recipe's sources again; return the number of new rows by verb.

    A training needs `refresh.min_new_pairs` pairs that are in no trained dataset.
    """
    context = open_context(workspace, recipe, overrides)
    if not context.recipe.sources.include:
        raise NothingToDo(
            "the recipe names no source to read again", "build once: `memoirist build SOURCE`"
        )
    with context.workspace.held():
        extract(context, required=())  # a source that fails does not stop the others
        run_steps(context, *PAIRS)
        if worth_training(context):
            run_steps(context, *MODEL)
        publish(context)
    return context.changed


def worth_training(context: Context) -> bool:
    """Tell whether enough pairs are new since the last training, and report it."""
    minimum = context.recipe.refresh.min_new_pairs
    (counts,) = context.workspace.store.rows(statement("new_pairs"))
    is_due = bool(counts["n_new"] >= minimum or counts["n_withdrawn"] or not counts["n_models"])
    if not counts["n_models"]:
        message = "nothing is trained yet, so everything is new"
    elif counts["n_withdrawn"]:
        message = f"{counts['n_withdrawn']:,} pairs were withdrawn: training without them"
    else:
        decision = "training again" if is_due else "waiting for more"
        message = (
            f"{counts['n_new']:,} new pairs since the last training;"
            f" refresh.min_new_pairs = {minimum}: {decision}"
        )
    context.report.step("refresh", message)
    return is_due


if __name__ == "__main__":
    refresh()

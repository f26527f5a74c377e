"""Define the flow `refresh`: read new sources of the recipe, and retrain if they are enough.

`serve_deployments` starts it on the recipe's schedule, and `build` on demand.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from memoirist.data.schema.errors import NothingToDo, RecipeError
from memoirist.flows.runtime.context import Context
from memoirist.flows.runtime.local_server import running

# Before Prefect, which it quiets.
from memoirist.flows.build import build, open_flow_context, publish  # isort: skip

from prefect import flow

from memoirist.data.store.transaction import statement
from memoirist.flows.pipeline import MODEL, PAIRS, extract, run_steps

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment


@flow(name="refresh", flow_run_name="refresh {workspace}", persist_result=False)
def refresh(
    workspace: str = "workspace",
    recipe: str | None = None,
    overrides: dict[str, Any] | None = None,
) -> dict[str, int]:
    """Read the recipe's sources again; return the number of new rows by verb.

    A training needs `refresh.min_new_pairs` pairs that are in no trained dataset.
    """
    context = open_flow_context(workspace, recipe, overrides)
    if not context.recipe.sources.include:
        raise NothingToDo(
            "the recipe names no source to read again", "build once: `memoirist build SOURCE`"
        )
    with context.workspace.lock():
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


def serve_deployments(context: Context, workspace: Path, recipe: Path | None) -> None:
    """Serve until Ctrl-C; NothingToDo without sources, RecipeError for a wrong schedule."""
    if not context.recipe.sources.include:
        raise NothingToDo(
            "the recipe names no source to refresh", "build once: `memoirist build SOURCE`"
        )
    settings = context.recipe.refresh
    with running(schedules=True) as url:
        from prefect import serve
        from prefect.schedules import Cron

        parameters = {
            "workspace": str(workspace.absolute()),
            "recipe": str(recipe.absolute()) if recipe else None,
        }
        try:
            schedule = Cron(settings.cron, timezone=settings.timezone)
        except ValueError as error:
            raise RecipeError(
                f"refresh.cron = {settings.cron!r} in {settings.timezone!r} is not a schedule:"
                f" {error}",
                "write five fields, such as '0 3 * * *' for three every night",
            ) from error
        context.report.step(
            "schedule",
            f"refresh at {settings.cron!r} ({settings.timezone}), build on demand; {url}",
        )
        context.report.note("Ctrl-C ends it; the next refresh continues an interrupted one")
        deployments = (
            build.to_deployment("build", parameters=parameters),
            refresh.to_deployment("refresh", parameters=parameters, schedule=schedule),
        )
        # Outside an event loop `to_deployment` has already run and is no coroutine.
        serve(*cast("tuple[RunnerDeployment, ...]", deployments), print_starting_message=False)


if __name__ == "__main__":
    refresh()

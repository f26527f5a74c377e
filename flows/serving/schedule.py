"""Serve the deployments of the flows: `refresh` on its schedule and `build` on demand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from memoirist.data.schema.errors import NothingToDo, RecipeError
from memoirist.flows.runtime.context import Context
from memoirist.flows.runtime.prefect_server import running

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment


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

        from memoirist.flows.build import build
        from memoirist.flows.refresh import refresh

        parameters = {
            "workspace": str(workspace.absolute()),
            "recipe": str(recipe.absolute()) if recipe else None,
        }
        try:
            schedule = Cron(settings.cron, timezone=settings.timezone)
        except ValueError as error:
            raise RecipeError(
                f"refresh.cron = {settings.cron!r} in {settings.timezone!r} is no schedule:"
                f" {error}",
                "write five fields, such as '0 3 * * *' for three every night",
            ) from error
        context.report.step(
            "schedule",
            f"refresh at {settings.cron!r} ({settings.timezone}), build on demand; {url}",
        )
        context.report.note("Ctrl-C ends it; the next refresh continues a stopped one")
        deployments = (
            build.to_deployment("build", parameters=parameters),
            refresh.to_deployment("refresh", parameters=parameters, schedule=schedule),
        )
        # Outside an event loop `to_deployment` has already run and is no coroutine.
        serve(*cast("tuple[RunnerDeployment, ...]", deployments), print_starting_message=False)

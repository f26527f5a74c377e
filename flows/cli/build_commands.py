"""The commands that run Prefect flows: `build`, `refresh`, and `schedule` for both."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from memoirist.data.schema.errors import RecipeError
from memoirist.flows.cli import options as o
from memoirist.flows.cli.options import WORKSPACE, RecipeOptions, recipe_flags
from memoirist.flows.cli.step_commands import (
    ENDPOINT_KEYS,
    EXTRACT_KEYS,
    Sources,
    remember_passwords,
)

if TYPE_CHECKING:
    from memoirist.flows.recipe import Overrides
    from memoirist.flows.runtime.context import Context


@recipe_flags(
    *EXTRACT_KEYS,
    *ENDPOINT_KEYS,
    "interview.answers",
    "train.base_model",
    "train.epochs",
    "train.seed",
)
def build(
    sources: Sources = None, password: o.PasswordOption = None, *, options: RecipeOptions
) -> None:
    """Do every step from sources to a model that one can talk to; a rerun does what is missing."""
    overrides = options.overrides()
    _check_input(sources, options.open(overrides))
    remember_passwords(options, sources, password)
    from memoirist.flows.build import build as flow

    changed = _run_flow(partial(flow, sources), options, overrides)
    _print_next_steps(changed, options.workspace)


def _run_flow(
    flow: Callable[..., dict[str, int]], options: RecipeOptions, values: Overrides
) -> dict[str, int]:
    """Run a flow under a Prefect server; return the number of changed rows by verb."""
    from memoirist.flows.runtime.local_server import running
    from memoirist.flows.runtime.report import ignore_hangup

    recipe = str(options.recipe) if options.recipe else None
    with ignore_hangup(), running():
        return flow(workspace=str(options.workspace), recipe=recipe, overrides=values)


def _check_input(sources: list[str] | None, context: Context) -> None:
    """Raise RecipeError for wrong input before Prefect starts, which takes seconds."""
    if not sources and not context.recipe.sources.include:
        raise RecipeError(
            "there is no source to build from",
            "name a file or folder: `memoirist build book.pdf --persona 'FULL NAME'`",
        )
    if not context.recipe.persona.name:
        raise RecipeError("no persona is named", "add --persona 'FULL NAME'")
    if sources:
        from memoirist.extractors import discover

        discover(sources, context.workspace.unpacked)


def _print_next_steps(changed: dict[str, int], workspace: Path) -> None:
    option = "" if workspace == WORKSPACE else f" -w {workspace}"
    if not changed:
        typer.echo("Nothing to do: every source is extracted, asked, composed, trained and merged.")
    lines = (
        (f"memoirist chat{option}", "talk to the persona"),
        (f"memoirist chat --compare{option}", "base and tuned model side by side"),
        (f"memoirist look coverage{option}", "what was found, kept and dropped, by rule"),
        (f"memoirist look kept{option}", "the pairs; `look why ID` traces one back to its page"),
        ("memoirist build SOURCE... --persona NAME \\", "your own sources,"),
        ("  --base-url URL --model LLM \\", "  a real interviewer,"),
        ("  --base-model PATH_OR_HUB_ID -w FOLDER", "  and a real base"),
    )
    try:
        typer.echo("\nWhat next:")
        for command, purpose in lines:
            typer.echo(f"  {command:<46} {purpose}")
    except OSError:
        from memoirist.flows.runtime.report import detach_output

        detach_output()  # the build is done, and its terminal is closed


def refresh(options: RecipeOptions) -> None:
    """Read the recipe's sources again; retrain if enough is new, otherwise say why not."""
    overrides = options.overrides()
    options.open(overrides)  # refuses a wrong key before Prefect starts
    from memoirist.flows.refresh import refresh as flow

    if not _run_flow(flow, options, overrides):
        typer.echo("Nothing to do: the sources hold nothing new.")


def schedule(options: RecipeOptions) -> None:
    """Run the deployments: `refresh` on the recipe's schedule, `build` when it is asked for."""
    from memoirist.flows.refresh import serve_deployments

    serve_deployments(options.open(), options.workspace, options.recipe)


def serve(options: RecipeOptions) -> None:
    """Do what `schedule` does, under its former name."""
    typer.echo(
        "`memoirist serve` is now `memoirist schedule`; for an OpenAI-compatible server of the"
        " model use `memoirist serve-model`",
        err=True,
    )
    schedule(options)

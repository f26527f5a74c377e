"""The commands that run Prefect flows: `build`, `refresh`, and `schedule` for both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from memoirist.data.schema.errors import RecipeError
from memoirist.flows.cli import options as o
from memoirist.flows.cli.options import WORKSPACE
from memoirist.flows.cli.recipe_flags import NO_FLAGS, Flags, recipe_flags
from memoirist.flows.cli.step_commands import (
    ENDPOINT_KEYS,
    EXTRACT_KEYS,
    Sources,
    unlock,
    with_speakers,
)
from memoirist.flows.runtime.detach import detach_output, ignore_hangup

if TYPE_CHECKING:
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
    sources: Sources = None,
    flags: Flags = NO_FLAGS,
    password: o.PasswordOption = None,
    assigned: o.SetOption = None,
    recipe: o.RecipeOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Do everything: sources in, a model that one can talk to out. Run again, it does the rest."""
    wanted = o.overrides(assigned, with_speakers(flags, recipe, workspace))
    _refuse_early(sources, o.open_workspace(workspace, recipe, wanted))
    unlock(sources, recipe, workspace, password)
    from memoirist.flows.build import build as flow
    from memoirist.flows.runtime.prefect_server import running

    with ignore_hangup(), running():
        changed = flow(
            sources=sources,
            workspace=str(workspace),
            recipe=str(recipe) if recipe else None,
            overrides=wanted,
        )
    _close(changed, workspace)


def _refuse_early(sources: list[str] | None, context: Context) -> None:
    """Refuse what is plainly wrong before Prefect takes its seconds to start."""
    if not sources and not context.recipe.sources.include:
        raise RecipeError(
            "there is no source to build from",
            "name a file or folder: `memoirist build book.pdf --persona 'FULL NAME'`",
        )
    if not context.recipe.persona.name:
        raise RecipeError("nobody is named as the persona", "add --persona 'FULL NAME'")
    if sources:
        from memoirist.extractors import discover

        discover(sources)


def _close(changed: dict[str, int], workspace: Path) -> None:
    where = "" if workspace == WORKSPACE else f" -w {workspace}"
    if not changed:
        typer.echo("Nothing to do: every source is taken in, asked, composed, trained and merged.")
    lines = (
        (f"memoirist chat{where}", "talk to the persona"),
        (f"memoirist chat --compare{where}", "base and tuned model side by side"),
        (f"memoirist look coverage{where}", "what was found, kept and dropped, by which rule"),
        (f"memoirist look kept{where}", "the pairs; `look why ID` leads one back to its page"),
        ("memoirist build SOURCE... --persona NAME \\", "your own sources,"),
        ("  --base-url URL --model LLM \\", "  a real interviewer,"),
        ("  --base-model PATH_OR_HUB_ID -w FOLDER", "  and a real base"),
    )
    try:
        typer.echo("\nWhat next:")
        for command, purpose in lines:
            typer.echo(f"  {command:<46} {purpose}")
    except OSError:
        detach_output()  # the build is done, and its terminal is gone


def refresh(
    recipe: o.RecipeOption = None,
    assigned: o.SetOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Look at the recipe's sources again; retrain when enough is new, else say why not."""
    wanted = o.overrides(assigned)
    o.open_workspace(workspace, recipe, wanted)  # a wrong key is refused before Prefect starts
    from memoirist.flows.refresh import refresh as flow
    from memoirist.flows.runtime.prefect_server import running

    with ignore_hangup(), running():
        changed = flow(
            workspace=str(workspace),
            recipe=str(recipe) if recipe else None,
            overrides=wanted,
        )
    if not changed:
        typer.echo("Nothing to do: the sources hold nothing new.")


def schedule(
    recipe: o.RecipeOption = None,
    assigned: o.SetOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Run the deployments: `refresh` on the recipe's schedule, `build` when it is asked for."""
    from memoirist.flows.serving.schedule import serve_deployments

    context = o.open_workspace(workspace, recipe, o.overrides(assigned))
    serve_deployments(context, workspace, recipe)


def serve(
    recipe: o.RecipeOption = None,
    assigned: o.SetOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Do what `schedule` does, under its former name."""
    typer.echo(
        "`memoirist serve` is now `memoirist schedule`; for an OpenAI-compatible server of the"
        " model use `memoirist serve-model`",
        err=True,
    )
    schedule(recipe, assigned, workspace)

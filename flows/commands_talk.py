"""The commands that talk and watch: `chat`, `serve` and `doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from flows import options as o
from flows.options import WORKSPACE


def chat(
    message: Annotated[
        str | None,
        typer.Option("-m", "--message", help="Print one answer to this and nothing else."),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Show the base model's answer beside the tuned one's.")
    ] = False,
    system: Annotated[
        str | None, typer.Option("--system", help="Another system prompt; '' for none.")
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            min=0,
            max=2,
            help="0 is the likeliest answer, and --message's default; else .7.",
        ),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="Tokens an answer may have.")
    ] = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Talk to the persona; /reset forgets the conversation, /quit ends it."""
    from flows.talking import Talk, converse, say_once

    if temperature is None and message is not None and not compare:
        # One answer to one question is asked for by scripts and checks: the likeliest it is.
        temperature = 0.0
    wanted = {"temperature": temperature, "max_new_tokens": max_tokens}
    chosen = {key: value for key, value in wanted.items() if value is not None}
    talk = Talk.open(o.open_workspace(workspace), system, chosen, compare=compare)
    if message is not None:
        say_once(talk, message)
    else:
        converse(talk)


def serve(
    recipe: o.RecipeOption = None,
    assigned: o.SetOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Run the deployments: `refresh` on the recipe's schedule, `build` when it is asked for."""
    from flows.serving import serve_deployments

    context = o.open_workspace(workspace, recipe, o.overrides(assigned))
    serve_deployments(context, workspace, recipe)


def doctor(
    base_url: o.BaseUrlOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Tell what works on this machine, and what to do about what does not."""
    from flows.doctor import examine

    context = o.open_workspace(workspace, None, o.overrides(None, interview__base_url=base_url))
    for line in examine(context):
        typer.echo(line)

"""The commands that run until Ctrl-C: `serve-model`, `web` and `schedule`."""

from __future__ import annotations

from typing import Annotated

import typer

from memoirist.flows.cli import options as o
from memoirist.flows.cli.chat_command import CheckpointOption, RunOption
from memoirist.flows.cli.options import WORKSPACE


def serve_model(
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Where it listens; 0: any free port.")
    ] = 8000,
    engine: Annotated[
        str, typer.Option("--engine", help="auto (vLLM if it is installed), transformers or vllm.")
    ] = "auto",
    run: RunOption = None,
    checkpoint: CheckpointOption = None,
    system: Annotated[
        str | None,
        typer.Option(
            "--system", help="For clients that send no system message: another; '' for none."
        ),
    ] = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Serve the model to OpenAI clients on 127.0.0.1 until Ctrl-C."""
    from memoirist.flows.chat.backends import Choice
    from memoirist.flows.serving.model_server import serve_model as start_model_server

    choice = Choice(run=run, checkpoint=checkpoint)
    start_model_server(o.patient_workspace(workspace), choice, system, port, engine)


def web(
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Where the page is; 0: any free port.")
    ] = 7860,
    compare: Annotated[
        bool, typer.Option("--compare/--no-compare", help="Show the base beside the tuned model.")
    ] = True,
    run: RunOption = None,
    checkpoint: CheckpointOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Open a chat page on 127.0.0.1, base and tuned side by side, until Ctrl-C."""
    from memoirist.flows.chat.backends import Choice
    from memoirist.flows.serving.web_server import serve_page

    choice = Choice(run=run, checkpoint=checkpoint)
    serve_page(o.patient_workspace(workspace), choice, port, compare=compare)


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

"""The commands on finished models: `models` with `list`, `pick` and `export`, and `push`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from memoirist.flows.cli import options as o
from memoirist.flows.cli.options import WORKSPACE

models = typer.Typer(
    help="List the trained models, pick the one in use, export it.",
    invoke_without_command=True,
)
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN[:STEP]", help="A run's id or its beginning, and a checkpoint.")
]


@models.callback()
def _models(context: typer.Context, workspace: o.WorkspaceOption = WORKSPACE) -> None:
    source = context.get_parameter_source("workspace")
    if context.invoked_subcommand is None:
        list_(workspace=workspace)
    elif source is not None and source.name == "COMMANDLINE":
        # Ignored here, it would leave the subcommand to another workspace.
        command = f"memoirist models {context.invoked_subcommand} -w {workspace}"
        raise typer.BadParameter(f"give -w after the subcommand: {command}", param_hint="-w")


@models.command("list")
def list_(
    form: o.FormatOption = "table",
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Show every run: its figures, the model in use, the checkpoints that can be tried."""
    from memoirist.flows.inspection import print_rows
    from memoirist.flows.models.model_registry import list_models

    print_rows(list_models(o.open_workspace(workspace)), form)


@models.command()
def pick(
    run: RunArgument,
    assigned: o.SetOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Make a run, or one of its checkpoints, the model in use; merge it first if necessary."""
    from memoirist.flows.models import model_registry

    context = o.open_workspace(workspace, None, o.overrides(assigned))
    with context.workspace.lock():
        model_registry.pick(context, run)
        if assigned:
            context.save_recipe()  # else the next build merges again with the former settings


@models.command()
def export(
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN[:STEP]]", help="Default: the model in use."),
    ] = None,
    to: Annotated[
        Literal["gguf", "ollama"],
        typer.Option("--to", help="GGUF by llama.cpp's converter, or a Modelfile for Ollama."),
    ] = "gguf",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Output path; default: in the workspace's folder `exports`."
        ),
    ] = None,
    force: o.ForceOption = False,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Write a merged model for other programs; the merged folder itself loads in transformers."""
    from memoirist.flows.cli.output_check import check_output_file
    from memoirist.flows.models.model_registry import export_model, export_path

    context = o.open_workspace(workspace)
    with context.workspace.lock():
        path = output or export_path(context, run, to)
        check_output_file(context, path, force=force)
        typer.echo(export_model(context, run, to, path))


def push(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="[RUN[:STEP]] OWNER/NAME",
            help="A run's id or its beginning, and a checkpoint; then the repository on the hub.",
        ),
    ],
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            metavar="VERSION",
            help="Upload this dataset version, an id or its beginning, instead of a model.",
        ),
    ] = None,
    adapter: Annotated[
        bool,
        typer.Option("--adapter", help="Upload the adapter alone instead of the merged model."),
    ] = False,
    public: Annotated[
        bool, typer.Option("--public", help="Let everyone read it; default: private.")
    ] = False,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Upload a model or a dataset with its card to a hub, if its sources' rights permit."""
    from memoirist.flows.models.dataset_folder import push_dataset
    from memoirist.flows.models.model_registry import push_model

    if len(names) != (1 if dataset else 2) or (dataset and adapter):
        usage = "give RUN OWNER/NAME for a model, --dataset VERSION OWNER/NAME for a dataset"
        raise typer.BadParameter(usage)
    context = o.open_workspace(workspace)
    with context.workspace.lock():
        if dataset:
            typer.echo(push_dataset(context, dataset, names[0], public=public))
        else:
            typer.echo(push_model(context, *names, adapter=adapter, public=public))


# The second name of `memoirist push`; it goes with the next release.
models.command("push", hidden=True)(push)

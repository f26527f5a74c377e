"""The command `train`: on the workspace's newest dataset, or by itself on any dataset."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memoirist.data.schema.errors import RecipeError
from memoirist.flows.cli import options as o
from memoirist.flows.cli.options import WORKSPACE
from memoirist.flows.cli.recipe_flags import NO_FLAGS, Flags, recipe_flags

if TYPE_CHECKING:
    from memoirist.flows.runtime.context import Context


DataOption = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="FILE_OR_HF_ID",
        help="Train by itself on a dataset of conversations: a file or hf://org/name.",
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", help="With --data: the folder of the run, its merge, its chat (as -w)."
    ),
]
# The number may be left out: flows/cli/main.py fills it in.
ShowOption = Annotated[
    int | None,
    typer.Option(
        "--show",
        metavar="[N]",
        min=1,
        help="Print N rows (3) as the model sees them, trained tokens marked, and train nothing.",
    ),
]


@recipe_flags(
    "sources.map",
    "persona.name",
    "train.base_model",
    "train.preset",
    "train.epochs",
    "train.seed",
    "train.tracker",
)
def train(
    data: DataOption = None,
    output: OutputOption = None,
    force: o.ForceOption = False,
    flags: Flags = NO_FLAGS,
    show: ShowOption = None,
    assigned: o.SetOption = None,
    recipe: o.RecipeOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Train a 4-bit LoRA adapter on the newest dataset; a killed training goes on."""
    if output is not None and not data:
        raise RecipeError("-o names the folder of a training with --data", "give --data as well")
    columns = flags.get("sources.map")
    if columns and not data:
        raise RecipeError(
            f"--map {columns[0]!r} names columns of a training with --data",
            "give --data as well, or map at `extract` or `build`",
        )
    wanted = o.overrides(assigned, flags)
    from memoirist.flows.cli.output_check import check_output_folder

    if data:
        from memoirist.flows.steps.train import settings_for

        wanted = wanted.over(settings_for(data, flags.get("persona.name")))

    def step(context: Context) -> None:
        _train(context, from_data=bool(data), show=show)

    context = o.open_workspace(output or workspace, recipe, wanted)
    if output is not None:
        check_output_folder(context, force=force)
    o.run(context, step)
    if data and show is None:
        where = output or workspace
        context.report.note(
            f"next, with -w {where} each: memoirist merge, memoirist evaluate, memoirist chat"
        )


def _train(context: Context, *, from_data: bool, show: int | None) -> None:
    from memoirist.flows.pipeline import run_steps
    from memoirist.flows.recipe.io import save_recipe
    from memoirist.flows.steps.train import dataset_of, show_rows

    if from_data:
        dataset_of(context)
    if show is not None:
        colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        for line in show_rows(context, show, colour=colour):
            typer.echo(line, color=True)
        context.count("show", 1)
        return
    run_steps(context, "train")
    save_recipe(context)  # after it, so that a base that cannot be loaded is not kept

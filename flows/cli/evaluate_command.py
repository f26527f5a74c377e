"""The command that evaluates: by figures, by a judge, by people with a sheet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memoirist.flows.cli import options as o
from memoirist.flows.cli.options import WORKSPACE
from memoirist.flows.cli.recipe_flags import NO_FLAGS, Flags, recipe_flags

if TYPE_CHECKING:
    from memoirist.flows.runtime.context import Context


@recipe_flags("evaluate.questions", "evaluate.judge", "evaluate.judge_model", "interview.base_url")
def evaluate(
    flags: Flags = NO_FLAGS,
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", help="Write the answers in pairs for a person: .csv or .md."),
    ] = None,
    read_sheet: Annotated[
        Path | None, typer.Option("--read-sheet", help="Take the verdicts of a filled-in sheet.")
    ] = None,
    force: o.ForceOption = False,
    assigned: o.SetOption = None,
    recipe: o.RecipeOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Compare the tuned model with its base and with the person, and write a report."""
    from memoirist.flows.cli.output_check import check_output_file
    from memoirist.flows.evaluation.comparison import take_sheet, write_sheet
    from memoirist.flows.pipeline import run_steps
    from memoirist.flows.steps.train import current_run

    def step(context: Context) -> None:
        if read_sheet is not None:
            take_sheet(context, current_run(context)[0], read_sheet)
        run_steps(context, "evaluate")
        if sheet is not None:
            write_sheet(context, current_run(context)[0], sheet)

    context = o.open_workspace(workspace, recipe, o.overrides(assigned, flags))
    if sheet is not None:
        check_output_file(context, sheet, force=force)
    o.run(context, step)

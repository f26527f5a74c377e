"""The commands that run one step each, directly and without Prefect: `extract` to `evaluate`."""

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

EXTRACT_KEYS = (
    "persona.name",
    "persona.aliases",
    "sources.speakers",
    "sources.limit",
    "persona.lang",
    "sources.chapters.include",
    "sources.chapters.exclude",
    "sources.map",
    "sources.mix",
    "sources.text_as",
    "sources.extract.ocr",
)
ENDPOINT_KEYS = (
    "interview.base_url",
    "interview.model",
    "interview.max_concurrency",
    "interview.request_timeout_seconds",
    "interview.budget_usd",
    "interview.max_requests",
    "interview.max_tokens",
)
Sources = Annotated[
    list[str] | None,
    typer.Argument(metavar="SOURCE...", help="Files, folders, globs, feeds or hf:// ids."),
]


def with_speakers(flags: Flags, recipe: Path | None, workspace: Path) -> Flags:
    """Return the flags with `--speaker LABEL=NAME` set over the speakers of the recipe."""
    given = flags.get("sources.speakers")
    if not given:
        return flags
    from memoirist.flows.recipe.io import merged_speakers
    from memoirist.flows.runtime.workspace import Workspace

    saved = Workspace(workspace).recipe
    path = recipe or (saved if saved.exists() else None)
    return {**flags, "sources.speakers": merged_speakers(path, given)}


def unlock(
    sources: list[str] | None, recipe: Path | None, workspace: Path, given: list[str] | None
) -> None:
    """Remember the passwords of locked files; on a terminal, ask for those that are missing."""
    from memoirist.extractors.pdf.engines.base import remember_passwords
    from memoirist.flows.sources.password_prompt import ask_password, locked_pdfs

    remember_passwords(given or ())
    if not sys.stdin.isatty():
        return
    context = o.open_workspace(workspace, recipe)
    for path in locked_pdfs(context, [*(sources or ()), *context.recipe.sources.include]):
        ask_password(path)


@recipe_flags(*EXTRACT_KEYS)
def extract(
    sources: Sources = None,
    flags: Flags = NO_FLAGS,
    password: o.PasswordOption = None,
    assigned: o.SetOption = None,
    recipe: o.RecipeOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Read sources into documents and blocks, and split them into passages."""
    from memoirist.flows import pipeline
    from memoirist.flows.recipe.io import as_saved, merged_sources

    before = o.open_workspace(workspace, recipe)
    path = recipe or (before.workspace.recipe if before.workspace.recipe.exists() else None)
    wanted = o.overrides(assigned, with_speakers(flags, recipe, workspace))
    if sources:
        wanted["sources.include"] = merged_sources(path, sources)
    context = o.open_workspace(workspace, recipe, wanted)
    named = as_saved(sources) if sources else None
    if not context.recipe.sources.include:
        raise RecipeError(
            "there is no source to extract", "name a file or folder: `memoirist extract book.pdf`"
        )

    unlock(sources, recipe, workspace, password)
    o.run(context, lambda context: pipeline.extract(context, named))


@recipe_flags(*ENDPOINT_KEYS)
def ask(
    flags: Flags = NO_FLAGS,
    assigned: o.SetOption = None,
    recipe: o.RecipeOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Write the question to which each passage is the answer; asked ones are not asked again."""
    from memoirist.flows.pipeline import run_steps
    from memoirist.flows.recipe.io import save_recipe

    def step(context: Context) -> None:
        run_steps(context, "ask")
        save_recipe(context)

    o.run(o.open_workspace(workspace, recipe, o.overrides(assigned, flags)), step)


@recipe_flags("curate.judge", "interview.answers")
def curate(
    flags: Flags = NO_FLAGS,
    assigned: o.SetOption = None,
    recipe: o.RecipeOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Pair questions with passages and judge the pairs by rules, and by an LLM if you wish."""
    from memoirist.flows.pipeline import run_steps
    from memoirist.flows.recipe.io import save_recipe

    def step(context: Context) -> None:
        run_steps(context, "curate")
        if flags:
            save_recipe(context)

    o.run(o.open_workspace(workspace, recipe, o.overrides(assigned, flags)), step)


def compose(
    assigned: o.SetOption = None,
    recipe: o.RecipeOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Compose the kept pairs into conversations: a dataset version, split by whole groups."""
    from memoirist.flows.pipeline import run_steps

    context = o.open_workspace(workspace, recipe, o.overrides(assigned))
    o.run(context, lambda context: run_steps(context, "compose"))


def merge(
    assigned: o.SetOption = None,
    recipe: o.RecipeOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Merge the adapter into its base and check that both answer alike."""
    from memoirist.flows.pipeline import run_steps
    from memoirist.flows.recipe.io import save_recipe

    def step(context: Context) -> None:
        run_steps(context, "merge")
        save_recipe(context)  # else the next build would merge again, under the former settings

    o.run(o.open_workspace(workspace, recipe, o.overrides(assigned)), step)


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

"""The commands that run one step each, directly and without Prefect: `extract` to `evaluate`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memoirist.data.schema.errors import RecipeError, SourceError
from memoirist.flows.cli import options as o
from memoirist.flows.cli.options import RecipeOptions, recipe_flags

if TYPE_CHECKING:
    from memoirist.flows.runtime.context import Context

EXTRACT_KEYS = (
    "persona.name persona.aliases sources.speakers sources.limit persona.lang"
    " sources.chapters.include sources.chapters.exclude sources.map sources.mix sources.text_as"
    " sources.extract.ocr sources.extract.anonymise"
).split()
ENDPOINT_KEYS = (
    "interview.base_url interview.model interview.max_concurrency"
    " interview.request_timeout_seconds interview.budget_usd interview.max_requests"
    " interview.max_tokens"
).split()
Sources = Annotated[
    list[str] | None,
    typer.Argument(metavar="SOURCE...", help="Files, folders, globs, feeds or hf:// ids."),
]


def remember_passwords(
    options: RecipeOptions, sources: list[str] | None, passwords: list[str] | None
) -> None:
    """Remember the passwords of locked files; on a terminal, ask for those that are missing.

    Only this process keeps them.
    """
    from memoirist.extractors.pdf.engines import base

    base.remember_passwords(passwords or ())
    if not sys.stdin.isatty():
        return
    context = o.open_workspace(options.workspace, options.recipe)
    for path in _locked_pdfs(context, [*(sources or ()), *context.recipe.sources.include]):
        _ask_password(path)


def _locked_pdfs(context: Context, pointers: Sequence[str]) -> Iterator[Path]:
    """Yield the PDFs that no known password opens and that no earlier build has extracted."""
    from memoirist.extractors import discover
    from memoirist.extractors.pdf.extract_pdf import is_locked

    has_documents = "id IN (SELECT source_id FROM documents)"
    checked = {Path(source.location) for source in context.workspace.sources(has_documents)}
    for pointer in pointers:
        try:
            pdfs = [
                source.path
                for source in discover([pointer], context.workspace.unpacked)
                if source.format == "pdf"
            ]
        except SourceError:
            continue  # the extract step reports it
        for path in (pdf.expanduser().resolve() for pdf in pdfs):
            if path not in checked and is_locked(path):
                yield path
            checked.add(path)


def _ask_password(path: Path) -> None:
    """Ask up to three times for the password of a file; an empty answer skips the file."""
    from memoirist.extractors.pdf.engines import base
    from memoirist.extractors.pdf.extract_pdf import is_locked

    for _ in range(3):
        answer = typer.prompt(
            f"Password of {path.name} (Enter: skip it)",
            default="",
            hide_input=True,
            show_default=False,
            err=True,
        )
        if not answer:
            return
        passwords = base.known_passwords()
        base.remember_passwords([answer])
        if not is_locked(path):
            return
        base.forget_passwords()
        base.remember_passwords(passwords)
        typer.echo("This password does not open it.", err=True)


@recipe_flags(*EXTRACT_KEYS)
def extract(
    sources: Sources = None, password: o.PasswordOption = None, *, options: RecipeOptions
) -> None:
    """Read sources into documents and blocks, and split them into passages."""
    from memoirist.flows import pipeline
    from memoirist.flows.recipe import as_saved, merged_sources

    overrides = options.overrides()
    if sources:
        overrides["sources.include"] = merged_sources(options.recipe_path(), sources)
    context = options.open(overrides)
    required = as_saved(sources) if sources else None
    if not context.recipe.sources.include:
        raise RecipeError(
            "there is no source to extract", "name a file or folder: `memoirist extract book.pdf`"
        )
    remember_passwords(options, sources, password)
    o.run(context, lambda context: pipeline.extract(context, required))


def _run_steps(context: Context, command: str, *, save: bool = True) -> None:
    """Run the steps of a command; `save` writes the resolved recipe into the workspace.

    The recipe is written last, so that settings that fail are not saved. Without `save` the next
    build runs the step again with the former settings.
    """
    from memoirist.flows.pipeline import run_steps

    run_steps(context, command)
    if save:
        context.save_recipe()


@recipe_flags(*ENDPOINT_KEYS)
def ask(options: RecipeOptions) -> None:
    """Write the question that each passage answers; passages with a question are skipped."""
    o.run(options.open(), lambda context: _run_steps(context, "ask"))


WhatIfOption = Annotated[
    list[str] | None,
    typer.Option(
        "--what-if",
        metavar="KEY=VALUE",
        help="Show what would come and go with another threshold, such as gates.min_stop_share=0.2;"
        " nothing is changed.",
    ),
]


@recipe_flags("curate.judge", "interview.answers")
def curate(
    what_if: WhatIfOption = None, form: o.FormatOption = "table", *, options: RecipeOptions
) -> None:
    """Pair questions with passages and judge the pairs by rules, and by an LLM if you wish."""
    if what_if:
        from memoirist.flows.inspection import show_what_if

        keys = [change.partition("=")[0].strip() for change in what_if]
        show_what_if(options.open(options.what_if(what_if)), keys, form)
        return
    save = bool(options.flags)
    o.run(options.open(), lambda context: _run_steps(context, "curate", save=save))


def compose(options: RecipeOptions) -> None:
    """Compose the kept pairs into conversations: a dataset version, split by whole groups."""
    o.run(options.open(), lambda context: _run_steps(context, "compose", save=False))


def merge(options: RecipeOptions) -> None:
    """Merge the adapter into its base and check that both answer alike."""
    o.run(options.open(), lambda context: _run_steps(context, "merge"))


DataOption = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="FILE_OR_HF_ID",
        help="Train on a dataset of conversations without a persona: a file or hf://org/name.",
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        help="With --data: the folder of this training, named with -w in merge, evaluate and chat.",
    ),
]
# The number may be left out: flows/cli/main.py fills it in.
ShowOption = Annotated[
    int | None,
    typer.Option(
        "--show",
        metavar="[N]",
        min=1,
        help="Print N rows (3) as the model sees them, trained tokens marked, and do not train.",
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
    show: ShowOption = None,
    *,
    options: RecipeOptions,
) -> None:
    """Train a 4-bit LoRA adapter on the newest dataset; an interrupted training continues."""
    from memoirist.flows.cli.output_check import check_output_folder
    from memoirist.flows.steps.train import dataset_of, settings_for

    if output is not None and not data:
        raise RecipeError("-o is only for a training with --data", "give --data as well")
    columns = options.flags.get("sources.map")
    if columns and not data:
        raise RecipeError(
            f"--map {columns[0]!r} is only for a training with --data",
            "give --data as well, or map at `extract` or `build`",
        )
    overrides = options.overrides()
    if data:
        overrides = overrides.over(settings_for(data, options.flags.get("persona.name")))
    workspace = output or options.workspace
    context = replace(options, workspace=workspace).open(overrides)
    if data:
        check_output_folder(context, force=force)

    def step(context: Context) -> None:
        if data:
            dataset_of(context)
        if show is not None:
            _show_rows(context, show)
        else:
            _run_steps(context, "train")

    o.run(context, step)
    if data and show is None:
        context.report.note(
            f"next, each with -w {workspace}: memoirist merge, memoirist evaluate, memoirist chat"
        )


def _show_rows(context: Context, n_rows: int) -> None:
    from memoirist.flows.steps.train import show_rows

    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for line in show_rows(context, n_rows, colour=colour):
        typer.echo(line, color=True)
    context.count("show", 1)


@recipe_flags("evaluate.questions", "evaluate.judge", "evaluate.judge_model", "interview.base_url")
def evaluate(
    sheet: Annotated[
        Path | None,
        typer.Option(
            "--sheet", help="Write a sheet of answers in pairs for a person to judge: .csv or .md."
        ),
    ] = None,
    read_sheet: Annotated[
        Path | None, typer.Option("--read-sheet", help="Read the verdicts of a filled-in sheet.")
    ] = None,
    force: o.ForceOption = False,
    *,
    options: RecipeOptions,
) -> None:
    """Compare the tuned model with its base and with the person, and write a report."""
    from memoirist.flows.cli.output_check import check_output_file
    from memoirist.flows.evaluation.comparison import take_sheet, write_sheet
    from memoirist.flows.steps.train import current_run

    def step(context: Context) -> None:
        if read_sheet is not None:
            take_sheet(context, current_run(context)[0], read_sheet)
        _run_steps(context, "evaluate", save=False)
        if sheet is not None:
            write_sheet(context, current_run(context)[0], sheet)

    context = options.open()
    if sheet is not None:
        check_output_file(context, sheet, force=force, inputs=[read_sheet, options.recipe])
    o.run(context, step)

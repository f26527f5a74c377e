"""The commands that read: `plan`, `look`, `sql`, `export`, `validate`, `calibrate`, `doctor`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import typer

from memoirist.flows.cli import options as o
from memoirist.flows.cli.options import WORKSPACE, RecipeOptions, recipe_flags


@recipe_flags("interview.base_url", "interview.model", "interview.max_concurrency")
def plan(
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="SOURCE...", help="Files, folders or globs.")
    ] = None,
    keys: Annotated[
        bool, typer.Option("--recipe-keys", help="Print every recipe key and its effect.")
    ] = False,
    pilot: Annotated[
        bool, typer.Option("--pilot", help="Send 20 real calls first; their replies are kept.")
    ] = False,
    form: o.FormatOption = "table",
    *,
    options: RecipeOptions,
) -> None:
    """Show what a build would do and what it would cost, without doing anything."""
    from memoirist.flows.inspection import print_rows
    from memoirist.flows.planning.plan import plan_rows, send_pilot
    from memoirist.flows.recipe import document_keys

    if keys:
        typer.echo(document_keys(), nl=False)
        return
    context = options.open()
    if pilot:
        send_pilot(context)
    print_rows(plan_rows(context, sources or context.recipe.sources.include), form)


def look(
    what: Annotated[
        str,
        typer.Argument(
            help="tables, dropped, coverage, outline, versions, why, or a table's name."
        ),
    ] = "tables",
    subject: Annotated[
        str | None,
        typer.Argument(metavar="ID", help="`look why ID`, or `look outline SOURCE`."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("-n", "--limit", min=1, help="Most rows shown. [default: 20; coverage: all]"),
    ] = None,
    form: o.FormatOption = "table",
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Show tables and sizes, what was dropped and why, coverage, or one pair's lineage."""
    from memoirist.flows.inspection import show

    show(o.open_store(workspace), what, subject, limit, form)


def diff(
    first: Annotated[
        str,
        typer.Argument(metavar="A", help="A dataset's id or its beginning, latest or previous."),
    ] = "previous",
    second: Annotated[str, typer.Argument(metavar="B", help="The same for the second dataset.")] = (
        "latest"
    ),
    limit: Annotated[
        int, typer.Option("-n", "--limit", min=1, help="Most examples of each kind and rule.")
    ] = 5,
    form: o.FormatOption = "table",
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Show what came, went or moved between two dataset versions, by which rule and why."""
    from memoirist.flows.inspection import print_rows
    from memoirist.flows.versions import compare_versions

    rows, summary = compare_versions(o.open_store(workspace), (first, second), limit)
    print_rows(rows, form)
    typer.echo(summary, err=True)


def sql(
    query: Annotated[str, typer.Argument(help="A query in DuckDB's SQL.")],
    form: o.FormatOption = "table",
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Run a query on the workspace's tables; it cannot change anything."""
    from memoirist.flows.inspection import print_rows

    print_rows(o.open_store(workspace).fetch(query), form)


def export(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The file to write; for hf, the folder.")
    ],
    form: Annotated[
        Literal["messages", "chatml", "text", "parquet", "alpaca", "sharegpt", "hf"],
        typer.Option("--format", help="Format of the lines; hf: a folder with card and lineage."),
    ] = "messages",
    split: Annotated[
        str | None, typer.Option("--split", help="train, validation or test; default: all.")
    ] = None,
    version: Annotated[
        str,
        typer.Option("--version", help="A dataset's id or its beginning, latest or previous."),
    ] = "latest",
    force: o.ForceOption = False,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Write a dataset version for other trainers, or as a folder for `datasets` and hubs."""
    from memoirist.flows.cli.output_check import check_export_folder, check_output_file
    from memoirist.flows.inspection import export_dataset

    context = o.open_workspace(workspace)
    if form == "hf":
        from memoirist.flows.models.dataset_folder import CARD, FILES

        check_export_folder(context, output, [CARD, *FILES.values()], force=force)
    else:
        check_output_file(context, output, force=force)
    summary = export_dataset(context, output, form, split, version)
    typer.echo(summary, err=True)


def validate(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Messages as JSON lines; - is standard input.")
    ],
    fix: Annotated[
        Path | None,
        typer.Option(
            "--fix",
            metavar="OUT",
            help="Write a copy with the faults mended that need no judgement, without the other"
            " faulty rows.",
        ),
    ] = None,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=1, help="Most tokens of a row, by estimate.")
    ] = 65_536,
    limit: Annotated[
        int, typer.Option("-n", "--limit", min=1, help="Most line numbers shown for each fault.")
    ] = 10,
    form: o.FormatOption = "table",
    force: o.ForceOption = False,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Check a file of messages as strict fine-tuning services do; exit with code 1 on faults."""
    from memoirist.data.composition.messages_file import CheckSettings
    from memoirist.flows.cli.output_check import check_output_file
    from memoirist.flows.inspection import check_file, print_rows

    if fix is not None:
        # With --force the file itself may be mended: it is read to its end before it is replaced.
        check_output_file(o.open_workspace(workspace), fix, force=force)
    settings = CheckSettings(max_tokens=max_tokens, max_lines=limit)
    rows, summary = check_file(file, settings, fix)
    with suppress(BrokenPipeError, SystemExit):  # rich turns a closed pipe into an exit
        print_rows(rows, form)
        typer.echo(summary, err=True)
    if rows.rows:
        raise typer.Exit(1)


def calibrate(
    n_pairs: Annotated[
        int, typer.Option("-n", "--pairs", min=1, help="Number of pairs to label in all.")
    ] = 100,
    form: o.FormatOption = "table",
    *,
    options: RecipeOptions,
) -> None:
    """Label pairs by hand, and see how well the score and the judge agree with you."""
    from memoirist.flows.evaluation.calibration import calibrate_pairs
    from memoirist.flows.inspection import print_rows

    print_rows(calibrate_pairs(options.open(), n_pairs), form)


@recipe_flags("interview.base_url")
def doctor(form: o.FormatOption = "table", *, options: RecipeOptions) -> None:
    """Check what works on this machine and in the workspace, and say how to fix what does not."""
    from memoirist.flows.doctor import examine
    from memoirist.flows.inspection import print_rows

    print_rows(examine(options.open()), form)

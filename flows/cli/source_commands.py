"""The commands about single sources: `rights` and `withdraw`."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from memoirist.flows.cli import options as o
from memoirist.flows.cli.options import WORKSPACE, Flags, recipe_flags

_LEDGER_KEYS = ("rights", "title", "author", "living", "consent")


def withdraw(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE...", help="Paths, file names, titles or ids.")
    ],
    undo: Annotated[bool, typer.Option("--undo", help="Bring withdrawn sources back.")] = False,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Leave sources out of everything composed from now on; `look coverage` shows it."""
    from memoirist.flows import rights_ledger

    context = o.open_workspace(workspace)
    with context.workspace.lock():
        (rights_ledger.restore if undo else rights_ledger.withdraw)(context, sources)


@recipe_flags(*(f"sources.ledger.{key}" for key in _LEDGER_KEYS))
def rights(
    source: Annotated[
        str | None, typer.Argument(metavar="SOURCE", help="A path, file name, title or id.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with code 1 if a source must not be pushed.")
    ] = False,
    form: o.FormatOption = "table",
    *,
    flags: Flags,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Show the ledger of the sources' rights, or write your statement on one source into it."""
    from memoirist.data.provenance.rights import obstacles
    from memoirist.data.schema.errors import RecipeError
    from memoirist.data.schema.records import Source
    from memoirist.flows import rights_ledger
    from memoirist.flows.inspection import print_rows

    entry = {key.rpartition(".")[2]: value for key, value in flags.items()}
    context = o.open_workspace(workspace)
    if entry and source is None:
        raise RecipeError(
            "no source is named", "name one: `memoirist rights SOURCE --rights own-work`"
        )
    if entry and source is not None:
        with context.workspace.lock():
            rights_ledger.note_rights(context, source, entry)
    store = context.workspace.store
    source_id = rights_ledger.find_source(store, source).id if source else None
    all_obstacles = obstacles(store.nouns(Source, "true ORDER BY added_at, id"))
    with suppress(BrokenPipeError, SystemExit):  # rich turns a closed pipe into an exit
        if source is None:
            print_rows(rights_ledger.ledger(store), form)
        for item in all_obstacles:
            if source_id in {None, item.source_id}:
                typer.echo(f"{item.title}: {item.reason}; {item.next_step}", err=True)
    if check and all_obstacles:
        raise typer.Exit(1)

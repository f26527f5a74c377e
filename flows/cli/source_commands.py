"""The commands about sources as such: `rights` and `withdraw`."""

from __future__ import annotations

from typing import Annotated

import typer

from memoirist.flows.cli import options as o
from memoirist.flows.cli.options import WORKSPACE


def withdraw(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE...", help="Paths, file names, titles or ids.")
    ],
    undo: Annotated[bool, typer.Option("--undo", help="Take withdrawn sources back in.")] = False,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Take sources out of all that is composed from now on; `look coverage` shows it."""
    from memoirist.flows import ledger

    context = o.open_workspace(workspace)
    with context.workspace.held():
        (ledger.restore if undo else ledger.withdraw)(context, sources)


def rights(
    source: Annotated[
        str | None, typer.Argument(metavar="SOURCE", help="A path, file name, title or id.")
    ] = None,
    told: Annotated[
        str | None,
        typer.Option(
            "--rights",
            help="public-domain:COUNTRY, licence:ID, own-work, permission:WHOSE or unknown.",
        ),
    ] = None,
    title: Annotated[str | None, typer.Option("--title", help="Its title.")] = None,
    author: Annotated[str | None, typer.Option("--author", help="Its author.")] = None,
    living: Annotated[
        bool | None, typer.Option("--living/--not-living", help="A living person speaks in it.")
    ] = None,
    consent: Annotated[
        str | None, typer.Option("--consent", help="Who agreed, when, to what.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="End with 1 if anything stands against a push.")
    ] = False,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Show the ledger of the sources' rights, or write your word on one of them into it."""
    from memoirist.data.provenance.rights import obstacles
    from memoirist.data.schema.errors import RecipeError
    from memoirist.data.schema.records import Source
    from memoirist.flows import ledger
    from memoirist.flows.inspection import print_rows

    named = {"rights": told, "title": title, "author": author, "living": living, "consent": consent}
    entry = {key: value for key, value in named.items() if value is not None}
    context = o.open_workspace(workspace)
    if entry and source is None:
        raise RecipeError("no source is named", "`memoirist rights SOURCE --rights own-work`")
    if entry and source is not None:
        with context.workspace.held():
            ledger.note_rights(context, source, entry)
    store = context.workspace.store
    if source is None:
        print_rows(ledger.ledger(store), "table")
    found = obstacles(store.nouns(Source, "true ORDER BY added_at, id"))
    mine = ledger.find_source(store, source).id if source else None
    for each in found:
        if mine in {None, each.source_id}:
            typer.echo(f"{each.title}: {each.reason}; {each.next_step}", err=True)
    if check and found:
        raise typer.Exit(1)

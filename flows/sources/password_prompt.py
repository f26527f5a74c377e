"""Ask on the terminal for the passwords of locked files; they stay in this process alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import typer

from memoirist.data.schema.errors import SourceError
from memoirist.extractors import discover
from memoirist.extractors.pdf.engines.base import (
    forget_passwords,
    known_passwords,
    remember_passwords,
)
from memoirist.extractors.pdf.extract_pdf import is_locked
from memoirist.flows.runtime.context import Context

_TRIES = 3


def locked(context: Context, pointers: Sequence[str]) -> Iterator[Path]:
    """Give the PDFs that no known password opens and that no earlier build has taken in."""
    store = context.workspace.store
    taken = (
        "SELECT count(*) FROM sources JOIN documents ON source_id = sources.id WHERE location = ?"
    )
    seen: set[Path] = set()
    for pointer in pointers:
        try:
            books = [source for source in discover([pointer]) if source.format == "pdf"]
        except SourceError:
            continue  # the extract step says it
        for book in books:
            path = book.path.expanduser().resolve()
            if path in seen or (store.path.exists() and store.value(taken, str(path))):
                continue
            seen.add(path)
            if is_locked(path):
                yield path


def typed(path: Path) -> None:
    """Ask for the password of one file, some times; an empty answer leaves the file out."""
    for _ in range(_TRIES):
        answer = typer.prompt(
            f"Password of {path.name} (Enter: leave it out)",
            default="",
            hide_input=True,
            show_default=False,
            err=True,
        )
        if not answer:
            return
        before = known_passwords()
        remember_passwords([answer])
        if not is_locked(path):
            return
        forget_passwords()
        remember_passwords(before)
        typer.echo("That does not open it.", err=True)

"""Ask on the terminal for passwords of locked PDFs; only this process keeps them."""

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


def locked_pdfs(context: Context, pointers: Sequence[str]) -> Iterator[Path]:
    """Yield the PDFs that no known password opens and that no earlier build has extracted."""
    has_documents = "id IN (SELECT source_id FROM documents)"
    checked = {Path(source.location) for source in context.workspace.sources(has_documents)}
    for pointer in pointers:
        try:
            pdfs = [source.path for source in discover([pointer]) if source.format == "pdf"]
        except SourceError:
            continue  # the extract step reports it
        for path in (pdf.expanduser().resolve() for pdf in pdfs):
            if path not in checked and is_locked(path):
                yield path
            checked.add(path)


def ask_password(path: Path) -> None:
    """Ask up to three times for the password of a file; an empty answer skips the file."""
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
        passwords = known_passwords()
        remember_passwords([answer])
        if not is_locked(path):
            return
        forget_passwords()
        remember_passwords(passwords)
        typer.echo("That does not open it.", err=True)

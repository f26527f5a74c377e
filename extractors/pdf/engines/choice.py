"""Choose the PDF engine by its name; each engine is a module with the same four functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Protocol, cast

from memoirist.extractors.pdf.engines.base import PdfFacts
from memoirist.extractors.pdf.layout.geometry import PageLines


class Engine(Protocol):
    """What an engine's module offers; `passwords` are tried after the empty one, in order."""

    def quiet(self) -> None:
        """Stop the library's own warnings."""

    def open_facts(self, path: str, passwords: Sequence[str] = ()) -> PdfFacts:
        """Return what the file says of itself; raise SourceEncrypted or SourceUnreadable."""

    def read_pages(
        self, path: str, first: int, last: int, passwords: Sequence[str] = ()
    ) -> Iterator[PageLines]:
        """Give the pages `first` to `last`, counted from 1; a broken one carries its error."""

    def forget_opened(self) -> None:
        """Close the file that is kept open between calls."""


def engine_of(name: str) -> Engine:
    """Return the engine of that name: pdfminer, pdfium or auto; its library loads only now."""
    # A module is an engine by its functions, which the type checker cannot see by name.
    return cast("Engine", import_module(f"memoirist.extractors.pdf.engines.{name}"))

"""What passes between the process that opens PDFs and its parent."""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter
from typing import Any, NamedTuple

from memoirist.extractors.pdf.engines.base import PdfFacts
from memoirist.extractors.pdf.layout.geometry import Line, PageLines


class Request(NamedTuple):
    """Ask for pages `first` to `last`, or for the facts where `last` is 0."""

    engine: str
    path: str
    passwords: tuple[str, ...]
    first: int = 0
    last: int = 0


class Answer(NamedTuple):
    """One page, the facts, or the fault that ends the request; nothing at all after all pages."""

    page: tuple[Any, ...] | None = None
    facts: PdfFacts | None = None
    fault: Exception | None = None


_LINE = [field.name for field in fields(Line)]
_PAGE = [field.name for field in fields(PageLines) if field.name != "lines"]
_line_values = attrgetter(*_LINE)
_page_values = attrgetter(*_PAGE)


def packed(page: PageLines) -> tuple[Any, ...]:
    """Return a page as plain tuples, which travel several times faster than dataclasses."""
    return (_page_values(page), [_line_values(line) for line in page.lines])


def unpacked(values: tuple[Any, ...]) -> PageLines:
    """Return the page that `packed` made plain."""
    page, lines = values
    whole = tuple(Line(**dict(zip(_LINE, line, strict=True))) for line in lines)
    return PageLines(**dict(zip(_PAGE, page, strict=True)), lines=whole)

"""The engine of choice: PDFium, and pdfminer for what PDFium cannot open or does not map.

Measured on the corpora: PDFium reads a book about 7 times as fast as pdfminer with the same
lines, maps more fonts and mends broken files; pdfminer maps a few that PDFium does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.extractors.pdf.engines import pdfium as first_choice
from memoirist.extractors.pdf.engines.base import PdfFacts
from memoirist.extractors.pdf.layout.geometry import PageLines

_UNKNOWN = "\ufffd"


def quiet() -> None:
    """Do nothing: PDFium prints no warnings, and pdfminer is quieted when it is asked."""


def open_facts(path: str, passwords: Sequence[str] = ()) -> PdfFacts:
    """Open the PDF at `path`; raise SourceEncrypted or SourceUnreadable where both fail."""
    try:
        return first_choice.open_facts(path, passwords)
    except SourceUnreadable as fault:
        try:
            return _second_choice_facts(path, passwords)
        except SourceUnreadable:
            raise fault from None


def _second_choice_facts(path: str, passwords: Sequence[str]) -> PdfFacts:
    from memoirist.extractors.pdf.engines import pdfminer

    return pdfminer.open_facts(path, passwords)


def read_pages(
    path: str, first: int, last: int, passwords: Sequence[str] = ()
) -> Iterator[PageLines]:
    """Give the pages `first` to `last`, each by the engine that reads more of it."""
    try:
        pages = list(first_choice.read_pages(path, first, first, passwords))
    except SourceUnreadable:
        from memoirist.extractors.pdf.engines import pdfminer

        yield from pdfminer.read_pages(path, first, last, passwords)
        return
    yield from (_better(path, page, passwords) for page in pages)
    for page in first_choice.read_pages(path, first + 1, last, passwords):
        yield _better(path, page, passwords)


def _better(path: str, page: PageLines, passwords: Sequence[str]) -> PageLines:
    lost = n_unknown(page)
    # A page on which PDFium sees nothing may be blank, or all its fonts may be broken.
    blank = not (page.lines or page.n_turned or page.has_image)
    if not (page.error or lost or blank):
        return page
    from memoirist.extractors.pdf.engines import pdfminer

    (other,) = pdfminer.read_pages(path, page.page, page.page, passwords)
    if page.error or blank:
        return other
    return page if other.error else preferred(page, other)


def preferred(page: PageLines, other: PageLines) -> PageLines:
    """Return the second reading of a page where it fills more gaps than it changes letters."""
    return page if n_unknown(other) + _n_disputed(page, other) >= n_unknown(page) else other


def _n_disputed(page: PageLines, other: PageLines) -> int:
    """Return how many characters that the first choice knows the second does not have.

    A reading that only fills gaps has them all; one that takes the codes of a font of signs for
    letters has others in their place.
    """
    ours, theirs = (Counter("".join(line.text for line in each.lines)) for each in (page, other))
    return sum(n for char, n in (ours - theirs).items() if char != _UNKNOWN and not char.isspace())


def n_unknown(page: PageLines) -> int:
    """Return how many characters of a page have no known meaning."""
    return sum(line.text.count(_UNKNOWN) for line in page.lines)


def forget_opened() -> None:
    """Close what both engines keep open."""
    from memoirist.extractors.pdf.engines import pdfminer

    first_choice.forget_opened()
    pdfminer.forget_opened()

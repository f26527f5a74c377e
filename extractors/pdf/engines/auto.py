"""The default engine: PDFium, and pdfminer for what PDFium cannot open, does not map or leaves out.

Measured on the corpora: PDFium reads a book about 7 times as fast as pdfminer with the same
lines, maps more fonts and mends broken files; pdfminer maps a few that PDFium does not.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.extractors.pdf.engines import pdfium
from memoirist.extractors.pdf.engines.base import Engine, PdfInfo, engine_of
from memoirist.extractors.pdf.layout.geometry import UNKNOWN, PageLines

# Characters of one reading, at most, that another reading of the same text has otherwise: hyphens,
# ligatures and signs.
_MAX_CHANGED = 0.05


def _pdfminer() -> Engine:
    # Only few files need it, and it takes long to load.
    return engine_of("pdfminer")


def read_info(path: str, passwords: Sequence[str] = ()) -> PdfInfo:
    """Read the PDF at `path`; raise SourceEncrypted or SourceUnreadable where both fail."""
    try:
        return pdfium.read_info(path, passwords)
    except SourceUnreadable:
        with suppress(SourceUnreadable):
            return _pdfminer().read_info(path, passwords)
        raise


def read_pages(
    path: str, first: int, last: int, passwords: Sequence[str] = ()
) -> Iterator[PageLines]:
    """Give the pages `first` to `last`, each by the engine that reads more of it."""
    try:
        pages = pdfium.read_pages(path, first, last, passwords)
    except SourceUnreadable:
        return _pdfminer().read_pages(path, first, last, passwords)
    return (_better_page(path, page, passwords) for page in pages)


def _better_page(path: str, page: PageLines, passwords: Sequence[str]) -> PageLines:
    # A page on which PDFium sees nothing may be blank, or all its fonts may be broken.
    blank = not (page.lines or page.n_turned or page.has_image)
    if not (page.error or page.n_unmapped or blank or page.lost_fonts):
        return page
    (other,) = _pdfminer().read_pages(path, page.page, page.page, passwords)
    if page.lost_fonts:
        return fuller_reading(page, other)
    if page.error or blank:
        return other
    return page if other.error else better_reading(page, other)


def fuller_reading(page: PageLines, other: PageLines) -> PageLines:
    """Return the second reading of a page where it has the text of the first one, and more.

    Where it has no more, nothing but spaces is lost.
    """
    if other.error:
        return page
    chars, other_chars = _chars_of(page), _chars_of(other)
    if other_chars.total() <= chars.total():
        return replace(page, lost_fonts=())
    return other if (chars - other_chars).total() <= _MAX_CHANGED * chars.total() else page


def _chars_of(reading: PageLines) -> Counter[str]:
    """Count the known characters of a page."""
    text = "".join(line.text for line in reading.lines)
    return Counter(char for char in text if char != UNKNOWN and not char.isspace())


def better_reading(page: PageLines, other: PageLines) -> PageLines:
    """Return the second reading of a page where it fills more gaps than it changes letters.

    A reading that only fills gaps has all characters that the first one knows; one that takes the
    codes of a font of signs for letters has others in their place.
    """
    n_changed = (_chars_of(page) - _chars_of(other)).total()
    return page if other.n_unmapped + n_changed >= page.n_unmapped else other


def close_file() -> None:
    """Close the file that each engine keeps open."""
    pdfium.close_file()
    if f"{__package__}.pdfminer" in sys.modules:
        _pdfminer().close_file()

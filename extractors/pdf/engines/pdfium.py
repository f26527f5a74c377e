"""The second PDF engine: PDFium finds the characters, and whole runs of them become glyphs.

Asking for every character's place would cost more than PDFium itself, so the text of a page
comes in one call, is cut where PDFium begins a line or another text object, and only the ends of
such a run are asked for their place: within one text object font, size and baseline are one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from memoirist.extractors.pdf.engines import pdfium_bindings as pdfium
from memoirist.extractors.pdf.engines.base import PdfFacts, encrypted, told, unreadable
from memoirist.extractors.pdf.engines.pdfium_runs import Page, characters, draw
from memoirist.extractors.pdf.layout.geometry import PageLines
from memoirist.extractors.pdf.layout.page_lines import Drawn, assembled
from memoirist.extractors.pdf.layout.writing_direction import RTL

_FEW_CHARS = 8
_FAULTS = {
    2: "it cannot be opened",
    3: "it is no PDF, or its end or its root is missing",
    5: "it is locked in a way that nobody here knows",
}
_RTL_FAULT = "PDFium mixes up letters that run from right to left; engine = auto reads them"


# The book that this process reads just now, so that its next pages find it open.
_OPEN: dict[str, int] = {}


def quiet() -> None:
    """Do nothing: PDFium prints no warnings."""


def open_facts(path: str, passwords: Sequence[str] = ()) -> PdfFacts:
    """Open the PDF at `path`; raise SourceEncrypted or SourceUnreadable where that fails."""
    document = _opened(path, passwords)
    n_pages = pdfium.count_pages(document)
    if n_pages < 1:
        raise unreadable(path, "it has no pages")
    return PdfFacts(
        n_pages=n_pages,
        title=told(pdfium.meta(document, "Title")),
        author=told(pdfium.meta(document, "Author")),
        outline=tuple(_outline(document)),
        labels=_labels(document, n_pages),
    )


def _labels(document: int, n_pages: int) -> tuple[str, ...]:
    labels = tuple(pdfium.page_label(document, n) for n in range(n_pages))
    return labels if any(labels) else ()


def read_pages(
    path: str, first: int, last: int, passwords: Sequence[str] = ()
) -> Iterator[PageLines]:
    """Give the pages `first` to `last`, counted from 1, both included.

    A page that cannot be read comes back with its error and without lines.
    """
    document = _opened(path, passwords)
    for number in range(first, last + 1):
        yield _read(document, number)


def forget_opened() -> None:
    """Close what `read_pages` keeps open in this process."""
    while _OPEN:
        pdfium.close_file(_OPEN.popitem()[1])


def _opened(path: str, passwords: Sequence[str]) -> int:
    if path in _OPEN:
        return _OPEN[path]
    forget_opened()
    with open(path, "rb"):  # noqa: PTH123 - a missing file is an OSError, as everywhere
        pass
    for password in (None, *passwords):
        key = password.encode() if password is not None else None
        if document := pdfium.open_file(os.fsencode(path), key):
            _OPEN[path] = document
            return int(document)
        fault = pdfium.last_error()
        if fault != pdfium.WRONG_PASSWORD:
            raise unreadable(path, _FAULTS.get(fault, f"PDFium error {fault}"))
    raise encrypted(path, len(passwords))


def _outline(document: int) -> Iterator[tuple[int, str]]:
    seen: set[int] = set()
    waiting = [(1, pdfium.first_child(document, None))]
    while waiting:
        level, mark = waiting.pop()
        # A damaged outline may lead in a circle.
        if not mark or mark in seen:
            continue
        seen.add(mark)
        if title := told(pdfium.bookmark_title(mark)):
            yield level, title
        waiting.append((level, pdfium.next_sibling(document, mark)))
        waiting.append((level + 1, pdfium.first_child(document, mark)))


def _read(document: int, number: int) -> PageLines:
    page = pdfium.open_page(document, number - 1)
    if not page:
        return PageLines(page=number, width=0.0, height=0.0, error="PDFium cannot load it")
    text = pdfium.open_text(page)
    try:
        if not text:
            return PageLines(page=number, width=0.0, height=0.0, error="PDFium reads no text")
        box, turns = pdfium.page_box(page), pdfium.rotation(page)
        view = Page(text, characters(text), box, turns, {})
        if RTL.search(view.chars):
            # PDFium turns letters round by its own lights, ligatures the wrong way.
            return PageLines(page=number, width=0.0, height=0.0, error=_RTL_FAULT)
        drawn = Drawn(width=box[2] - box[0], height=box[3] - box[1])
        if turns % 2:
            drawn.width, drawn.height = drawn.height, drawn.width
        draw(view, drawn)
        if drawn.n_chars < _FEW_CHARS:
            drawn.has_image = _shows(page, pdfium.IMAGE)
        return assembled(drawn, number)
    finally:
        if text:
            pdfium.close_text(text)
        pdfium.close_page(page)


def _shows(page: int, wanted: int) -> bool:
    """Tell whether a page draws an object of the wanted type, also inside of forms."""
    waiting = [(pdfium.page_object(page, n), 0) for n in range(pdfium.count_objects(page))]
    while waiting:
        each, depth = waiting.pop()
        kind = pdfium.object_type(each)
        if kind == wanted:
            return True
        if kind == pdfium.FORM and depth < 4:
            inner = range(pdfium.count_inner(each))
            waiting += [(pdfium.inner_object(each, n), depth + 1) for n in inner]
    return False

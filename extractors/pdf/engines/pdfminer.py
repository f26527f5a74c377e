"""Read PDFs with pdfminer.six: every character becomes a glyph."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pdfminer.encodingdb import EncodingDB
from pdfminer.pdfcolor import PDFColorSpace
from pdfminer.pdfdevice import PDFTextDevice
from pdfminer.pdfdocument import PDFDocument, PDFPasswordIncorrect
from pdfminer.pdffont import PDFFont, PDFSimpleFont, PDFType3Font, PDFUnicodeNotDefined
from pdfminer.pdfinterp import PDFGraphicState, PDFPageInterpreter, PDFResourceManager
from pdfminer.pdfpage import PDFPage
from pdfminer.pdfparser import PDFParser
from pdfminer.pdftypes import PDFStream, resolve1
from pdfminer.psexceptions import PSException
from pdfminer.utils import Matrix, apply_matrix_rect, decode_text

from memoirist.extractors.pdf.engines.base import PdfInfo, encrypted, on_one_line, unreadable
from memoirist.extractors.pdf.layout.font_encodings import (
    bitmap_char,
    hang_ems,
    is_sign_font,
    sign_of,
)
from memoirist.extractors.pdf.layout.geometry import Glyph, PageLines
from memoirist.extractors.pdf.layout.page_lines import (
    PageGlyphs,
    build_page,
    rotated,
    turned_place,
    turns_to_upright,
)

# What a damaged file makes pdfminer raise outside of pages, which have their own guard.
_FAULTS = (
    PSException,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    RuntimeError,
    ArithmeticError,
)


class _Device(PDFTextDevice):
    """Collect the glyphs of one page as they are drawn, without pdfminer's own layout."""

    def __init__(self, manager: PDFResourceManager) -> None:
        """Start with an empty page."""
        super().__init__(manager)
        self.drawn = PageGlyphs(width=0.0, height=0.0)
        self._corner = (0.0, 0.0)

    def begin_page(self, page: PDFPage, ctm: Matrix) -> None:
        """Start a new page, with its size after its rotation."""
        x0, y0, x1, y1 = apply_matrix_rect(ctm, page.cropbox)
        self._corner = min(x0, x1), min(y0, y1)
        self.drawn = PageGlyphs(width=abs(x1 - x0), height=abs(y1 - y0))

    def render_image(self, name: str, stream: PDFStream) -> None:
        """Note that the page shows a picture."""
        self.drawn.has_image = True

    def render_char(  # noqa: PLR0913 - the signature is pdfminer's
        self,
        matrix: Matrix,
        font: PDFFont,
        fontsize: float,
        scaling: float,
        rise: float,
        cid: int,
        ncs: PDFColorSpace,
        graphicstate: PDFGraphicState,
    ) -> float:
        """Add one glyph and return its advance; text that does not run upright is counted."""
        name = "" if isinstance(font, PDFType3Font) else font.fontname or "unnamed"
        text = _meaning(font, name, cid)
        advance = font.char_width(cid) * fontsize * scaling
        if not text:
            return advance
        side = turns_to_upright(matrix[:4])
        if side is None:
            self.drawn.n_askew += 1
            return advance
        x = matrix[4] + matrix[2] * rise - self._corner[0]
        y = matrix[5] + matrix[3] * rise - self._corner[1]
        x, y = turned_place(x, y, side, self.drawn.width, self.drawn.height)
        a, _, _, d = rotated(matrix[:4], side)
        size, width = d * fontsize, a * advance
        if font.is_vertical():
            # The pen stands at the middle of the upper edge; the advance goes down.
            x, y, width = x - size / 2, y - 0.76 * size, a * fontsize
        y -= size * hang_ems(name, cid)
        self.drawn.sides[side].append(Glyph(text, x, x + width, y, size, name))
        return advance


def _meaning(font: PDFFont, name: str, code: int) -> str:
    """Return what a code of a font means, U+FFFD where nothing tells."""
    if is_sign_font(name) and _is_guessed(font, code):
        return sign_of(name, code)
    try:
        return font.to_unichr(code)
    except PDFUnicodeNotDefined:
        return sign_of(name, code) if name else bitmap_char(code)


def _is_guessed(font: PDFFont, code: int) -> bool:
    """Tell whether pdfminer takes a code of a font for a plain letter for want of a mapping."""
    if not isinstance(font, PDFSimpleFont) or font.unicode_map:
        return False
    return font.cid2unicode.get(code) == EncodingDB.std2unicode.get(code)


def read_info(path: str, passwords: Sequence[str] = ()) -> PdfInfo:
    """Read the PDF at `path`; raise SourceEncrypted or SourceUnreadable where that fails."""
    book = _open(path, passwords)
    return PdfInfo(
        n_pages=len(book.pages),
        title=_entry(book.document, "Title"),
        author=_entry(book.document, "Author"),
        outline=tuple(_outline(book.document)),
        labels=_labels(book.document, len(book.pages)),
    )


def read_pages(
    path: str, first: int, last: int, passwords: Sequence[str] = ()
) -> Iterator[PageLines]:
    """Give the pages `first` to `last`, counted from 1, both included.

    A page that cannot be read has its error and no lines.
    """
    book = _open(path, passwords)
    return (_read_page(book, number) for number in range(first, last + 1))


class _Book(NamedTuple):
    """An open file with what its pages are read with; fonts are parsed once for all of them."""

    file: BinaryIO
    document: PDFDocument
    pages: list[PDFPage]
    device: _Device
    interpreter: PDFPageInterpreter


# The file that this process reads just now, so that its next pages find it open.
_OPEN: dict[str, _Book] = {}


def _open(path: str, passwords: Sequence[str]) -> _Book:
    if path in _OPEN:
        return _OPEN[path]
    close_file()
    # pdfminer's warnings about odd files are not for the user.
    logging.getLogger("pdfminer").setLevel(logging.ERROR)
    manager = PDFResourceManager()
    device = _Device(manager)
    file = Path(path).open("rb")  # noqa: SIM115 - stays open until `close_file`
    try:
        document = _document(file, path, passwords)
        pages = list(PDFPage.create_pages(document))
    except _FAULTS as fault:
        raise unreadable(path, f"{type(fault).__name__}: {fault}") from fault
    if not pages:
        raise unreadable(path, "it has no pages")
    _OPEN[path] = _Book(file, document, pages, device, PDFPageInterpreter(manager, device))
    return _OPEN[path]


def close_file() -> None:
    """Close the file that is kept open in this process."""
    while _OPEN:
        _OPEN.popitem()[1].file.close()


def _document(file: BinaryIO, path: str, passwords: Sequence[str]) -> PDFDocument:
    for password in ("", *passwords):
        try:
            return PDFDocument(PDFParser(file), password=password)
        except PDFPasswordIncorrect:
            file.seek(0)
    raise encrypted(path, passwords)


def _read_page(book: _Book, number: int) -> PageLines:
    try:
        book.interpreter.process_page(book.pages[number - 1])
        return build_page(book.device.drawn, number)
    # The documented guard of one page: a damaged stream makes pdfminer raise nearly anything,
    # and the other pages of the book must not be lost with it.
    except Exception as fault:  # noqa: BLE001
        why = f"{type(fault).__name__}: {fault}"[:200]
        drawn = book.device.drawn
        return PageLines(page=number, width=drawn.width, height=drawn.height, error=why)


def _entry(document: PDFDocument, key: str) -> str | None:
    """Return an entry of the file's description, None where it is empty or no text."""
    with suppress(*_FAULTS):
        for info in document.info:
            value = resolve1(info.get(key))
            if isinstance(value, bytes):
                value = decode_text(value)
            if isinstance(value, str) and (text := on_one_line(value)):
                return text
    return None


def _labels(document: PDFDocument, n_pages: int) -> tuple[str, ...]:
    try:
        return tuple(islice(document.get_page_labels(), n_pages))
    except _FAULTS:
        return ()


def _outline(document: PDFDocument) -> Iterator[tuple[int, str]]:
    with suppress(*_FAULTS):
        for level, title, *_ in document.get_outlines():
            if isinstance(title, str) and (text := on_one_line(title)):
                yield level, text

"""The first PDF engine: pdfminer.six alone lives here; every character becomes a glyph."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pdfminer.encodingdb import EncodingDB
from pdfminer.pdfcolor import PDFColorSpace
from pdfminer.pdfdevice import PDFTextDevice
from pdfminer.pdfdocument import PDFDocument, PDFNoOutlines, PDFPasswordIncorrect
from pdfminer.pdfexceptions import PDFException
from pdfminer.pdffont import PDFFont, PDFSimpleFont, PDFType3Font, PDFUnicodeNotDefined
from pdfminer.pdfinterp import PDFGraphicState, PDFPageInterpreter, PDFResourceManager
from pdfminer.pdfpage import PDFPage
from pdfminer.pdfparser import PDFParser
from pdfminer.pdftypes import PDFStream, resolve1
from pdfminer.psexceptions import PSException
from pdfminer.utils import Matrix, apply_matrix_rect, decode_text

from memoirist.extractors.pdf.engines.base import PdfFacts, encrypted, told, unreadable
from memoirist.extractors.pdf.layout.font_encodings import coded
from memoirist.extractors.pdf.layout.geometry import Glyph, PageLines
from memoirist.extractors.pdf.layout.page_lines import Drawn, assembled, side_of, turned
from memoirist.extractors.pdf.layout.tex_fonts import hang, is_mathematical, sign

# What a damaged file makes pdfminer raise while it opens; pages have their own guard.
_OPENING_FAULTS = (
    PDFException,
    PSException,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    RecursionError,
    OverflowError,
    NotImplementedError,
)


class _Device(PDFTextDevice):
    """Collect the glyphs of one page as they are drawn, without pdfminer's own layout."""

    def __init__(self, manager: PDFResourceManager) -> None:
        """Start with an empty page."""
        super().__init__(manager)
        self.drawn = Drawn(width=0.0, height=0.0)
        self._corner = (0.0, 0.0)

    def begin_page(self, page: PDFPage, ctm: Matrix) -> None:
        """Forget the page before; take the page's size after its rotation."""
        x0, y0, x1, y1 = apply_matrix_rect(ctm, page.cropbox)
        self._corner = min(x0, x1), min(y0, y1)
        self.drawn = Drawn(width=abs(x1 - x0), height=abs(y1 - y0))

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
        text = _meaning(font, cid)
        advance = font.char_width(cid) * fontsize * scaling
        if not text:
            return advance
        directions = matrix[:4]
        side = side_of(directions)
        if side is None:
            self.drawn.n_askew += 1
            return advance
        x, y = self._place(matrix[4] + matrix[2] * rise, matrix[5] + matrix[3] * rise, side)
        a, _, _, d = turned(directions, side)
        if font.is_vertical():
            # The pen stands at the middle of the upper edge; the advance goes down.
            x, y, advance_right = x - d * fontsize / 2, y - 0.76 * d * fontsize, fontsize
        else:
            advance_right = advance
        name = "" if isinstance(font, PDFType3Font) else font.fontname or "unnamed"
        y -= d * fontsize * hang(name, cid)
        glyph = Glyph(text, x, x + a * advance_right, y, d * fontsize, name)
        self.drawn.sides[side].append(glyph)
        return advance

    def _place(self, x: float, y: float, side: int) -> tuple[float, float]:
        """Return a place on the visible page as it is when turned to the right `side` times."""
        x, y = x - self._corner[0], y - self._corner[1]
        if side == 0:
            return x, y
        if side == 1:
            return y, self.drawn.width - x
        if side == 2:
            return self.drawn.width - x, self.drawn.height - y
        return self.drawn.height - y, x


def _meaning(font: PDFFont, code: int) -> str:
    """Return what a code of a font means, U+FFFD where nothing tells."""
    name = "" if isinstance(font, PDFType3Font) else font.fontname or ""
    if is_mathematical(name) and _is_guessed(font, code):
        return sign(name, code)
    try:
        return font.to_unichr(code)
    except PDFUnicodeNotDefined:
        return coded(code) if isinstance(font, PDFType3Font) else sign(name, code)


def _is_guessed(font: PDFFont, code: int) -> bool:
    """Tell whether pdfminer takes a code of a font for a plain letter, knowing no better."""
    if not isinstance(font, PDFSimpleFont) or font.unicode_map:
        return False
    return font.cid2unicode.get(code) == EncodingDB.std2unicode.get(code)


def quiet() -> None:
    """Stop pdfminer's warnings about odd files from reaching the terminal."""
    logging.getLogger("pdfminer").setLevel(logging.ERROR)


def open_facts(path: str, passwords: Sequence[str] = ()) -> PdfFacts:
    """Open the PDF at `path`; raise SourceEncrypted or SourceUnreadable where that fails."""
    quiet()
    with Path(path).open("rb") as file:
        try:
            document = _document(file, path, passwords)
            n_pages = sum(1 for _ in PDFPage.create_pages(document))
            facts = PdfFacts(
                n_pages=n_pages,
                title=_info(document, "Title"),
                author=_info(document, "Author"),
                outline=tuple(_outline(document)),
                labels=_labels(document, n_pages),
            )
        except _OPENING_FAULTS as fault:
            raise unreadable(path, f"{type(fault).__name__}: {fault}") from fault
    if not facts.n_pages:
        raise unreadable(path, "it has no pages")
    return facts


def read_pages(
    path: str, first: int, last: int, passwords: Sequence[str] = ()
) -> Iterator[PageLines]:
    """Give the pages `first` to `last`, counted from 1, both included.

    A page that cannot be read comes back with its error and without lines.
    """
    quiet()
    book = _OPEN.get(path) or _open(path, passwords)
    for number in range(first, last + 1):
        yield _read(book, number)


class _Book(NamedTuple):
    """An open file with what its pages are read with; fonts are parsed once for all of them."""

    file: BinaryIO
    pages: list[PDFPage]
    device: _Device
    interpreter: PDFPageInterpreter


# The book that this process reads just now, so that its next pages find it open.
_OPEN: dict[str, _Book] = {}


def _open(path: str, passwords: Sequence[str]) -> _Book:
    forget_opened()
    file = Path(path).open("rb")  # noqa: SIM115 - stays open until `forget_opened`
    manager = PDFResourceManager()
    device = _Device(manager)
    pages = list(PDFPage.create_pages(_document(file, path, passwords)))
    _OPEN[path] = _Book(file, pages, device, PDFPageInterpreter(manager, device))
    return _OPEN[path]


def forget_opened() -> None:
    """Close what `read_pages` keeps open in this process."""
    while _OPEN:
        _OPEN.popitem()[1].file.close()


def _document(file: BinaryIO, path: str, passwords: Sequence[str]) -> PDFDocument:
    for password in ("", *passwords):
        try:
            return PDFDocument(PDFParser(file), password=password)
        except PDFPasswordIncorrect:
            file.seek(0)
    raise encrypted(path, len(passwords))


def _read(book: _Book, number: int) -> PageLines:
    device = book.device
    try:
        book.interpreter.process_page(book.pages[number - 1])
        return assembled(device.drawn, number)
    # The documented guard of one page: a damaged stream makes pdfminer raise nearly anything,
    # and the other pages of the book must not be lost with it.
    except Exception as fault:  # noqa: BLE001
        why = f"{type(fault).__name__}: {fault}"[:200]
        size = device.drawn
        return PageLines(page=number, width=size.width, height=size.height, error=why)


def _info(document: PDFDocument, key: str) -> str | None:
    for info in document.info:
        value = resolve1(info.get(key))
        if isinstance(value, bytes):
            value = decode_text(value)
        if isinstance(value, str) and (title := told(value)):
            return title
    return None


def _labels(document: PDFDocument, n_pages: int) -> tuple[str, ...]:
    try:
        return tuple(islice(document.get_page_labels(), n_pages))
    except (PDFException, PSException, KeyError, TypeError, ValueError, AttributeError):
        return ()


def _outline(document: PDFDocument) -> Iterator[tuple[int, str]]:
    try:
        for level, title, *_ in document.get_outlines():
            if isinstance(title, str) and title.strip():
                yield level, " ".join(title.split())
    except (PDFNoOutlines, PDFException, KeyError, TypeError, AttributeError, RecursionError):
        return

"""The PDF engine: pdfminer.six alone lives here, and gives pages as lines with geometry.

A second engine offers the same two functions: `open_facts` and `read_pages`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pdfminer.pdfcolor import PDFColorSpace
from pdfminer.pdfdevice import PDFTextDevice
from pdfminer.pdfdocument import PDFDocument, PDFNoOutlines, PDFPasswordIncorrect
from pdfminer.pdfexceptions import PDFException
from pdfminer.pdffont import PDFFont, PDFType3Font, PDFUnicodeNotDefined
from pdfminer.pdfinterp import PDFGraphicState, PDFPageInterpreter, PDFResourceManager
from pdfminer.pdfpage import PDFPage
from pdfminer.pdfparser import PDFParser
from pdfminer.pdftypes import PDFStream, resolve1
from pdfminer.psexceptions import PSException
from pdfminer.utils import Matrix, apply_matrix_rect, decode_text

from data.errors import SourceEncrypted, SourceUnreadable
from extractors.pdf.lines import Glyph, PageLines, lines_of

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


# TeX's bitmap fonts do not say what their glyphs mean; these codes of the T1 encoding have no
# other meaning in the ASCII range that such a font shares with all others.
_T1 = {
    16: "“",
    17: "”",
    18: "„",
    19: "«",
    20: "»",
    21: "–",
    22: "—",
    27: "ff",
    28: "fi",
    29: "fl",
    30: "ffi",
    31: "ffl",
}
_UNKNOWN = "\ufffd"


@dataclass(frozen=True, slots=True, kw_only=True)
class PdfFacts:
    """What the file says of itself; `outline` holds (level, title)."""

    n_pages: int
    title: str | None = None
    author: str | None = None
    outline: tuple[tuple[int, str], ...] = ()


class _Device(PDFTextDevice):
    """Collect the glyphs of one page as they are drawn, without pdfminer's own layout."""

    def __init__(self, manager: PDFResourceManager) -> None:
        """Start with an empty page."""
        super().__init__(manager)
        self.glyphs: list[Glyph] = []
        self.width = self.height = 0.0
        self.n_turned = 0
        self.has_image = False

    def begin_page(self, page: PDFPage, ctm: Matrix) -> None:
        """Forget the page before; take the page's size after its rotation."""
        x0, y0, x1, y1 = apply_matrix_rect(ctm, page.mediabox)
        self.glyphs = []
        self.width, self.height = abs(x1 - x0), abs(y1 - y0)
        self.n_turned = 0
        self.has_image = False

    def render_image(self, name: str, stream: PDFStream) -> None:
        """Note that the page shows a picture."""
        self.has_image = True

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
        try:
            text = font.to_unichr(cid)
        except PDFUnicodeNotDefined:
            text = _T1.get(cid, _UNKNOWN) if isinstance(font, PDFType3Font) else _UNKNOWN
        advance = font.char_width(cid) * fontsize * scaling
        a, b, _, d, e, f = matrix
        if a > 0 and d > 0 and abs(b) < 0.01 * a and not font.is_vertical():
            base = f + d * rise
            self.glyphs.append(
                Glyph(text, e, e + a * advance, base, d * fontsize, font.fontname or "")
            )
        else:
            self.n_turned += 1
        return advance


def quiet() -> None:
    """Stop pdfminer's warnings about odd files from reaching the terminal."""
    logging.getLogger("pdfminer").setLevel(logging.ERROR)


def open_facts(path: str) -> PdfFacts:
    """Open the PDF at `path`; raise SourceEncrypted or SourceUnreadable where that fails."""
    quiet()
    with Path(path).open("rb") as file:
        try:
            document = _document(file)
            n_pages = sum(1 for _ in PDFPage.create_pages(document))
            facts = PdfFacts(
                n_pages=n_pages,
                title=_info(document, "Title"),
                author=_info(document, "Author"),
                outline=tuple(_outline(document)),
            )
        except PDFPasswordIncorrect as fault:
            raise SourceEncrypted(
                f"the PDF {path!r} is locked with a password",
                "unlock it first, for example with: qpdf --decrypt --password=... in.pdf out.pdf",
            ) from fault
        except _OPENING_FAULTS as fault:
            raise unreadable(path, f"{type(fault).__name__}: {fault}") from fault
    if not n_pages:
        raise unreadable(path, "it has no pages")
    return facts


def unreadable(path: str, why: str) -> SourceUnreadable:
    """Return the error for a PDF that cannot be read."""
    return SourceUnreadable(
        f"the PDF {path!r} is damaged ({why[:160]})",
        "get a whole copy of the file, or mend it with: qpdf in.pdf out.pdf",
    )


def read_pages(path: str, first: int, last: int) -> list[PageLines]:
    """Return the pages `first` to `last`, counted from 1, both included.

    A page that cannot be read comes back with its error and without lines.
    """
    quiet()
    book = _OPEN.get(path) or _open(path)
    return [_read(book, n) for n in range(first, last + 1)]


class _Book(NamedTuple):
    """An open file with what its pages are read with; fonts are parsed once for all of them."""

    file: BinaryIO
    pages: list[PDFPage]
    device: _Device
    interpreter: PDFPageInterpreter


# The book that this process reads just now, so that its next pages find it open.
_OPEN: dict[str, _Book] = {}


def _open(path: str) -> _Book:
    forget_opened()
    file = Path(path).open("rb")  # noqa: SIM115 - stays open until `forget_opened`
    manager = PDFResourceManager()
    device = _Device(manager)
    pages = list(PDFPage.create_pages(_document(file)))
    _OPEN[path] = _Book(file, pages, device, PDFPageInterpreter(manager, device))
    return _OPEN[path]


def forget_opened() -> None:
    """Close what `read_pages` keeps open in this process."""
    while _OPEN:
        _OPEN.popitem()[1].file.close()


def _document(file: BinaryIO) -> PDFDocument:
    return PDFDocument(PDFParser(file))


def _read(book: _Book, number: int) -> PageLines:
    device = book.device
    try:
        book.interpreter.process_page(book.pages[number - 1])
        lines = lines_of(device.glyphs, number)
    # The documented guard of one page: a damaged stream makes pdfminer raise nearly anything,
    # and the other pages of the book must not be lost with it.
    except Exception as fault:  # noqa: BLE001
        why = f"{type(fault).__name__}: {fault}"[:200]
        return PageLines(page=number, width=device.width, height=device.height, error=why)
    return PageLines(
        page=number,
        width=device.width,
        height=device.height,
        lines=lines,
        has_image=device.has_image,
        n_turned=device.n_turned,
    )


def _info(document: PDFDocument, key: str) -> str | None:
    for info in document.info:
        value = resolve1(info.get(key))
        if isinstance(value, bytes):
            value = decode_text(value)
        if isinstance(value, str) and value.strip():
            return " ".join(value.replace("\x00", "").split())
    return None


def _outline(document: PDFDocument) -> Iterator[tuple[int, str]]:
    try:
        for level, title, *_ in document.get_outlines():
            if isinstance(title, str) and title.strip():
                yield level, " ".join(title.split())
    except (PDFNoOutlines, PDFException, KeyError, TypeError, AttributeError, RecursionError):
        return

"""Read PDFs with PDFium, which finds the characters: whole runs of them become glyphs.

Asking for every character's place would cost more than PDFium itself, so the text of a page
comes in one call, is cut where PDFium begins a line or another text object, and only the ends of
such a run are asked for their place: within one text object font, size and baseline are one.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from ctypes import POINTER, byref, c_double, c_float, c_int, c_ushort, c_void_p
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pypdfium2 import PdfDocument, PdfiumError, PdfPage, raw

from memoirist.extractors.pdf.engines.base import PdfInfo, encrypted, on_one_line, unreadable
from memoirist.extractors.pdf.engines.missing_fonts import lost_fonts
from memoirist.extractors.pdf.engines.pdfium_library import (
    bound,
    font_handle,
    font_name,
    handle_of,
    text_object_of,
)
from memoirist.extractors.pdf.layout.font_encodings import (
    bitmap_char,
    hang_ems,
    is_sign_font,
    sign_of,
)
from memoirist.extractors.pdf.layout.geometry import UNKNOWN, Glyph, PageLines
from memoirist.extractors.pdf.layout.page_lines import (
    PageGlyphs,
    build_page,
    rotated,
    turned_place,
    turns_to_upright,
)
from memoirist.extractors.pdf.layout.writing_direction import RTL

_FEW_CHARS = 8
_MAX_FORM_DEPTH = 5
_FAULTS = {
    0: "it has no pages",
    2: "it cannot be opened",
    3: "it is not a PDF, or it is incomplete",
    5: "it is encrypted by an unknown method",
}
_RTL_FAULT = (
    "PDFium mixes up the order of right-to-left text; sources.extract.engine = auto reads it"
)
# Not \s, which takes in the very codes of a bitmap font's ligatures.
_WORD = re.compile("[^ ]+(?: (?=[^ ]))?")
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffd\ufffe\uffff]")
_SURROGATES = re.compile("[\ud800-\udbff][\udc00-\udfff]")
# PDFium ends a line with CR LF, or with U+FFFE for a hyphen.
_TEXT_LINE = re.compile("(?:[^\r\ufffe]+|\r(?!\n))+\ufffe?|\ufffe")
# A run whose characters are wider than usual in its font, by this factor, may jump over a gap.
_WIDE_RUN = 1.1


class _Matrix(ctypes.Structure):
    _fields_ = tuple((name, c_float) for name in "abcdef")


class _Rect(ctypes.Structure):
    _fields_ = tuple((name, c_float) for name in ("left", "top", "right", "bottom"))


_has_map_error = bound("FPDFText_HasUnicodeMapError", c_int, c_void_p, c_int)
_font_size = bound("FPDFText_GetFontSize", c_double, c_void_p, c_int)
_count_chars = bound("FPDFText_CountChars", c_int, c_void_p)
_code_point = bound("FPDFText_GetUnicode", ctypes.c_uint, c_void_p, c_int)
_all_text = bound("FPDFText_GetText", c_int, c_void_p, c_int, c_int, POINTER(c_ushort))
_doubles = (POINTER(c_double), POINTER(c_double))
_get_origin = bound("FPDFText_GetCharOrigin", c_int, c_void_p, c_int, *_doubles)
_get_box = bound("FPDFText_GetLooseCharBox", c_int, c_void_p, c_int, POINTER(_Rect))
_get_matrix = bound("FPDFText_GetMatrix", c_int, c_void_p, c_int, POINTER(_Matrix))

_x, _y, _matrix, _rect = c_double(), c_double(), _Matrix(), _Rect()
_at_x, _at_y, _at_matrix, _at_rect = byref(_x), byref(_y), byref(_matrix), byref(_rect)


def _char_origin(text: int, index: int) -> tuple[float, float]:
    """Return where a character stands on its baseline, in the page's own space."""
    _get_origin(text, index, _at_x, _at_y)
    return _x.value, _y.value


def _char_box(text: int, index: int) -> tuple[float, float, float, float]:
    """Return left, bottom, right and top of a character by its advance and its font's height."""
    _get_box(text, index, _at_rect)
    return _rect.left, _rect.bottom, _rect.right, _rect.top


def _char_matrix(text: int, index: int) -> tuple[float, float, float, float]:
    """Return a, b, c and d of a character's matrix; the font's size is not in it."""
    _get_matrix(text, index, _at_matrix)
    return _matrix.a, _matrix.b, _matrix.c, _matrix.d


def _characters(text: int) -> str:
    """Return the characters of a page, each at the index by which PDFium knows it."""
    count = _count_chars(text)
    buffer = (c_ushort * (count + 1))()
    n_units = _all_text(text, 0, count, buffer)
    chars = bytes(buffer)[: 2 * max(n_units - 1, 0)].decode("utf-16-le", "surrogatepass")
    if len(chars) == count:
        return chars
    # Some characters have no text or two code units: then each is asked for its own.
    codes = (_code_point(text, n) for n in range(count))
    return "".join("\ufffe" if code == 2 else chr(code or 0xFFFD) for code in codes)


def _wide_text(function: Any, *arguments: Any) -> str:  # noqa: ANN401 - ctypes has no types
    """Return the text that a function of pypdfium2.raw writes; what is no text becomes U+FFFD."""
    size = function(*arguments, None, 0)
    buffer = ctypes.create_string_buffer(size)
    function(*arguments, buffer, size)
    return buffer.raw[: max(size - 2, 0)].decode("utf-16-le", "replace")


# The file that this process reads just now, so that its next pages find it open.
_OPEN: dict[str, PdfDocument] = {}


def read_info(path: str, passwords: Sequence[str] = ()) -> PdfInfo:
    """Read the PDF at `path`; raise SourceEncrypted or SourceUnreadable where that fails."""
    document = _open(path, passwords)
    labels = tuple(_wide_text(raw.FPDF_GetPageLabel, document, n) for n in range(len(document)))
    outline = (
        (mark.level + 1, on_one_line(_wide_text(raw.FPDFBookmark_GetTitle, mark)))
        for mark in document.get_toc()
    )
    return PdfInfo(
        n_pages=len(document),
        title=on_one_line(_wide_text(raw.FPDF_GetMetaText, document, b"Title")),
        author=on_one_line(_wide_text(raw.FPDF_GetMetaText, document, b"Author")),
        outline=tuple((level, title) for level, title in outline if title),
        labels=labels if any(labels) else (),
    )


def read_pages(
    path: str, first: int, last: int, passwords: Sequence[str] = ()
) -> Iterator[PageLines]:
    """Give the pages `first` to `last`, counted from 1, both included.

    A page that cannot be read has its error and no lines.
    """
    document = _open(path, passwords)
    return (_read_page(document, number) for number in range(first, last + 1))


def close_file() -> None:
    """Close the file that is kept open in this process."""
    while _OPEN:
        _OPEN.popitem()[1].close()


def _open(path: str, passwords: Sequence[str]) -> PdfDocument:
    if path in _OPEN:
        return _OPEN[path]
    close_file()
    with open(path, "rb"):  # noqa: PTH123 - a missing file is an OSError, as everywhere
        pass
    for password in (None, *passwords):
        try:
            return _OPEN.setdefault(path, PdfDocument(Path(path).absolute(), password))
        except PdfiumError as fault:
            if fault.err_code != raw.FPDF_ERR_PASSWORD:
                why = _FAULTS.get(fault.err_code, f"PDFium error {fault.err_code}")
                raise unreadable(path, why) from fault
    raise encrypted(path, passwords)


def _read_page(document: PdfDocument, number: int) -> PageLines:
    try:
        with closing(document[number - 1]) as page:
            return _page_lines(page, number)
    except PdfiumError as fault:
        return PageLines(page=number, error=f"PDFium cannot read it: {fault}")


def _page_lines(page: PdfPage, number: int) -> PageLines:
    text_page = page.get_textpage()  # closes with its last reference, and its handle with it
    text = handle_of(text_page.raw)
    left, bottom, right, top = page.get_bbox()
    view = _Page(
        text=text,
        chars=_characters(text),
        corner=(left, bottom),
        size=(right - left, top - bottom),
        turns=page.get_rotation() // 90,
    )
    if RTL.search(view.chars):
        # PDFium puts letters into an order of its own, ligatures the wrong way.
        return PageLines(page=number, error=_RTL_FAULT)
    width, height = view.size if view.turns % 2 == 0 else view.size[::-1]
    drawn = PageGlyphs(width=width, height=height)
    for match in _TEXT_LINE.finditer(view.chars):
        _add_line(view, match.start(), match.end(), drawn)
    if drawn.n_chars < _FEW_CHARS:
        images = page.get_objects([raw.FPDF_PAGEOBJ_IMAGE], max_depth=_MAX_FORM_DEPTH)
        drawn.has_image = any(True for _ in images)
    lines = build_page(drawn, number)
    return replace(lines, lost_fonts=lost_fonts(page, view.read))


@dataclass(slots=True)
class _Font:
    """A font of one page: its name, and the width of its characters in ems, taken from its runs.

    It begins with the width of a usual book face, which the first runs soon outweigh.
    """

    name: str
    ems: float = 12.5
    chars: int = 25

    def may_jump(self, width: float, size: float, n_chars: int) -> bool:
        """Tell whether a run is wider than its characters explain; else take it into account."""
        if width * self.chars > _WIDE_RUN * n_chars * size * self.ems:
            return True
        self.ems += width / size
        self.chars += n_chars
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """One open page: its text handle, its characters, its box and its quarter turns.

    `read` collects the text objects that have characters.
    """

    text: int
    chars: str
    corner: tuple[float, float]
    size: tuple[float, float]
    turns: int
    fonts: dict[int, _Font] = field(default_factory=dict)
    read: set[int] = field(default_factory=set)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return a place as the page is seen, from its lower left corner."""
        x, y = x - self.corner[0], y - self.corner[1]
        return turned_place(x, y, self.turns, *self.size) if self.turns else (x, y)

    def origin(self, index: int) -> tuple[float, float]:
        """Return where a character stands on its baseline."""
        return self.place(*_char_origin(self.text, index))

    def right_edge(self, index: int) -> float:
        """Return where the advance of a character ends.

        Its loose box may reach further, over the whole of a leaning letter. What PDFium puts in
        after a text object stands where the object ends, which may be after a last kern.
        """
        left, bottom, right, top = _char_box(self.text, index)
        edge = max(self.place(left, bottom)[0], self.place(right, top)[0])
        after = index + 1
        guessed = self.chars[after : after + 1] in (" ", "\r")
        if guessed and not text_object_of(self.text, after):
            edge = min(edge, self.origin(after)[0])
        return edge

    def font_of(self, text_object: int) -> _Font:
        """Return the font of a text object."""
        handle = font_handle(text_object)
        if handle not in self.fonts:
            self.fonts[handle] = _Font(font_name(handle))
        return self.fonts[handle]


def _add_line(page: _Page, start: int, end: int, drawn: PageGlyphs) -> None:
    """Cut a line where its text object changes, and add its runs."""
    at = start
    last: list[Glyph] = []
    while at < end:
        owner = text_object_of(page.text, at)
        blank = page.chars[at] == " "
        if blank and owner and last:
            # A space that the file draws counts, however narrow; one that PDFium guesses does not.
            last.append(_space(last[-1]))
        if blank or not owner:
            at += 1
            continue
        page.read.add(owner)
        stop = _run_end(page.text, owner, at, end)
        last = _add_run(page, owner, (at, stop), drawn)
        at = stop


def _run_end(text: int, owner: int, at: int, end: int) -> int:
    """Return the end of the characters that `owner` draws; they are all in one piece."""
    if text_object_of(text, end - 1) == owner:
        return end
    inside, outside = at, end - 1
    while outside - inside > 1:
        middle = (inside + outside) // 2
        if text_object_of(text, middle) == owner:
            inside = middle
        else:
            outside = middle
    return outside


def _add_run(page: _Page, owner: int, span: tuple[int, int], drawn: PageGlyphs) -> list[Glyph]:
    """Add what one text object draws on a line, and return the list that it went to."""
    start, end = span
    words = page.chars[start:end].rstrip(" ")
    directions = rotated(_char_matrix(page.text, start), page.turns)
    side = turns_to_upright(directions)
    if side is None:
        drawn.n_askew += len(words)
        return []
    if side:
        page = replace(page, turns=(page.turns + side) % 4)
    font = page.font_of(owner)
    size = rotated(directions, side)[3] * _font_size(page.text, start)
    whole = _glyph(page, font.name, size, (start, start + len(words)))
    spans: list[tuple[int, int]] = []
    if _runs_down(page, whole, start + len(words) - 1):
        spans = [(n, n + 1) for n in range(len(words))]
    elif " " in words and font.may_jump(whole.x1 - whole.x0, size, len(words)):
        spans = [match.span() for match in _WORD.finditer(words)]
    parts = [_glyph(page, font.name, size, (start + a, start + b)) for a, b in spans]
    glyphs = parts or [whole]
    if end - start > len(words):
        glyphs.append(_space(glyphs[-1]))
    drawn.sides[side].extend(glyph for glyph in glyphs if glyph.text)
    return drawn.sides[side]


def _glyph(page: _Page, font: str, size: float, span: tuple[int, int]) -> Glyph:
    start, end = span
    chars = page.chars[start:end]
    x0, base = page.origin(start)
    base -= size * hang_ems(font, _code(chars[0]))
    x1 = page.right_edge(end - (2 if chars[-1] == " " else 1))
    return Glyph(_meaning(page, font, chars, start), x0, x1, base, size, font)


def _code(char: str) -> int:
    return 0 if char == UNKNOWN else ord(char)


def _runs_down(page: _Page, whole: Glyph, last: int) -> bool:
    """Tell whether the characters of a run stand under one another, as vertical fonts set them."""
    n_steps = len(whole.text) - 1
    if n_steps < 1 or whole.x1 - whole.x0 > 0.3 * whole.size * (n_steps + 1) + 0.7 * whole.size:
        return False
    return whole.base - page.origin(last)[1] > 0.5 * whole.size * n_steps


def _space(before: Glyph) -> Glyph:
    return before._replace(text=" ", x0=before.x1)


def _meaning(page: _Page, font: str, chars: str, start: int) -> str:
    """Return what a run says; what its font does not map is mapped here or marked unknown."""
    if chars.endswith("\ufffe"):
        chars = chars[:-1] + "-"
    # Within a run of words PDFium maps all or nothing; a run of signs may be mapped in part.
    faulty = is_sign_font(font) or _has_map_error(page.text, start)
    if not faulty and not _ODD.search(chars):
        return chars
    if _SURROGATES.search(chars):
        chars = chars.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if not font:
        # A Type 3 font has no name; what it does not map comes as its code.
        return "".join(bitmap_char(ord(char)) for char in chars)
    return "".join(
        sign_of(font, _code(char))
        if _ODD.match(char) or (char != " " and _has_map_error(page.text, start + n))
        else char
        for n, char in enumerate(chars)
    )

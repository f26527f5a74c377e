"""Cut the text of a PDFium page into runs, and ask for the place of each run's two ends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from memoirist.extractors.pdf.engines import pdfium_bindings as pdfium
from memoirist.extractors.pdf.layout.font_encodings import UNKNOWN, coded
from memoirist.extractors.pdf.layout.geometry import Glyph
from memoirist.extractors.pdf.layout.page_lines import Drawn, side_of, turned
from memoirist.extractors.pdf.layout.tex_fonts import hang, is_mathematical, sign

# Not \s, which takes in the very codes of a bitmap font's ligatures.
_WORD = re.compile("[^ ]+(?: (?=[^ ]))?")
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffd\ufffe\uffff]")
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
# A run whose characters are wider than usual in its font, by this factor, may jump over a gap.
_WIDE_RUN = 1.1


class _Font:
    """A font of one page: its name, and the width of its characters in ems, taken from its runs."""

    __slots__ = ("chars", "ems", "name")

    def __init__(self, name: str) -> None:
        """Begin with the width of a usual book face, which the first runs soon outweigh."""
        self.name = name
        self.ems, self.chars = 12.5, 25

    def may_jump(self, width: float, size: float, n_chars: int) -> bool:
        """Tell whether a run is wider than its characters explain; else take it into account."""
        if width * self.chars > _WIDE_RUN * n_chars * size * self.ems:
            return True
        self.ems += width / size
        self.chars += n_chars
        return False


class Page(NamedTuple):
    """One open page: its text handle, its characters, its box and its quarter turns."""

    text: int
    chars: str
    box: tuple[float, float, float, float]
    turns: int
    fonts: dict[int, _Font]


def draw(page: Page, drawn: Drawn) -> None:
    """Add all runs of a page to what is drawn of it."""
    for start, end in _lines(page.chars):
        _add_line(page, start, end, drawn)


def _lines(chars: str) -> Iterator[tuple[int, int]]:
    """Give where lines start and end: PDFium ends one with CR LF, or with U+FFFE for a hyphen."""
    at = 0
    for line in chars.split("\r\n"):
        end = at + len(line)
        start = at
        while (cut := chars.find("\ufffe", start, end)) >= 0:
            yield start, cut + 1
            start = cut + 1
        if start < end:
            yield start, end
        at = end + 2


def characters(text: int) -> str:
    """Return the characters of a page, each at the index by which PDFium knows it."""
    count = pdfium.count_chars(text)
    chars = pdfium.page_text(text, count)
    if len(chars) == count:
        return chars
    # Some characters have no text or two code units: then each is asked for its own.
    codes = (pdfium.code_point(text, n) for n in range(count))
    return "".join("\ufffe" if code == 2 else chr(code or 0xFFFD) for code in codes)


def _add_line(page: Page, start: int, end: int, drawn: Drawn) -> None:
    """Cut a line where its text object changes, and add its runs."""
    at = start
    last: list[Glyph] = []
    while at < end:
        owner = pdfium.owner(page.text, at)
        blank = page.chars[at] == " "
        if blank and owner and last:
            # A space that the file draws counts, however narrow; one that PDFium guesses does not.
            last.append(_space(last[-1]))
        if blank or not owner:
            at += 1
            continue
        stop = _run_end(page.text, owner, at, end)
        last = _add_run(page, owner, (at, stop), drawn)
        at = stop


def _run_end(text: int, owner: int, at: int, end: int) -> int:
    """Return the end of the characters that `owner` draws; they are all in one piece."""
    if pdfium.owner(text, end - 1) == owner:
        return end
    inside, outside = at, end - 1
    while outside - inside > 1:
        middle = (inside + outside) // 2
        if pdfium.owner(text, middle) == owner:
            inside = middle
        else:
            outside = middle
    return outside


def _add_run(page: Page, owner: int, span: tuple[int, int], drawn: Drawn) -> list[Glyph]:
    """Add what one text object draws on a line, and return the list that it went to."""
    start, end = span
    text = page.text
    words = page.chars[start:end].rstrip(" ")
    directions = turned(pdfium.matrix(text, start), page.turns)
    side = side_of(directions)
    if side is None:
        drawn.n_askew += len(words)
        return []
    if side:
        page = page._replace(turns=(page.turns + side) % 4)
    handle = pdfium.font_of(owner)
    font = page.fonts.get(handle)
    if font is None:
        font = page.fonts[handle] = _Font(pdfium.font_name(handle))
    size = turned(directions, side)[3] * pdfium.font_size(text, start)
    whole = _glyph(page, font.name, size, (start, start + len(words)))
    if _runs_down(page, whole, start + len(words) - 1):
        glyphs = [
            _glyph(page, font.name, size, (n, n + 1)) for n in range(start, start + len(words))
        ]
    elif " " not in words or not font.may_jump(whole.x1 - whole.x0, size, len(words)):
        glyphs = [whole]
    else:
        places = ((start + word.start(), start + word.end()) for word in _WORD.finditer(words))
        glyphs = [_glyph(page, font.name, size, place) for place in places]
    if end - start > len(words):
        glyphs.append(_space(glyphs[-1]))
    drawn.sides[side].extend(glyph for glyph in glyphs if glyph.text)
    return drawn.sides[side]


def _glyph(page: Page, font: str, size: float, span: tuple[int, int]) -> Glyph:
    start, end = span
    x0, base = _upright(page, *pdfium.origin(page.text, start))
    base -= size * hang(font, 0 if page.chars[start] == UNKNOWN else ord(page.chars[start]))
    x1 = _right_edge(page, end - (2 if page.chars[end - 1] == " " else 1))
    return Glyph(_shown(page, font, page.chars[start:end], start), x0, x1, base, size, font)


def _runs_down(page: Page, whole: Glyph, last: int) -> bool:
    """Tell whether the characters of a run stand under one another, as vertical fonts set them."""
    steps = len(whole.text) - 1
    if steps < 1 or whole.x1 - whole.x0 > 0.3 * whole.size * (steps + 1) + 0.7 * whole.size:
        return False
    _, base = _upright(page, *pdfium.origin(page.text, last))
    return whole.base - base > 0.5 * whole.size * steps


def _space(before: Glyph) -> Glyph:
    return before._replace(text=" ", x0=before.x1)


def _shown(page: Page, font: str, chars: str, start: int) -> str:
    """Return what a run says; what its font does not map is mapped here or marked unknown."""
    if chars.endswith("\ufffe"):
        chars = chars[:-1] + "-"
    # Within a run of words PDFium maps all or nothing; a run of signs may be mapped in part.
    faulty = is_mathematical(font) or pdfium.has_map_error(page.text, start)
    if not faulty and not _ODD.search(chars):
        return chars
    if _PAIR.search(chars):
        chars = chars.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if not font:
        # A Type 3 font has no name; what it does not map comes as its code.
        return "".join(coded(ord(char)) for char in chars)
    return "".join(
        sign(font, 0 if char == UNKNOWN else ord(char))
        if _ODD.match(char) or (char != " " and pdfium.has_map_error(page.text, start + n))
        else char
        for n, char in enumerate(chars)
    )


def _right_edge(page: Page, index: int) -> float:
    """Return where the advance of a character ends.

    Its loose box may reach further, over the whole of a leaning letter. What PDFium puts in after
    a text object stands where the object ends, which may be after a last kern.
    """
    left, bottom, right, top = pdfium.loose_box(page.text, index)
    edge = max(_upright(page, left, bottom)[0], _upright(page, right, top)[0])
    after = index + 1
    if page.chars[after : after + 1] in (" ", "\r") and not pdfium.owner(page.text, after):
        edge = min(edge, _upright(page, *pdfium.origin(page.text, after))[0])
    return edge


def _upright(page: Page, x: float, y: float) -> tuple[float, float]:
    """Return a place as the page is seen, from its lower left corner."""
    left, bottom, right, top = page.box
    if page.turns == 0:
        return x - left, y - bottom
    if page.turns == 1:
        return y - bottom, right - x
    if page.turns == 2:
        return right - x, top - y
    return top - y, x - left

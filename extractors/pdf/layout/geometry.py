"""Glyphs with their places become lines with their geometry; no PDF library in here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

# A gap of this share of the font size is a space, of the second one the end of a text run.
_SPACE_EMS = 0.13
# A leaning letter stands off its exponent by more than that; a space between words is wider.
_SCRIPT_EMS = 0.21
_RUN_EMS = 3.0
_BOLD = re.compile(r"bold|black|heavy|demi|cmbx|cmb1|-bd\b", re.IGNORECASE)
_ITALIC = re.compile(r"italic|oblique|slanted|cmti|cmsl|-it\b", re.IGNORECASE)
_CJK = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]")


class Glyph(NamedTuple):
    """One drawn character, or a run of them in one font on one baseline; places in points.

    `base` is its own baseline, raised or not; the name of a bitmap font is empty.
    """

    text: str
    x0: float
    x1: float
    base: float
    size: float
    font: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Line:
    """One line of text; `marks` are the (start, end) of raised small runs in `text`.

    `aside` when the line is a note by its very place, as between columns from top to bottom.

    A line is equal to itself alone: two that look the same are drawn twice, and each line is the
    key under which the clean-up keeps what it is.
    """

    page: int
    x0: float
    x1: float
    y: float
    size: float
    text: str
    bold: float = 0.0
    italic: float = 0.0
    marks: tuple[tuple[int, int], ...] = ()
    aside: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLines:
    """What an engine gives for one page.

    `n_turned` counts glyphs that do not run upright; `error` says why there are no lines.
    """

    page: int
    width: float
    height: float
    lines: tuple[Line, ...] = ()
    has_image: bool = False
    n_turned: int = 0
    error: str | None = None


def lines_of(glyphs: Iterable[Glyph], page: int) -> tuple[Line, ...]:
    """Group `glyphs`, in the order of drawing, into lines sorted from top to bottom."""
    runs = [run for run in _runs(glyphs) if any(glyph.text.strip() for glyph in run)]
    built = [_line(run, page) for run in runs]
    return tuple(_joined_rows(built))


def _runs(glyphs: Iterable[Glyph]) -> list[list[Glyph]]:
    runs: list[list[Glyph]] = []
    run: list[Glyph] = []
    tallest = last = None
    for glyph in glyphs:
        if tallest is not None and last is not None:
            small = min(glyph.size, tallest.size)
            gap = glyph.x0 - last.x1
            reach = _RUN_EMS * max(glyph.size, tallest.size)
            # A raised mark lies within .65 of its own size of the baseline; the next line of
            # text and the line beside a drop capital do not.
            if abs(glyph.base - tallest.base) < 0.65 * small and -0.6 * small < gap < reach:
                run.append(glyph)
                last = glyph
                if glyph.size > tallest.size:
                    tallest = glyph
                continue
        run = [glyph]
        runs.append(run)
        tallest = last = glyph
    return runs


def _line(run: Sequence[Glyph], page: int) -> Line:
    if len(run) == 1:
        return _line_of_one(run[0], page)
    sizes: Counter[float] = Counter()
    for glyph in run:
        sizes[round(glyph.size, 1)] += len(glyph.text)
    size = max(sizes, key=lambda each: (sizes[each], each))
    main = [glyph for glyph in run if round(glyph.size, 1) == size]
    base = main[0].base
    text, marks = _text(run, base, size)
    drawn = [glyph for glyph in run if glyph.text.strip()]
    fonts: Counter[str] = Counter()
    for glyph in drawn:
        fonts[glyph.font] += len(glyph.text)
    return Line(
        page=page,
        x0=round(min(glyph.x0 for glyph in drawn), 2),
        x1=round(max(glyph.x1 for glyph in drawn), 2),
        y=round(base, 2),
        size=size,
        text=text,
        bold=_share(fonts, 0),
        italic=_share(fonts, 1),
        marks=marks,
    )


def _line_of_one(glyph: Glyph, page: int) -> Line:
    """Return the line of a single run of characters, which is what PDFium gives for most lines."""
    bold, italic = _style(glyph.font)
    return Line(
        page=page,
        x0=round(glyph.x0, 2),
        x1=round(glyph.x1, 2),
        y=round(glyph.base, 2),
        size=round(glyph.size, 1),
        text=glyph.text.strip(),
        bold=float(bold),
        italic=float(italic),
    )


@lru_cache(maxsize=1024)
def _style(font: str) -> tuple[bool, bool]:
    """Tell by its name whether a font is bold, and whether it is italic."""
    return bool(_BOLD.search(font)), bool(_ITALIC.search(font))


def _share(fonts: Counter[str], which: int) -> float:
    hits = sum(count for font, count in fonts.items() if _style(font)[which])
    return round(hits / fonts.total(), 2)


def _text(
    run: Sequence[Glyph], base: float, size: float
) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Return the text of a run with its spaces, and where its raised small marks lie."""
    parts: list[str] = []
    marks: list[tuple[int, int]] = []
    length, end = 0, None
    for glyph in run:
        text = glyph.text
        shifted = abs(glyph.base - base) > 0.1 * size and glyph.size < 0.85 * size
        space = (_SCRIPT_EMS if shifted else _SPACE_EMS) * size
        if end is not None and glyph.x0 - end > space and text[0] != " ":
            wide = glyph.x0 - end > 0.5 * size
            last = parts[-1][-1]
            if last != " " and (wide or not (_CJK.match(text) and _CJK.match(last))):
                parts.append(" ")
                length += 1
        end = glyph.x1
        if text == " " and parts and parts[-1][-1] == " ":
            continue
        lifted = glyph.base - base > 0.15 * size
        if glyph.size < 0.85 * size and lifted and text.strip():
            if marks and marks[-1][1] == length:
                marks[-1] = (marks[-1][0], length + len(text))
            else:
                marks.append((length, length + len(text)))
        parts.append(text)
        length += len(text)
    joined = "".join(parts)
    lead = len(joined) - len(joined.lstrip())
    return joined.strip(), tuple((start - lead, stop - lead) for start, stop in marks)


def _joined_rows(lines: list[Line]) -> list[Line]:
    """Sort lines by row, then from left to right, and join what was drawn in pieces."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda each: -each.y):
        if rows and rows[-1][0].y - line.y < 0.4 * min(line.size, rows[-1][0].size):
            rows[-1].append(line)
        else:
            rows.append([line])
    joined: list[Line] = []
    for row in rows:
        row.sort(key=lambda each: each.x0)
        start = len(joined)
        for line in row:
            if len(joined) > start and _touch(joined[-1], line):
                joined[-1] = _merged(joined[-1], line)
            else:
                joined.append(line)
    return joined


def _touch(left: Line, right: Line) -> bool:
    """Tell whether `right` goes on where `left` ends; a large initial stays by itself."""
    if len(left.text) < 3 and left.size > 1.6 * right.size:
        return False
    # Full-width punctuation may reach over half of its neighbour.
    return -0.7 * right.size < right.x0 - left.x1 < right.size


def _merged(left: Line, right: Line) -> Line:
    main = left if len(left.text) >= len(right.text) else right
    gap = right.x0 - left.x1 > _SPACE_EMS * main.size
    text = left.text + (" " if gap else "") + right.text
    offset = len(text) - len(right.text)
    moved = tuple((start + offset, end + offset) for start, end in right.marks)
    raised = right.size < 0.85 * left.size and right.y - left.y > 0.15 * left.size
    if raised:
        moved = ((offset, len(text)),)
    return replace(main, x0=left.x0, x1=max(left.x1, right.x1), text=text, marks=left.marks + moved)

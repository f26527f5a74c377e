"""Read vertical Chinese and Japanese, and Arabic and Hebrew from right to left.

A page of vertical writing is turned to the left: then its columns are lines, the first of them on
top, and every later step is the same as for other books. A page that is written from right to
left is mirrored for the same reason.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from memoirist.extractors.pdf.layout.geometry import Glyph, Line, groups

RTL = re.compile(r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]")
# A letter with the marks that belong to it stays in one piece.
_CLUSTER = re.compile(r".[\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed]*", re.DOTALL)
# Numbers and other scripts keep their own direction, with what stands between their words.
_OTHER = r"[0-9A-Za-z\u00c0-\u024f\u0660-\u0669]+"
_LEFT_TO_RIGHT = re.compile(rf"{_OTHER}(?:[ .,:/%'’-]+{_OTHER})*")
_MIRROR = str.maketrans("()[]{}<>«»", ")(][}{><»«")
_RTL_SHARE = 0.5
_MAX_LIGATURE = 4

_CJK = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
_MIN_STEPS = 10
# Notes are set in two rows within one column: at most this share of the text's size.
_NOTE_RATIO = 0.8
_SAME_COLUMN = 0.4
# In the em square the baseline lies so far above the lower edge.
_DESCENT = 0.12


def is_visual_rtl(glyphs: Iterable[Glyph]) -> bool:
    """Tell whether a page has letters from right to left, each in its own place.

    A font that gives whole words for one glyph gives them in reading order already.
    """
    lengths = [len(glyph.text) for glyph in glyphs if RTL.search(glyph.text)]
    return bool(lengths) and max(lengths) <= _MAX_LIGATURE


def in_visual_order(glyphs: Iterable[Glyph]) -> list[Glyph]:
    """Return glyphs whose letters stand as they are seen: a ligature's letters are reversed."""
    return [
        glyph._replace(text=_reversed(glyph.text)) if RTL.search(glyph.text) else glyph
        for glyph in glyphs
    ]


def in_reading_order(lines: Sequence[Line], width: float) -> list[Line]:
    """Return lines with their letters in reading order.

    A page that is mostly written from right to left is mirrored as well, so that a paragraph
    begins with its indent and columns follow one another as elsewhere.
    """
    text = "".join(line.text for line in lines)
    n_letters = sum(char.isalpha() for char in text)
    mirrored = len(RTL.findall(text)) > _RTL_SHARE * n_letters
    lines = [
        replace(line, text=unicodedata.normalize("NFKC", logical_order(line.text)))
        if RTL.search(line.text)
        else line
        for line in lines
    ]
    if not mirrored:
        return lines
    return [replace(line, marks=(), x0=width - line.x1, x1=width - line.x0) for line in lines]


def logical_order(visual: str) -> str:
    """Return in reading order a line that is given as it is seen from left to right."""
    n_rtl = len(RTL.findall(visual))
    if n_rtl >= sum(char.isalpha() for char in visual) - n_rtl:
        text = _reversed(visual).translate(_MIRROR)
        return _LEFT_TO_RIGHT.sub(lambda match: match[0][::-1], text)
    return re.sub(rf"{RTL.pattern}(?:.*{RTL.pattern})?", lambda match: _reversed(match[0]), visual)


def _reversed(text: str) -> str:
    return "".join(reversed(_CLUSTER.findall(text)))


def is_vertical(glyphs: Sequence[Glyph]) -> bool:
    """Tell whether most characters stand under the one drawn before them."""
    down = across = 0
    for before, after in pairwise(glyphs):
        across += len(before.text) - 1
        if not (_CJK.match(before.text) and _CJK.match(after.text)):
            continue
        size = max(before.size, after.size, 0.01)
        right, below = after.x0 - before.x0, before.base - after.base
        if abs(right) < 0.35 * size and 0.6 * size < below < 1.6 * size:
            down += 1
        elif abs(below) < 0.35 * size and 0.6 * size < right < 1.6 * size:
            across += 1
    return down >= _MIN_STEPS and down > 3 * across


def horizontal_lines(glyphs: Iterable[Glyph], height: float, page: int) -> list[Line]:
    """Return columns as lines of a page that is `height` wide.

    Small characters between or in the columns are notes of another hand; they become lines at the
    foot of the page, where notes are looked for.
    """
    turned = [_turned(glyph, height) for glyph in glyphs if glyph.text.strip()]
    sizes: Counter[float] = Counter()
    for glyph in turned:
        sizes[round(glyph.size, 1)] += len(glyph.text)
    usual = max(sizes, key=lambda size: (sizes[size], size))
    columns = _columns(glyph for glyph in turned if glyph.size > _NOTE_RATIO * usual)
    lines = [_line(column, page) for column in columns]
    notes = _notes((glyph for glyph in turned if glyph.size <= _NOTE_RATIO * usual), columns)
    foot = min(line.y for line in lines) - 3 * usual
    for n, note in enumerate(notes):
        lines.append(replace(_line(note, page), y=foot - 1.2 * n * note[0].size, aside=True))
    return lines


def _turned(glyph: Glyph, height: float) -> Glyph:
    """Return a character of a column as it lies on the turned page, where the column is a line."""
    top = height - glyph.base - (1 - _DESCENT) * glyph.size
    base = glyph.x0 + _DESCENT * glyph.size
    return glyph._replace(x0=top, x1=top + glyph.size, base=base)


def _middle(glyph: Glyph) -> float:
    return glyph.base + glyph.size / 2


def _columns(glyphs: Iterable[Glyph]) -> list[list[Glyph]]:
    """Group characters into columns, right to left, each from top to bottom."""
    columns = groups(
        sorted(glyphs, key=lambda glyph: -glyph.base),
        lambda column, glyph: (
            abs(_middle(column[0]) - _middle(glyph)) < _SAME_COLUMN * column[0].size
        ),
    )
    return [sorted(column, key=lambda glyph: glyph.x0) for column in columns]


def _notes(glyphs: Iterable[Glyph], columns: Sequence[Sequence[Glyph]]) -> list[list[Glyph]]:
    """Return the notes in the order of the text that they stand in: two rows make one note."""
    rows = groups((glyph for column in _columns(glyphs) for glyph in column), _follows)
    notes: list[list[Glyph]] = []
    right: list[Glyph] | None = None
    for row in sorted(rows, key=lambda row: _place(row[0], columns)):
        if right and _is_second_row(right, row):
            notes[-1].extend(row)
        else:
            notes.append(list(row))
        right = row
    return notes


def _follows(row: Sequence[Glyph], glyph: Glyph) -> bool:
    same_row = abs(row[-1].base - glyph.base) < 0.3 * glyph.size
    return same_row and 0 <= glyph.x0 - row[-1].x0 < 2 * glyph.size


def _place(first: Glyph, columns: Sequence[Sequence[Glyph]]) -> tuple[int, float, float]:
    """Order by the column that a note stands in, then from top to bottom, then right to left."""
    row = _middle(first)
    column = min(range(len(columns)), key=lambda n: abs(_middle(columns[n][0]) - row))
    return column, round(first.x0 / (2 * first.size)), -row


def _is_second_row(right: Sequence[Glyph], left: Sequence[Glyph]) -> bool:
    """Tell whether two small columns are the two rows of one note."""
    step = right[0].base - left[0].base
    overlap = min(right[-1].x1, left[-1].x1) - max(right[0].x0, left[0].x0)
    return 0.5 * right[0].size < step < 2 * right[0].size and overlap > 0


def _line(glyphs: Sequence[Glyph], page: int) -> Line:
    sizes = Counter(round(glyph.size, 1) for glyph in glyphs)
    return Line(
        page=page,
        x0=round(min(glyph.x0 for glyph in glyphs), 2),
        x1=round(max(glyph.x1 for glyph in glyphs), 2),
        y=round(glyphs[0].base, 2),
        size=sizes.most_common(1)[0][0],
        text="".join(glyph.text for glyph in glyphs),
    )

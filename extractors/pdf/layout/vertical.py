"""Chinese and Japanese in columns from top to bottom, read from right to left.

The page is seen turned to the left: then columns are lines, the first of them on top, and all
that follows is the same as for other books. Small characters between or in the columns are notes
of another hand; they go to the foot of the page, where notes are looked for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from memoirist.extractors.pdf.layout.geometry import Glyph, Line

_CJK = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
_LEAST_STEPS = 10
# Notes are set in two rows within one column: at most this share of the text's size.
_NOTE = 0.8
_SAME_COLUMN = 0.4
# In the em square the baseline lies so far above the lower edge.
_DESCENT = 0.12


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
    return down >= _LEAST_STEPS and down > 3 * across


@dataclass(frozen=True, slots=True)
class _Mark:
    """A character on the turned page: where it begins and ends along its column."""

    text: str
    start: float
    end: float
    row: float
    size: float


def column_lines(glyphs: Sequence[Glyph], height: float, page: int) -> tuple[Line, ...]:
    """Return columns as lines of a page that is `height` wide, notes below the text."""
    marks = [_turned(glyph, height) for glyph in glyphs if glyph.text.strip()]
    if not marks:
        return ()
    sizes: Counter[float] = Counter()
    for mark in marks:
        sizes[round(mark.size, 1)] += len(mark.text)
    usual = max(sizes, key=lambda size: (sizes[size], size))
    text = [mark for mark in marks if mark.size > _NOTE * usual]
    columns = _columns(text)
    lines = [_line(column, page) for column in columns]
    notes = _notes([mark for mark in marks if mark.size <= _NOTE * usual], columns)
    foot = min((line.y for line in lines), default=0.0) - 3 * usual
    for n, note in enumerate(notes):
        lines.append(_line(note, page, foot - 1.2 * n * note[0].size))
    return tuple(lines)


def _turned(glyph: Glyph, height: float) -> _Mark:
    top = height - glyph.base - (1 - _DESCENT) * glyph.size
    return _Mark(glyph.text, top, top + glyph.size, glyph.x0 + _DESCENT * glyph.size, glyph.size)


def _columns(marks: Sequence[_Mark]) -> list[list[_Mark]]:
    """Group marks into columns, right to left, each from top to bottom."""
    columns: list[list[_Mark]] = []
    for mark in sorted(marks, key=lambda each: -each.row):
        middle = mark.row + mark.size / 2
        before = columns[-1][0] if columns else None
        if before and abs(before.row + before.size / 2 - middle) < _SAME_COLUMN * before.size:
            columns[-1].append(mark)
        else:
            columns.append([mark])
    return [sorted(column, key=lambda each: each.start) for column in columns]


def _notes(marks: Sequence[_Mark], columns: Sequence[Sequence[_Mark]]) -> list[list[_Mark]]:
    """Return the notes in the order of the text that they stand in: two rows make one note."""
    pieces: list[list[_Mark]] = []
    for column in _columns(marks):
        for mark in column:
            last = pieces[-1][-1] if pieces else None
            if last and _follows(last, mark):
                pieces[-1].append(mark)
            else:
                pieces.append([mark])
    blocks: list[list[list[_Mark]]] = []
    for piece in sorted(pieces, key=lambda each: _place(each, columns)):
        first = blocks[-1][-1] if blocks else None
        if first and _beside(first, piece):
            blocks[-1].append(piece)
        else:
            blocks.append([piece])
    return [[mark for piece in block for mark in piece] for block in blocks]


def _follows(last: _Mark, mark: _Mark) -> bool:
    return (
        abs(last.row - mark.row) < 0.3 * mark.size and 0 <= mark.start - last.start < 2 * mark.size
    )


def _place(piece: Sequence[_Mark], columns: Sequence[Sequence[_Mark]]) -> tuple[int, float, float]:
    """Order by the column that a note stands in, then from top to bottom, then right to left."""
    row = piece[0].row + piece[0].size / 2
    ranks = [(abs(column[0].row + column[0].size / 2 - row), n) for n, column in enumerate(columns)]
    rank = min(ranks)[1] if ranks else 0
    return rank, round(piece[0].start / (2 * piece[0].size)), -row


def _beside(right: Sequence[_Mark], left: Sequence[_Mark]) -> bool:
    """Tell whether two small columns are the two rows of one note."""
    step = right[0].row - left[0].row
    overlap = min(right[-1].end, left[-1].end) - max(right[0].start, left[0].start)
    return 0.5 * right[0].size < step < 2 * right[0].size and overlap > 0


def _line(marks: Sequence[_Mark], page: int, y: float | None = None) -> Line:
    sizes = Counter(round(mark.size, 1) for mark in marks)
    return Line(
        page=page,
        x0=round(min(mark.start for mark in marks), 2),
        x1=round(max(mark.end for mark in marks), 2),
        y=round(marks[0].row if y is None else y, 2),
        aside=y is not None,
        size=sizes.most_common(1)[0][0],
        text="".join(mark.text for mark in marks),
    )

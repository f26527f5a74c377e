"""Tell what an indented run of lines is: prose, verse, or lines that were each set by hand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from memoirist.data.schema.records import BlockKind
from memoirist.extractors.pdf.layout.columns import SENTENCE_END, Margins, Measures
from memoirist.extractors.pdf.layout.geometry import Line
from memoirist.extractors.settings import ExtractSettings

OPENS_UPPER = re.compile(r"^[\"'“‘«(\[”]*\s?[A-Z0-9À-ÞΑ-Ω]")
SAME_PLACE = 2.0
SLIGHT_GAP = 1.08
_LIST_END = re.compile(rf"{SENTENCE_END.pattern}|[;:]$")
# Deeper than any first line of a paragraph is set, in ems.
_DEEP = 2.2
# Of the line breaks in verse or in a list, so many leave room for the next word.
_BY_HAND = 0.6
_ROWS = 0.8
# What a line of verse, or of an address, leaves empty of the measure.
_SHORT = 0.12


def rows_of(lines: Sequence[Line]) -> list[list[Line]]:
    """Return `lines` by rows: the cells of a table stand beside each other."""
    rows: list[list[Line]] = []
    for line in lines:
        if rows and abs(rows[-1][0].y - line.y) < 0.4 * line.size:
            rows[-1].append(line)
        else:
            rows.append([line])
    return rows


def block_left(run: Sequence[Line]) -> float | None:
    """Return the left edge of a block that is indented as a whole, or None.

    A series of one-line paragraphs, or of a list's lines, is indented too, but each of its lines
    ends a sentence or a part of one.
    """
    left = min(line.x0 for line in run)
    at_left = [abs(line.x0 - left) < SAME_PLACE for line in run]
    for n, line in enumerate(run[:-1]):
        if at_left[n + 1] and not _LIST_END.search(line.text):
            return left
    return None


def opens(run: Sequence[Line], below: Sequence[Line], margins: Margins, measures: Measures) -> bool:
    """Tell whether one indented full line only opens the paragraph that goes on at the margin."""
    line, rest = run[-1], below[0]
    return (
        len(run) == 1
        and line.x1 > margins.right - 0.03 * margins.width
        and not SENTENCE_END.search(line.text)
        and abs(rest.x0 - margins.left) < SAME_PLACE
        and line.y - rest.y < SLIGHT_GAP * measures.leading
        and abs(line.size - rest.size) < 0.03 * measures.size
    )


def hangs(lines: Sequence[Line], least: int) -> bool:
    """Tell whether at least `least` first lines stand out to the left of their own rest."""
    left = min(line.x0 for line in lines)
    at_left = [abs(line.x0 - left) < SAME_PLACE for line in lines]
    open_ends = [
        at_left[n + 1]
        for n, line in enumerate(lines[:-1])
        if at_left[n] and not SENTENCE_END.search(line.text)
    ]
    rests = open_ends.count(False)
    return at_left[0] and rests >= least and open_ends.count(True) <= 0.2 * rests


def is_verse(run: Sequence[Line], margins: Margins) -> bool:
    """Tell whether nearly all lines open with a capital and none is long."""
    upper = sum(1 for line in run if OPENS_UPPER.match(line.text))
    return len(run) > 1 and upper >= 0.75 * len(run) and _is_short(run, margins)


def is_set_by_hand(run: Sequence[Line], margins: Margins, measures: Measures) -> bool:
    """Tell whether a deep run is a list, a table or an address: its lines end where they would not.

    The next line's first word would have fitted, or the row has several cells.
    """
    rows = rows_of(run)
    if len(rows) < 2 or min(line.x0 for line in run) - margins.left < _DEEP * measures.size:
        return False
    if len(rows) == 2:
        return _is_short(run, margins) and len({round(line.x0) for line in run}) > 1
    upper = sum(1 for row in rows if OPENS_UPPER.match(row[0].text))
    # Where each line opens like a row of a list, the frame's edge is the measure, else its own.
    listed = upper >= _ROWS * len(rows)
    reach = margins.right if listed else max(line.x1 for line in run)
    by_hand = sum(
        1
        for row, after in pairwise(rows)
        if len(row) > 1 or reach - row[-1].x1 > _first_word(after[0])
    )
    return by_hand >= (_ROWS if listed else _BY_HAND) * (len(rows) - 1)


def _first_word(line: Line) -> float:
    """Return the width of a line's first word and the space before it, in points."""
    share = (len(line.text.split(maxsplit=1)[0]) + 1) / len(line.text)
    return share * (line.x1 - line.x0)


def _is_short(run: Sequence[Line], margins: Margins) -> bool:
    return max(line.x1 for line in run) < margins.right - _SHORT * margins.width


def block_kind(
    run: Sequence[Line],
    verse: bool,
    margins: Margins,
    measures: Measures,
    settings: ExtractSettings,
) -> BlockKind:
    """Return quote for what is verse, indented on both sides, or set smaller than the text."""
    both = max(line.x1 for line in run) <= margins.right - settings.indent_points
    small = max(line.size for line in run) < 0.97 * measures.size
    return "quote" if verse or both or small else "paragraph"

"""Rebuild paragraphs, quotations, lists and verse from the places of the lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from memoirist.data.schema.records import BlockKind
from memoirist.extractors.pdf.layout.geometry import Line, Margins, Measures, groups, rows_of

# French sets a space before the closing guillemet; a note's mark may follow the stop.
SENTENCE_END = re.compile(r"[.!?…:。！？：](?:\s?['\"’”»›)\]」』]+)*\s?\d{0,3}$")
_LIST_END = re.compile(rf"{SENTENCE_END.pattern}|[;:]$")
_SALUTATION_END = re.compile(r"[,:;—–]$")
_CAPITAL = re.compile(r"^[\"'“‘«(\[”]*\s?[A-Z0-9À-ÞΑ-Ω]")
_OPENING_QUOTES = '"“”«„'
# Edges that differ by less, in points, are the same.
_SAME_PLACE = 2.0
_SLIGHT_GAP = 1.08
# A line that leaves this share empty was ended by hand; one set to the right starts so far in.
_FORCED = 0.3
_NEARLY = 0.05
# A frame with fewer lines that hang is not taken as a list with hanging indents.
_MIN_HANGING_LINES = 4
# Deeper than any first line of a paragraph is set, in ems.
_DEEP_EMS = 2.2
# Of the line breaks in verse or in a list, so many leave room for the next word.
_BY_HAND = 0.6
_LISTED = 0.8
# What a line of verse, or of an address, leaves empty of the measure.
_SHORT = 0.12


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """The edges that the lines of a frame, or of an indented block in it, keep to, in points.

    `block` numbers the indented block, `offset` is how far that is indented; in a `hanging` one
    only first lines stand out.
    """

    frame: int
    left: float
    right: float
    justified: bool
    offset: float = 0.0
    block: int | None = None
    kind: BlockKind = "paragraph"
    verse: bool = False
    hanging: bool = False


class PlacedLine(NamedTuple):
    """One body line with the area that it belongs to."""

    line: Line
    area: Area

    @property
    def indent(self) -> float:
        """Return how far the line starts from its own left edge, in points."""
        return self.line.x0 - self.area.left

    @property
    def empty_share(self) -> float:
        """Return the share of a full line that this one leaves empty at the right."""
        return (self.area.right - self.line.x1) / max(self.area.right - self.area.left, 1.0)

    @property
    def is_at_right(self) -> bool:
        """Tell whether the line is set to the right, as a date or a signature."""
        return self.indent > _FORCED * (self.area.right - self.area.left) and not self.area.verse

    @property
    def ends_sentence(self) -> bool:
        """Tell whether the line ends with the end of a sentence."""
        return bool(SENTENCE_END.search(self.line.text))

    @property
    def ends_early(self) -> bool:
        """Tell whether the line stops well before the margin that the others reach."""
        return not self.area.verse and self.empty_share > (0.08 if self.area.justified else 0.3)


def place_lines(
    lines: Sequence[Line], margins: Margins, frame: int, measures: Measures
) -> list[PlacedLine]:
    """Return the lines of one frame, each with its area: the frame's own or an indented block."""
    plain = Area(frame=frame, left=margins.left, right=margins.right, justified=margins.justified)
    if _hangs(lines, _MIN_HANGING_LINES):
        hanging = replace(plain, block=frame * 1000, hanging=True)
        return [PlacedLine(line, hanging) for line in lines]
    runs = _runs(lines, margins, measures)
    indented = [run for run in runs if run[0].x0 - margins.left > measures.indent]
    # What one run shows to be the left edge of a block holds for its neighbours at that place.
    lefts = [left for run in indented if (left := _block_left(run)) is not None]
    placed: list[PlacedLine] = []
    for number, run in enumerate(runs):
        left = min(line.x0 for line in run)
        in_block = any(abs(left - edge) < _SAME_PLACE for edge in lefts) and not (
            number + 1 < len(runs) and _opens(run, runs[number + 1], margins, measures)
        )
        area = plain
        by_hand = _is_set_by_hand(run, margins, measures)
        if run in indented and (in_block or by_hand or _hangs(run, 1)):
            verse = by_hand or _is_verse(run, margins)
            peers = [line for part in indented for line in part if line.x0 >= left - _SAME_PLACE]
            area = Area(
                frame=frame,
                left=left,
                right=max(line.x1 for line in (run if verse else peers)),
                justified=margins.justified,
                offset=left - margins.left,
                block=frame * 1000 + number,
                kind="quote" if verse or _is_quotation(run, margins, measures) else "paragraph",
                verse=verse,
                hanging=not (in_block or by_hand),
            )
        placed.extend(PlacedLine(line, area) for line in run)
    return placed


def _runs(lines: Sequence[Line], margins: Margins, measures: Measures) -> list[list[Line]]:
    """Return the lines in runs that are alike in indent (or none), size and distance."""

    def joins(run: list[Line], line: Line) -> bool:
        last = run[-1]
        indents = {part.x0 - margins.left > measures.indent for part in (last, line)}
        far = last.y - line.y > 0.5 * (measures.leading + measures.gap)
        alike = abs(last.size - line.size) <= 0.03 * measures.size
        return len(indents) == 1 and alike and not far

    return groups(lines, joins)


def _block_left(run: Sequence[Line]) -> float | None:
    """Return the left edge of a block that is indented as a whole, or None.

    A series of one-line paragraphs, or of a list's lines, is indented too, but each of its lines
    ends a sentence or a part of one.
    """
    left = min(line.x0 for line in run)
    goes_on = any(
        below.x0 - left < _SAME_PLACE and not _LIST_END.search(line.text)
        for line, below in pairwise(run)
    )
    return left if goes_on else None


def _opens(
    run: Sequence[Line], below: Sequence[Line], margins: Margins, measures: Measures
) -> bool:
    """Tell whether one indented full line only opens the paragraph that goes on at the margin."""
    line, rest = run[-1], below[0]
    return (
        len(run) == 1
        and line.x1 > margins.right - 0.03 * margins.width
        and not SENTENCE_END.search(line.text)
        and abs(rest.x0 - margins.left) < _SAME_PLACE
        and line.y - rest.y < _SLIGHT_GAP * measures.leading
        and abs(line.size - rest.size) < 0.03 * measures.size
    )


def _hangs(lines: Sequence[Line], least: int) -> bool:
    """Tell whether at least `least` first lines stand out to the left of their own rest."""
    left = min(line.x0 for line in lines)
    at_left = [line.x0 - left < _SAME_PLACE for line in lines]
    rest_at_left = [
        at_left[n + 1]
        for n, line in enumerate(lines[:-1])
        if at_left[n] and not SENTENCE_END.search(line.text)
    ]
    n_hanging = rest_at_left.count(False)
    return at_left[0] and n_hanging >= least and rest_at_left.count(True) <= 0.2 * n_hanging


def _is_verse(run: Sequence[Line], margins: Margins) -> bool:
    """Tell whether nearly all lines open with a capital and none is long."""
    n_capital = sum(1 for line in run if _CAPITAL.match(line.text))
    return len(run) > 1 and n_capital >= 0.75 * len(run) and _is_short(run, margins)


def _is_set_by_hand(run: Sequence[Line], margins: Margins, measures: Measures) -> bool:
    """Tell whether a deep run is a list, a table or an address: its lines end where they would not.

    The next line's first word would have fitted, or the row has several cells.
    """
    rows = rows_of(run)
    if len(rows) < 2 or min(line.x0 for line in run) - margins.left < _DEEP_EMS * measures.size:
        return False
    if len(rows) == 2:
        return _is_short(run, margins) and len({round(line.x0) for line in run}) > 1
    n_capital = sum(1 for row in rows if _CAPITAL.match(row[0].text))
    # Where each line opens like a row of a list, the frame's edge is the measure, else its own.
    listed = n_capital >= _LISTED * len(rows)
    right = margins.right if listed else max(line.x1 for line in run)
    n_by_hand = sum(
        1
        for row, after in pairwise(rows)
        if len(row) > 1 or right - row[-1].x1 > _first_word_width(after[0])
    )
    return n_by_hand >= (_LISTED if listed else _BY_HAND) * (len(rows) - 1)


def _first_word_width(line: Line) -> float:
    """Return the width of a line's first word and the space before it, in points."""
    share = (len(line.text.split(maxsplit=1)[0]) + 1) / len(line.text)
    return share * (line.x1 - line.x0)


def _is_short(run: Sequence[Line], margins: Margins) -> bool:
    return max(line.x1 for line in run) < margins.right - _SHORT * margins.width


def _is_quotation(run: Sequence[Line], margins: Margins, measures: Measures) -> bool:
    """Tell whether lines are indented on both sides, or set smaller than the text."""
    both = max(line.x1 for line in run) <= margins.right - measures.indent
    return both or max(line.size for line in run) < 0.97 * measures.size


def paragraphs(lines: Sequence[PlacedLine], measures: Measures) -> Iterator[list[PlacedLine]]:
    """Give the paragraphs of a run of lines without headings between them."""
    runs = groups(lines, lambda run, line: not _starts(run, line, measures))
    quoted = [run[-1].area.kind == "quote" for run in runs]
    for n, run in enumerate(runs):
        if len(run) == 1 and run[0].is_at_right and any(quoted[max(0, n - 1) : n + 2]):
            # The date and the name of a letter that is set as a quotation.
            yield [run[0]._replace(area=replace(run[0].area, kind="quote"))]
        else:
            yield run


def _starts(run: Sequence[PlacedLine], line: PlacedLine, measures: Measures) -> bool:
    """Tell whether `line` begins a new paragraph after the lines of `run`."""
    last = run[-1]
    if last.area.frame != line.area.frame:
        return _starts_after_break(last, line, measures)
    gap = last.line.y - line.line.y
    if gap < 0.4 * measures.size and line.line.x0 > last.line.x0:
        return False
    if gap > measures.gap:
        return not _goes_on_below(last, line, measures)
    if line.area.hanging and last.area.block == line.area.block:
        return line.line.x0 < last.line.x0 - _SAME_PLACE
    if last.area.block != line.area.block:
        # A hanging indent goes on below an unfinished line that fills its measure.
        hanging = line.area.block is not None and last.area.block is None
        full = last.empty_share < 0.03 and last.indent < measures.indent
        return not (hanging and full and not last.ends_sentence)
    if line.area.verse:
        return False
    if abs(last.line.size - line.line.size) > 0.08 * measures.size:
        return True
    if line.indent > measures.indent or last.is_at_right:
        return True
    capital = bool(_CAPITAL.match(line.line.text))
    if len(run) == 1 and capital and last.area.justified and last.empty_share > _FORCED:
        # A salutation ends no sentence, and leaves most of its line empty.
        return last.ends_sentence or bool(_SALUTATION_END.search(last.line.text))
    # In a typeset book even a slight extra distance means something.
    apart = measures.even and gap > _SLIGHT_GAP * measures.leading
    return last.ends_sentence and (last.ends_early or apart) and capital


def _goes_on_below(last: PlacedLine, line: PlacedLine, measures: Measures) -> bool:
    """Tell whether verse goes on after a space, or a full unfinished line below a picture."""
    same_block = last.area.block == line.area.block
    if line.area.verse:
        return last.area.verse and same_block
    if last.ends_sentence or last.indent > measures.indent or not line.line.text[0].islower():
        return False
    full = max(abs(last.empty_share), line.indent / measures.indent) < _NEARLY
    return full and same_block and abs(last.line.size - line.line.size) < _NEARLY


def _starts_after_break(last: PlacedLine, line: PlacedLine, measures: Measures) -> bool:
    """Tell whether a new page or column begins with a new paragraph."""
    ended, quoted = last.ends_sentence, line.area.kind == "quote"
    if last.area.kind != line.area.kind:
        # One line at the foot does not show that it opens the block that goes on overleaf.
        apart = abs(last.area.offset + last.indent - line.area.offset - line.indent)
        return ended or (quoted and apart > _SAME_PLACE)
    if quoted and ended and line.line.text[0] in _OPENING_QUOTES:
        return True
    if line.indent > measures.indent and (ended or last.empty_share > 0.25):
        return True
    return ended and last.ends_early and bool(_CAPITAL.match(line.line.text))

"""Rebuild paragraphs, quotes and verse from the places of the lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from memoirist.data.schema.records import BlockKind
from memoirist.extractors.pdf.layout.columns import SENTENCE_END, Margins, Measures
from memoirist.extractors.pdf.layout.geometry import Line
from memoirist.extractors.pdf.structure.shapes import (
    OPENS_UPPER,
    SAME_PLACE,
    SLIGHT_GAP,
    block_kind,
    block_left,
    hangs,
    is_set_by_hand,
    is_verse,
    opens,
)
from memoirist.extractors.settings import ExtractSettings

_OPENING_QUOTES = '"“”«„'
# A line that leaves this share empty was ended by hand; one set to the right starts so far in.
_FORCED = 0.3
_NEARLY = 0.05
_SALUTES = re.compile(r"[,:;—–]$")
# A frame with fewer lines that hang is not taken as a list with hanging indents.
_HANGING_LINES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The edges that the lines of a frame, or of an indented block in it, keep to, in points.

    `block` numbers the indented run, `offset` is how far that is indented; in a `hanging` one only
    first lines stand out.
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


class Placed(NamedTuple):
    """One body line with the shape that it belongs to."""

    line: Line
    shape: Shape

    @property
    def indent(self) -> float:
        """Return how far the line starts from its own left edge, in points."""
        return self.line.x0 - self.shape.left

    @property
    def short(self) -> float:
        """Return the share of a full line that this one leaves empty at the right."""
        return (self.shape.right - self.line.x1) / max(self.shape.right - self.shape.left, 1.0)


def placed(
    lines: Sequence[Line],
    margins: Margins,
    frame: int,
    measures: Measures,
    settings: ExtractSettings,
) -> list[Placed]:
    """Return the lines of one frame with the indented blocks among them found."""
    plain = Shape(frame=frame, left=margins.left, right=margins.right, justified=margins.justified)
    if hangs(lines, _HANGING_LINES):
        hanging = replace(plain, block=frame * 1000, hanging=True)
        return [Placed(line, hanging) for line in lines]
    runs = list(_runs(lines, margins, measures, settings))
    indented = [run for run in runs if run[0].x0 - margins.left > settings.indent_points]
    # What one run shows to be the left edge of a block holds for its neighbours at that place.
    lefts = [left for run in indented if (left := block_left(run)) is not None]
    found: list[Placed] = []
    for number, run in enumerate(runs):
        left = min(line.x0 for line in run)
        in_block = any(abs(left - each) < SAME_PLACE for each in lefts) and not (
            number + 1 < len(runs) and opens(run, runs[number + 1], margins, measures)
        )
        shape = plain
        by_hand = is_set_by_hand(run, margins, measures)
        if run in indented and (in_block or by_hand or hangs(run, 1)):
            verse = by_hand or is_verse(run, margins)
            peers = [line for each in indented for line in each if line.x0 >= left - SAME_PLACE]
            shape = replace(
                plain,
                left=left,
                offset=left - margins.left,
                right=max(line.x1 for line in (run if verse else peers)),
                block=frame * 1000 + number,
                kind=block_kind(run, verse, margins, measures, settings),
                verse=verse,
                hanging=not (in_block or by_hand),
            )
        found.extend(Placed(line, shape) for line in run)
    return found


def _runs(
    lines: Sequence[Line], margins: Margins, measures: Measures, settings: ExtractSettings
) -> Iterator[list[Line]]:
    """Give the lines in runs that are alike in indent (or none), size and distance."""
    run: list[Line] = []
    for line in lines:
        if run:
            last = run[-1]
            same_side = (last.x0 - margins.left > settings.indent_points) == (
                line.x0 - margins.left > settings.indent_points
            )
            far = last.y - line.y > 0.5 * (1 + settings.gap_ratio) * measures.leading
            if not same_side or far or abs(last.size - line.size) > 0.03 * measures.size:
                yield run
                run = []
        run.append(line)
    if run:
        yield run


def paragraphs(
    lines: Sequence[Placed], measures: Measures, settings: ExtractSettings
) -> Iterator[list[Placed]]:
    """Give the paragraphs of a run of lines without headings between them."""
    runs: list[list[Placed]] = []
    for line in lines:
        if not runs or _starts(runs[-1], line, measures, settings):
            runs.append([])
        runs[-1].append(line)
    quoted = [run[-1].shape.kind == "quote" for run in runs]
    for n, run in enumerate(runs):
        if len(run) == 1 and _to_the_right(run[0]) and any(quoted[max(0, n - 1) : n + 2]):
            # The date and the name of a letter that is set as a quotation.
            yield [run[0]._replace(shape=replace(run[0].shape, kind="quote"))]
        else:
            yield run


def _to_the_right(line: Placed) -> bool:
    return line.indent > _FORCED * (line.shape.right - line.shape.left) and not line.shape.verse


def _starts(
    run: Sequence[Placed], line: Placed, measures: Measures, settings: ExtractSettings
) -> bool:
    last = run[-1]
    ended = bool(SENTENCE_END.search(last.line.text))
    if last.shape.frame != line.shape.frame:
        return _starts_after_break(last, line, ended, settings)
    gap = last.line.y - line.line.y
    if gap < 0.4 * measures.size and line.line.x0 > last.line.x0:
        return False
    if gap > settings.gap_ratio * measures.leading:
        return not _goes_on_below(last, line, ended, settings)
    if line.shape.hanging and last.shape.block == line.shape.block:
        return line.line.x0 < last.line.x0 - SAME_PLACE
    if last.shape.block != line.shape.block:
        # A hanging indent goes on below an unfinished line that fills its measure.
        hanging = line.shape.block is not None and last.shape.block is None and not ended
        return not (hanging and last.short < 0.03 and last.indent < settings.indent_points)
    if line.shape.verse:
        return False
    if abs(last.line.size - line.line.size) > 0.08 * measures.size:
        return True
    if line.indent > settings.indent_points or _to_the_right(last):
        return True
    upper = bool(OPENS_UPPER.match(line.line.text))
    if len(run) == 1 and upper and last.shape.justified and last.short > _FORCED:
        # A salutation ends no sentence, and leaves most of its line empty.
        return ended or bool(_SALUTES.search(last.line.text))
    # In a typeset book even a slight extra distance means something.
    parted = measures.even and gap > SLIGHT_GAP * measures.leading
    return ended and (_ends_early(last) or parted) and upper


def _goes_on_below(last: Placed, line: Placed, ended: bool, settings: ExtractSettings) -> bool:
    """Tell whether verse goes on after a space, or a full unfinished line below a picture."""
    if line.shape.verse:
        return last.shape.verse and last.shape.block == line.shape.block
    if ended or last.indent > settings.indent_points or not line.line.text[0].islower():
        return False
    flush = max(abs(last.short), line.indent / settings.indent_points) < _NEARLY
    same = last.shape.block == line.shape.block and abs(last.line.size - line.line.size) < _NEARLY
    return flush and same


def _starts_after_break(last: Placed, line: Placed, ended: bool, settings: ExtractSettings) -> bool:
    """Tell whether a new page or column begins with a new paragraph."""
    if last.shape.kind != line.shape.kind:
        # One line at the foot does not show that it opens the block that goes on overleaf.
        apart = abs(last.shape.offset + last.indent - line.shape.offset - line.indent)
        return ended or (line.shape.kind == "quote" and apart > SAME_PLACE)
    if line.shape.kind == "quote" and ended and line.line.text[0] in _OPENING_QUOTES:
        return True
    indented = line.indent > settings.indent_points
    if indented and (ended or last.short > 0.25):
        return True
    return ended and _ends_early(last) and bool(OPENS_UPPER.match(line.line.text))


def _ends_early(last: Placed) -> bool:
    """Tell whether a line stops well before the margin that the others reach."""
    return not last.shape.verse and last.short > (0.08 if last.shape.justified else 0.3)

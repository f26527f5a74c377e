"""Define glyphs, lines and pages with their places, and measure the usual sizes of a book."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median, median_low
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from memoirist.data.schema.records import BlockKind

if TYPE_CHECKING:
    from memoirist.extractors.settings import ExtractSettings


# Stands for a character whose meaning no font and no encoding gives.
UNKNOWN = "\ufffd"

T = TypeVar("T")


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

    `aside` when the line is a note by its place alone, as the small notes in vertical columns.

    A line is equal to itself alone: two equal lines may be drawn twice, and the kind of each line
    is stored under the line as key.
    """

    page: int
    x0: float
    x1: float
    y: float
    size: float
    text: str
    bold: float = 0.0
    marks: tuple[tuple[int, int], ...] = ()
    aside: bool = False


# The kind of each line that is known not to be body text.
LineKinds = dict[Line, BlockKind]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLines:
    """The lines of one page as an engine reads them.

    `n_turned` counts glyphs that do not run upright; `error` says why there are no lines.
    `lost_fonts` names fonts that are neither in the file nor on the machine, whose text is lost.
    """

    page: int
    width: float = 0.0
    height: float = 0.0
    lines: tuple[Line, ...] = ()
    has_image: bool = False
    n_turned: int = 0
    error: str | None = None
    lost_fonts: tuple[str, ...] = ()

    @property
    def n_chars(self) -> int:
        """Return the number of characters of all lines."""
        return sum(len(line.text) for line in self.lines)

    @property
    def n_unmapped(self) -> int:
        """Return the number of characters whose meaning is unknown."""
        return sum(line.text.count(UNKNOWN) for line in self.lines)

    @property
    def unmapped_share(self) -> float:
        """Return the share of characters whose meaning is unknown."""
        return self.n_unmapped / max(self.n_chars, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The lines of one page, or of one of its two columns (`side` 0 and 1), top to bottom."""

    page: int
    side: int
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """The usual font size and line distance of a book, and the thresholds that follow from them.

    All are points. `even` when nearly all lines keep the usual distance, as in any book that is
    no scan. Larger type than `heading_size` is a heading, a larger distance than `gap` separates
    paragraphs, a larger indent than `indent` begins one.
    """

    size: float
    leading: float
    even: bool
    heading_size: float
    footnote_size: float
    gap: float
    indent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Margins:
    """Left and right edge of a frame's text, in points; `justified` when lines end together."""

    left: float
    right: float
    justified: bool

    @property
    def width(self) -> float:
        """Return the length of a full line."""
        return self.right - self.left


def groups(items: Iterable[T], joins: Callable[[list[T], T], bool]) -> list[list[T]]:
    """Return neighbouring items in groups: an item for which `joins` holds joins the last group."""
    grouped: list[list[T]] = []
    for item in items:
        if grouped and joins(grouped[-1], item):
            grouped[-1].append(item)
        else:
            grouped.append([item])
    return grouped


def rows_of(lines: Iterable[Line]) -> list[list[Line]]:
    """Return `lines` by rows: the cells of a table stand beside each other."""
    return groups(lines, lambda row, line: abs(row[0].y - line.y) < 0.4 * line.size)


def measures_of(frames: Sequence[Frame], settings: ExtractSettings) -> Measures:
    """Return the size that half of the characters do not exceed, and the line distance at it."""
    sizes: Counter[float] = Counter()
    for frame in frames:
        for line in frame.lines:
            sizes[line.size] += len(line.text)
    size = median_low(sizes.elements()) if sizes else 0.0
    steps = [
        above.y - below.y
        for frame in frames
        for above, below in pairwise(frame.lines)
        if abs(above.size - size) < 0.1 * size and 0.8 * size < above.y - below.y < 2 * size
    ]
    leading = median(steps) if steps else 1.2 * size
    n_even = sum(1 for step in steps if abs(step - leading) < 0.02 * leading)
    return Measures(
        size=size,
        leading=leading,
        even=n_even >= 0.75 * len(steps),
        heading_size=settings.heading_size_ratio * size,
        footnote_size=settings.footnote_size_ratio * size,
        gap=settings.gap_ratio * leading,
        indent=settings.indent_points,
    )


def margins_of(lines: Sequence[Line], measures: Measures, usual: Margins | None) -> Margins | None:
    """Return the margins that the body lines of a frame show, or `usual` where they show none."""
    body = [line for line in lines if abs(line.size - measures.size) < 0.1 * measures.size]
    if len(body) < 4:
        return usual
    lefts = Counter(round(line.x0) for line in body)
    least = max(2, 0.1 * len(body))
    common = [x for x in lefts if lefts[x] + lefts[x + 1] >= least]
    left = float(min(common or lefts))
    if usual and abs(left - usual.left) > 3 and lefts[round(left)] < 0.4 * len(body):
        left = usual.left
    left = min((line.x0 for line in body if abs(line.x0 - left) < 1.5), default=left)
    rights = sorted(line.x1 for line in body)
    right = rights[int(0.85 * (len(rights) - 1))]
    if usual and right < usual.right - 3 and left > usual.left - 3:
        # Narrower than usual: the frame is all quotation or short lines, unless it is shifted.
        shift = left - usual.left if abs(right - left - usual.width) < 3 else 0.0
        left, right = (left if shift else min(left, usual.left)), usual.right + shift
    n_full = sum(1 for x in rights if abs(x - right) < 2)
    justified = n_full >= 0.5 * len(rights) or bool(usual and usual.justified)
    return Margins(left=left, right=right, justified=justified)

"""Pages become frames (a page, or one column of it), and the book's usual measures are taken."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from memoirist.data.schema.records import BlockKind
from memoirist.extractors.pdf.layout.geometry import Line, PageLines

# What the clean-up has found each line to be; a line that is not named yet is body text.
Kinds = dict[Line, BlockKind]

# French sets a space before the closing guillemet; a note's mark may follow the stop.
SENTENCE_END = re.compile(r"[.!?…:。！？：](?:\s?['\"’”»›)\]」』]+)*\s?\d{0,3}$")
_MIN_COLUMN_LINES = 6
_MIN_COLUMN_WIDTH = 0.18
_MAX_CROSSING = 0.2
_ENTRY = re.compile(r"[^\W\d_]\)?,? \d{1,3}(?:[–-]\d{1,3})?(?:, ?\d{1,3}(?:[–-]\d{1,3})?)*$")
_INDEX_SHARE = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The lines of one page, or of one of its two columns (`side` 0 and 1), top to bottom."""

    page: int
    side: int
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """The usual font size and line distance of a book, in points.

    `even` when nearly all lines keep that distance, as they do unless the book is a scan.
    """

    size: float
    leading: float
    even: bool


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


def frames_of(pages: Iterable[PageLines]) -> list[Frame]:
    """Return the frames of all pages in reading order."""
    return [frame for page in pages if page.lines for frame in _split(page)]


def _split(page: PageLines) -> list[Frame]:
    gutter = _gutter(page)
    if gutter is None:
        return [Frame(page=page.page, side=0, lines=page.lines)]
    right = [line for line in page.lines if line.x0 >= gutter]
    left = [line for line in page.lines if line.x1 <= gutter]
    foot = min(line.y for line in left + right)
    for line in page.lines:
        if line.x0 < gutter < line.x1:
            (right if line.y < foot else left).append(line)
    return [
        Frame(page=page.page, side=side, lines=tuple(sorted(lines, key=lambda each: -each.y)))
        for side, lines in ((0, left), (1, right))
    ]


def _gutter(page: PageLines) -> float | None:
    """Return the place of a gutter that two columns of real text leave free, if there is one."""
    lines, width = page.lines, page.width
    if len(lines) < 2 * _MIN_COLUMN_LINES:
        return None
    best: tuple[int, float] | None = None
    ends = sorted(line.x1 for line in lines)[_MIN_COLUMN_LINES - 1]
    starts = sorted(line.x0 for line in lines)[-_MIN_COLUMN_LINES]
    for step in range(35, 66):
        x = width * step / 100
        if not ends <= x <= starts:
            continue
        left = [line for line in lines if line.x1 <= x]
        right = [line for line in lines if line.x0 >= x]
        if min(len(left), len(right)) < _MIN_COLUMN_LINES:
            continue
        if not all(_is_prose(side, width) or _is_index(side) for side in (left, right)):
            continue
        crossing = len(lines) - len(left) - len(right)
        if crossing <= _MAX_CROSSING * len(lines) and (best is None or crossing < best[0]):
            best = (crossing, x)
    return best[1] if best else None


def _is_prose(lines: Sequence[Line], width: float) -> bool:
    return median(line.x1 - line.x0 for line in lines) >= _MIN_COLUMN_WIDTH * width


def _is_index(lines: Sequence[Line]) -> bool:
    """Tell whether most lines are entries of an index, which are short."""
    return sum(1 for line in lines if _ENTRY.search(line.text)) > _INDEX_SHARE * len(lines)


def measures_of(frames: Sequence[Frame]) -> Measures:
    """Return the size that half of the characters do not exceed, and its line distance."""
    sizes: Counter[float] = Counter()
    for frame in frames:
        for line in frame.lines:
            sizes[line.size] += len(line.text)
    half, size = sizes.total() / 2, 0.0
    for each in sorted(sizes):
        size = each
        half -= sizes[each]
        if half <= 0:
            break
    steps = [
        above.y - below.y
        for frame in frames
        for above, below in pairwise(frame.lines)
        if abs(above.size - size) < 0.1 * size and 0.8 * size < above.y - below.y < 2 * size
    ]
    leading = median(steps) if steps else 1.2 * size
    even = sum(1 for step in steps if abs(step - leading) < 0.02 * leading)
    return Measures(size=size, leading=leading, even=even >= 0.75 * len(steps))


def margins_of(lines: Sequence[Line], measures: Measures, usual: Margins | None) -> Margins | None:
    """Return the margins that the body lines of a frame show, or `usual` where they show none."""
    body = [line for line in lines if abs(line.size - measures.size) < 0.1 * measures.size]
    if len(body) < 4:
        return usual
    lefts = Counter(round(line.x0) for line in body)
    floor = max(2, 0.1 * len(body))
    common = [x for x in lefts if lefts[x] + lefts[x + 1] >= floor]
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
    even = sum(1 for x in rights if abs(x - right) < 2)
    justified = even >= 0.5 * len(rights) or bool(usual and usual.justified)
    return Margins(left=left, right=right, justified=justified)

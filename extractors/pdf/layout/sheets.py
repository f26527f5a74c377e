"""Two pages on one sheet, also out of order as imposed for binding, become single pages again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from memoirist.extractors.pdf.layout.geometry import Line, PageLines
from memoirist.extractors.pdf.structure.page_labels import folio_value

# A sheet is wider than high by at least this factor: half of it is a page of book proportions.
_WIDE = 1.15
_MAX_CROSSING = 0.02
# A half with fewer lines is a title, an imprint or the last words of a chapter.
_TELLING_LINES = 5
_SURE = 0.8
_OUTER_LINES = 2
_NUMBER = re.compile(r"^\W{0,3}(\d{1,4})\b|\b(\d{1,4})\W{0,3}$")
_FRONT = -1000
_NEAR_SHEETS = 4
_NEAR_FOLIOS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfolded:
    """The pages to read, in reading order and numbered by it, and where each lies in the file.

    `unplaced` are the pages of the file with a half whose place is unknown; `fault` says why the
    sheets cannot be read at all.
    """

    pages: tuple[PageLines, ...]
    page_in_file: dict[int, int] = field(default_factory=dict)
    unplaced: tuple[int, ...] = ()
    fault: str | None = None


@dataclass(slots=True, kw_only=True)
class _Half:
    """One half of a sheet, or a whole page that is not wide; `folio` once it is known."""

    whole: PageLines
    side: int
    lines: tuple[Line, ...]
    folio: int | None = None

    @property
    def shift(self) -> float:
        """Return how far right of the page's left edge this half begins."""
        return self.whole.width / 2 if self.side else 0.0


def unfolded(pages: Sequence[PageLines]) -> Unfolded:
    """Return the single pages of a file that shows two on each sheet; other files as they are.

    Sheets are known by their width, a gutter that text hardly crosses, and page numbers on both
    halves. Where these count up the halves keep their order; else they are sorted by them.
    """
    halves = [half for page in pages for half in _halves(page)]
    if not _are_sheets(pages, halves):
        return Unfolded(pages=tuple(pages))
    numbers = [_numbers(half) for half in halves]
    numbered = sum(1 for half, each in zip(halves, numbers, strict=True) if each and _tells(half))
    if numbered < 0.5 * sum(map(_tells, halves)):
        # Without page numbers these may be slides in two columns; their order is the file's.
        return Unfolded(pages=tuple(pages))
    if _count_up(numbers):
        return _in_order(halves)
    # A book that opens to the right has its first page on the right half.
    swapped = sorted(range(len(halves)), key=lambda n: (halves[n].whole.page, -halves[n].side))
    if _count_up([numbers[n] for n in swapped]):
        return _in_order([halves[n] for n in swapped])
    return _sorted(halves)


def _halves(page: PageLines) -> list[_Half]:
    if page.width <= _WIDE * page.height:
        return [_Half(whole=page, side=0, lines=page.lines)]
    middle = page.width / 2
    left = tuple(line for line in page.lines if line.x0 + line.x1 < 2 * middle)
    right = tuple(line for line in page.lines if line.x0 + line.x1 >= 2 * middle)
    return [_Half(whole=page, side=n, lines=lines) for n, lines in enumerate((left, right))]


def _tells(half: _Half) -> bool:
    return len(half.lines) >= _TELLING_LINES


def _are_sheets(pages: Sequence[PageLines], halves: Sequence[_Half]) -> bool:
    written = [page for page in pages if page.lines]
    wide = [page for page in written if page.width > _WIDE * page.height]
    if len(wide) < 2 or len(wide) < _SURE * len(written):
        return False
    lines = [(line, page.width / 2) for page in wide for line in page.lines]
    crossing = sum(1 for line, middle in lines if line.x0 < middle - 2 and line.x1 > middle + 2)
    if crossing > _MAX_CROSSING * len(lines):
        return False
    both = Counter(half.whole.page for half in halves if _tells(half))
    return sum(1 for count in both.values() if count == 2) >= 0.5 * len(wide)


def _outer(half: _Half) -> list[str]:
    texts = [line.text for line in half.lines]
    return [*texts[:_OUTER_LINES], *texts[-_OUTER_LINES:]]


def _numbers(half: _Half) -> set[int]:
    """Return the numbers that may be the half's folio: those at the edges of its outer lines."""
    found = (match for text in _outer(half) for match in _NUMBER.finditer(text))
    return {int(match[1] or match[2]) for match in found}


def _count_up(numbers: Sequence[set[int]]) -> bool:
    """Tell whether nearly all halves with numbers have one that counts up with their place."""
    offsets = Counter(number - place for place, each in enumerate(numbers) for number in each)
    if not offsets:
        return False
    return offsets.most_common(1)[0][1] >= _SURE * sum(1 for each in numbers if each)


def _in_order(halves: Sequence[_Half]) -> Unfolded:
    return _unfolded([(number, half) for number, half in enumerate(halves, start=1)], ())


def _unfolded(numbered: Sequence[tuple[int, _Half]], unplaced: Sequence[_Half]) -> Unfolded:
    return Unfolded(
        pages=tuple(_as_page(number, half) for number, half in numbered),
        page_in_file={number: half.whole.page for number, half in numbered},
        unplaced=tuple(half.whole.page for half in unplaced if half.lines),
    )


def _as_page(number: int, half: _Half) -> PageLines:
    shift = half.shift
    lines = tuple(
        replace(line, page=number, x0=line.x0 - shift, x1=line.x1 - shift) for line in half.lines
    )
    wide = half.whole.width > _WIDE * half.whole.height
    width = half.whole.width / 2 if wide else half.whole.width
    return replace(half.whole, page=number, width=width, lines=lines)


def _sorted(halves: Sequence[_Half]) -> Unfolded:
    """Return the halves in the order of their folios, or why these do not tell it."""
    for half in halves:
        half.folio = _folio(half)
    strays = _strays([half.folio for half in halves if half.folio is not None])
    for half in halves:
        if half.folio in strays:
            half.folio = None
    _infer(halves)
    known = sorted(
        (half for half in halves if half.folio is not None), key=lambda half: half.folio or 0
    )
    telling = [half for half in halves if _tells(half)]
    main = [half.folio for half in known if half.folio is not None and half.folio > 0]
    placed = sum(1 for half in telling if half.folio is not None)
    if placed < _SURE * len(telling) or len(main) < _SURE * (max(main) - min(main) + 1):
        return Unfolded(
            pages=(),
            fault=f"two pages on each sheet, out of order, and only {placed} of {len(telling)} "
            "have a page number that tells their place",
        )
    numbered: list[tuple[int, _Half]] = []
    number, last = 0, None
    for half in known:
        step = 1 if last is None else (half.folio or 0) - last
        # A missing leaf keeps odd pages odd.
        number += step if 0 < step <= _NEAR_SHEETS else 1
        last = half.folio or 0
        numbered.append((number, half))
    return _unfolded(numbered, [half for half in halves if half.folio is None])


def _folio(half: _Half) -> int | None:
    """Return the number that stands alone in an outer line, or at the edge of one.

    The very first and the very last line come before those next to them. Roman numbers count the
    pages before the first.
    """
    texts = [line.text for line in half.lines]
    for outer in (texts[:1] + texts[-1:], texts[1:2] + texts[-2:-1]):
        for text in outer:
            if (value := folio_value(text)) is not None:
                return value if value > 0 else _FRONT - value
        for text in outer:
            if match := _NUMBER.search(text):
                return int(match[1] or match[2])
    return None


def _strays(folios: Sequence[int]) -> set[int]:
    """Return the numbers that are no folios: those found twice, or far from all others."""
    once = sorted(set(folios))
    runs: list[list[int]] = []
    for folio in once:
        if runs and folio - runs[-1][-1] <= _NEAR_FOLIOS:
            runs[-1].append(folio)
        else:
            runs.append([folio])
    main = max(runs, key=len, default=[])
    far = {folio for folio in once if folio > 0 and folio not in main}
    return far | {folio for folio, count in Counter(folios).items() if count > 1}


def _infer(halves: Sequence[_Half]) -> None:
    """Give a half without a folio the one that its sheet leaves: in a gathering both add up."""
    sheets: dict[int, list[_Half]] = {}
    for half in halves:
        sheets.setdefault(half.whole.page, []).append(half)
    sums = {
        page: sum(half.folio or 0 for half in pair)
        for page, pair in sheets.items()
        if len(pair) == 2 and all((half.folio or 0) > 0 for half in pair)
    }
    taken = {half.folio for half in halves}
    for page, pair in sheets.items():
        unknown = [half for half in pair if half.folio is None and half.lines]
        known = [half.folio for half in pair if (half.folio or 0) > 0]
        near = [other for other in sums if abs(other - page) <= _NEAR_SHEETS]
        if len(unknown) == len(known) == 1 and near:
            nearest = min(near, key=lambda other: abs(other - page))
            folio = sums[nearest] - (known[0] or 0)
            if folio > 0 and folio not in taken:
                unknown[0].folio = folio
                taken.add(folio)

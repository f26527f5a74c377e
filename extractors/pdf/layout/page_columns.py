"""Divide sheets that show two pages into single pages, and pages into their columns.

Sheets may be out of order, as they are imposed for binding.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.extractors.pdf.layout.geometry import Frame, Line, PageLines, groups
from memoirist.extractors.pdf.structure.running_heads import folio_value

# A sheet is wider than high by at least this factor: half of it is a page of book proportions.
_WIDE = 1.15
_MAX_CROSSING_SHEETS = 0.02
# A half with fewer lines is a title, an imprint or the last words of a chapter.
_MIN_HALF_LINES = 5
_NEARLY_ALL = 0.8
_OUTER_LINES = 2
_NUMBER = re.compile(r"^\W{0,3}(\d{1,4})\b|\b(\d{1,4})\W{0,3}$")
# Roman numbers count the pages before the first.
_BEFORE_FIRST = -1000
_NEAR_SHEETS = 4
_NEAR_FOLIOS = 10

_MIN_COLUMN_LINES = 6
_MIN_COLUMN_WIDTH = 0.18
_MAX_CROSSING_COLUMNS = 0.2
_INDEX_ENTRY = re.compile(r"[^\W\d_]\)?,? \d{1,3}(?:[–-]\d{1,3})?(?:, ?\d{1,3}(?:[–-]\d{1,3})?)*$")
_INDEX_SHARE = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class SinglePages:
    """The pages to read, in reading order and numbered by it, and where each lies in the file.

    `page_in_file` is empty where the file shows single pages. `unplaced` are the pages of the
    file with a half whose place is unknown.
    """

    pages: Sequence[PageLines]
    page_in_file: dict[int, int] = field(default_factory=dict)
    unplaced: tuple[int, ...] = ()


def unfold_sheets(path: str, pages: Sequence[PageLines]) -> SinglePages:
    """Return the single pages of a file that shows two on each sheet; other files as they are.

    Sheets are known by their width, a gutter that text hardly crosses, and page numbers on both
    halves. Where these count up the halves keep their order; else they are sorted by them. Raise
    SourceUnreadable where they do not tell the order.
    """
    halves = [half for page in pages for half in _halves(page)]
    if not _are_sheets(pages, halves):
        return SinglePages(pages=pages)
    n_numbered = sum(1 for half in halves if _is_full(half) and _edge_numbers(half))
    if n_numbered < 0.5 * sum(map(_is_full, halves)):
        # Without page numbers these may be slides in two columns; their order is the file's.
        return SinglePages(pages=pages)
    # A book that opens to the right has its first page on the right half.
    swapped = [half for page in pages for half in reversed(_halves(page))]
    for ordered in (halves, swapped):
        if _count_up(ordered):
            return _single_pages(list(enumerate(ordered, start=1)), ())
    return _sort_by_folio(path, halves)


def _is_wide(page: PageLines) -> bool:
    return page.width > _WIDE * page.height


def _halves(page: PageLines) -> list[PageLines]:
    """Return both halves of a sheet, each as a page of its own; a page that is not wide whole."""
    if not _is_wide(page):
        return [page]
    middle = page.width / 2
    left = [line for line in page.lines if line.x0 + line.x1 < page.width]
    right = [
        replace(line, x0=line.x0 - middle, x1=line.x1 - middle)
        for line in page.lines
        if line.x0 + line.x1 >= page.width
    ]
    return [replace(page, width=middle, lines=tuple(lines)) for lines in (left, right)]


def _is_full(half: PageLines) -> bool:
    return len(half.lines) >= _MIN_HALF_LINES


def _are_sheets(pages: Sequence[PageLines], halves: Sequence[PageLines]) -> bool:
    written = [page for page in pages if page.lines]
    wide = [page for page in written if _is_wide(page)]
    if len(wide) < 2 or len(wide) < _NEARLY_ALL * len(written):
        return False
    lines = [(line, page.width / 2) for page in wide for line in page.lines]
    n_crossing = sum(1 for line, middle in lines if line.x0 < middle - 2 and line.x1 > middle + 2)
    full = Counter(half.page for half in halves if _is_full(half))
    n_pairs = sum(1 for count in full.values() if count == 2)
    return n_crossing <= _MAX_CROSSING_SHEETS * len(lines) and n_pairs >= 0.5 * len(wide)


def _edge_numbers(half: PageLines) -> set[int]:
    """Return the numbers that may be the half's folio: those at the edges of its outer lines."""
    outer = (*half.lines[:_OUTER_LINES], *half.lines[-_OUTER_LINES:])
    matches = (match for line in outer for match in _NUMBER.finditer(line.text))
    return {int(match[1] or match[2]) for match in matches}


def _count_up(halves: Iterable[PageLines]) -> bool:
    """Tell whether nearly all halves with numbers have one that counts up with their place."""
    edges = [_edge_numbers(half) for half in halves]
    offsets = Counter(number - place for place, edge in enumerate(edges) for number in edge)
    return max(offsets.values(), default=-1) >= _NEARLY_ALL * sum(map(bool, edges))


def _single_pages(
    numbered: Sequence[tuple[int, PageLines]], unplaced: Iterable[PageLines]
) -> SinglePages:
    return SinglePages(
        pages=[
            replace(
                half, page=number, lines=tuple(replace(line, page=number) for line in half.lines)
            )
            for number, half in numbered
        ],
        page_in_file={number: half.page for number, half in numbered},
        unplaced=tuple(half.page for half in unplaced if half.lines),
    )


def _sort_by_folio(path: str, halves: Sequence[PageLines]) -> SinglePages:
    """Return the halves in the order of their folios."""
    folios = [_folio(half) for half in halves]
    strays = _strays([folio for folio in folios if folio is not None])
    folios = [None if folio in strays else folio for folio in folios]
    _infer_folios(halves, folios)
    placed = sorted((folio, n) for n, folio in enumerate(folios) if folio is not None)
    full = [folio for folio, half in zip(folios, halves, strict=True) if _is_full(half)]
    n_placed = len(full) - full.count(None)
    main = [folio for folio, _ in placed if folio > 0]
    whole = main and len(main) >= _NEARLY_ALL * (main[-1] - main[0] + 1)
    if not whole or n_placed < _NEARLY_ALL * len(full):
        raise SourceUnreadable(
            f"the PDF {path!r} has two pages on each sheet, out of order, and only {n_placed} of"
            f" {len(full)} have a page number to sort by",
            "split it into single pages in reading order and give that file",
        )
    numbered: list[tuple[int, PageLines]] = []
    number, last = 0, placed[0][0] - 1
    for folio, n in placed:
        # A missing leaf keeps odd pages odd.
        number += folio - last if folio - last <= _NEAR_SHEETS else 1
        last = folio
        numbered.append((number, halves[n]))
    unplaced = [half for folio, half in zip(folios, halves, strict=True) if folio is None]
    return _single_pages(numbered, unplaced)


def _folio(half: PageLines) -> int | None:
    """Return the number that stands alone in an outer line, or at the edge of one.

    The very first and the very last line come before those next to them.
    """
    texts = [line.text for line in half.lines]
    for outer in (texts[:1] + texts[-1:], texts[1:2] + texts[-2:-1]):
        for text in outer:
            if (value := folio_value(text)) is not None:
                return value if value > 0 else _BEFORE_FIRST - value
        for text in outer:
            if match := _NUMBER.search(text):
                return int(match[1] or match[2])
    return None


def _strays(folios: Sequence[int]) -> set[int]:
    """Return the numbers that are no folios: those that occur twice, or far from all others."""
    runs = groups(sorted(set(folios)), lambda run, folio: folio - run[-1] <= _NEAR_FOLIOS)
    main = max(runs, key=len, default=[])
    far = {folio for folio in folios if folio > 0 and folio not in main}
    return far | {folio for folio, count in Counter(folios).items() if count > 1}


def _infer_folios(halves: Sequence[PageLines], folios: list[int | None]) -> None:
    """Give a half without a folio the one that its sheet leaves: in a gathering both add up."""
    sheets: defaultdict[int, list[int]] = defaultdict(list)
    for n, half in enumerate(halves):
        sheets[half.page].append(n)
    known = {
        page: [folio for n in pair if (folio := folios[n]) is not None and folio > 0]
        for page, pair in sheets.items()
    }
    sums = {page: sum(pair) for page, pair in known.items() if len(pair) == 2}
    for page, pair in sheets.items():
        unknown = [n for n in pair if folios[n] is None and halves[n].lines]
        near = [sheet for sheet in sums if abs(sheet - page) <= _NEAR_SHEETS]
        if len(unknown) == len(known[page]) == 1 and near:
            folio = sums[min(near, key=lambda sheet: abs(sheet - page))] - known[page][0]
            if folio > 0 and folio not in folios:
                folios[unknown[0]] = folio


def frames_of(pages: Iterable[PageLines]) -> list[Frame]:
    """Return the frames of all pages in reading order: whole pages, or left and right column."""
    return [frame for page in pages if page.lines for frame in _frames(page)]


def _frames(page: PageLines) -> list[Frame]:
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
        Frame(page=page.page, side=side, lines=tuple(sorted(lines, key=lambda line: -line.y)))
        for side, lines in enumerate((left, right))
    ]


def _gutter(page: PageLines) -> float | None:
    """Return the place of a gutter that two columns of real text leave free, if there is one."""
    lines, width = page.lines, page.width
    if len(lines) < 2 * _MIN_COLUMN_LINES:
        return None
    ends = sorted(line.x1 for line in lines)[_MIN_COLUMN_LINES - 1]
    starts = sorted(line.x0 for line in lines)[-_MIN_COLUMN_LINES]
    gutters: list[tuple[int, float]] = []
    for x in (width * step / 100 for step in range(35, 66)):
        if not ends <= x <= starts:
            continue
        left = [line for line in lines if line.x1 <= x]
        right = [line for line in lines if line.x0 >= x]
        n_crossing = len(lines) - len(left) - len(right)
        if n_crossing <= _MAX_CROSSING_COLUMNS * len(lines) and all(
            _is_prose(side, width) or _is_index(side) for side in (left, right)
        ):
            gutters.append((n_crossing, x))
    return min(gutters)[1] if gutters else None


def _is_prose(lines: Sequence[Line], width: float) -> bool:
    return median(line.x1 - line.x0 for line in lines) >= _MIN_COLUMN_WIDTH * width


def _is_index(lines: Sequence[Line]) -> bool:
    """Tell whether most lines are entries of an index, which are short."""
    return sum(1 for line in lines if _INDEX_ENTRY.search(line.text)) > _INDEX_SHARE * len(lines)

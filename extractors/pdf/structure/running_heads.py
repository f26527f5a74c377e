"""Find running heads and folios by comparing the outer lines of neighbouring pages."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Literal

from memoirist.data.schema.records import BlockKind
from memoirist.extractors.pdf.layout.columns import Frame, Kinds, Measures
from memoirist.extractors.pdf.layout.geometry import Line
from memoirist.extractors.pdf.structure.page_labels import folio_value
from memoirist.extractors.settings import ExtractSettings

_DIGITS = re.compile(r"\d+")
_EDGE_ROMAN = re.compile(r"^[ivxlcdm]+\b|\b[ivxlcdm]+$")
_ISOLATED = 1.45
_MIN_MATCHES = 2
# A line no farther than this from the next is prose, which may sound like its neighbours, unless
# it is the same but for its numbers and a smudge.
_TIGHT = 1.2
_EQUAL = 0.95
_SAME_ROW = 0.3
# A place that has a line of its own on fewer of the near pages is no running head's.
_OFTEN = 0.37

End = Literal["top", "foot"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outer:
    """The outer lines of one end of a frame, outermost first.

    `alone` ends in a wide gap; `prose` is set like the text and no farther from it than its lines.
    """

    frame: Frame
    lines: tuple[Line, ...]
    alone: tuple[Line, ...]
    prose: tuple[Line, ...]


def furniture(frames: Sequence[Frame], measures: Measures, settings: ExtractSettings) -> Kinds:
    """Return the lines of `frames` that are running heads or folios."""
    kinds: Kinds = {}
    big = settings.heading_size_ratio * measures.size
    for side in (0, 1):
        same_side = [frame for frame in frames if frame.side == side]
        tops = [_outer(frame, "top", measures, settings) for frame in same_side]
        feet = [_outer(frame, "foot", measures, settings) for frame in same_side]
        counted = _counted_folios([*tops, *feet], big)
        for outers in (tops, feet):
            for at, outer in enumerate(outers):
                near = list(_neighbours(outers, at, settings.furniture_reach_pages))
                for line in _peel(outer, near, counted, measures, settings):
                    kinds[line] = _kind(line)
        _keep_lone_heads(same_side, kinds, settings)
    return kinds


def _keep_lone_heads(frames: Sequence[Frame], kinds: Kinds, settings: ExtractSettings) -> None:
    """Take out of `kinds` the heads of pages that run over nothing, as all pages near them do.

    An empty page of a book may show its head alone, but then its neighbours have text.
    """
    reach = settings.furniture_reach_pages
    written = {frame.page for frame in frames if any(line not in kinds for line in frame.lines)}
    for frame in frames:
        if written.isdisjoint(range(frame.page - reach, frame.page + reach + 1)):
            for line in frame.lines:
                if kinds[line] == "running_head":
                    del kinds[line]


def _outer(frame: Frame, end: End, measures: Measures, settings: ExtractSettings) -> _Outer:
    lines = frame.lines if end == "top" else frame.lines[::-1]
    outer = lines[: settings.furniture_outer_lines]
    row = [line for line in outer if abs(line.y - lines[0].y) < 0.4 * measures.size]
    inner = lines[len(row)] if len(lines) > len(row) else None
    gap = abs(lines[0].y - inner.y) if inner else 2 * measures.leading
    alone = tuple(row) if gap > _ISOLATED * measures.leading else ()
    prose = tuple(
        line
        for line, after in zip(outer, lines[1:], strict=False)
        if abs(line.size - measures.size) < 0.1
        if _SAME_ROW * line.size < abs(line.y - after.y) < _TIGHT * measures.leading
    )
    return _Outer(frame=frame, lines=tuple(outer), alone=alone, prose=prose)


def _neighbours(outers: Sequence[_Outer], at: int, reach: int) -> Iterator[_Outer]:
    page = outers[at].frame.page
    for other in outers[max(0, at - reach) : at + reach + 1]:
        if other.frame.page != page and abs(other.frame.page - page) <= reach:
            yield other


def _peel(
    outer: _Outer,
    near: Sequence[_Outer],
    counted: set[Line],
    measures: Measures,
    settings: ExtractSettings,
) -> Iterator[Line]:
    """Give the outer lines from outside in, as long as they are furniture."""
    similarity = settings.furniture_similarity
    # What shares its row with the folio is a head, whatever its neighbours are.
    folios = [line for line in outer.lines if line in counted]
    for line in outer.lines:
        if line.size >= settings.heading_size_ratio * measures.size:
            return
        if not (
            line in counted
            or any(abs(line.y - folio.y) < _SAME_ROW * line.size for folio in folios)
            or _recurs(line, near, _EQUAL if line in outer.prose else similarity, settings)
            or (line in outer.alone and _place_recurs(line, near, settings))
        ):
            return
        yield line


def _recurs(
    line: Line, near: Sequence[_Outer], similarity: float, settings: ExtractSettings
) -> bool:
    """Tell whether two neighbours, one of them close, repeat the line in its place."""
    masked = _masked(line.text)
    pages = [
        other.frame.page
        for other in near
        if any(
            abs(each.y - line.y) < settings.furniture_shift_points
            and _alike(*sorted((masked, _masked(each.text))), similarity)
            for each in other.lines
        )
    ]
    # Chapter openers three pages apart look alike too; a running head is never far away.
    return len(pages) >= _MIN_MATCHES and any(abs(page - line.page) <= 2 for page in pages)


def _place_recurs(line: Line, near: Sequence[_Outer], settings: ExtractSettings) -> bool:
    """Tell whether neighbours have a line of its own in this place, and hardly ever text."""
    here = alone = 0
    for other in near:
        for each in other.lines:
            if abs(each.y - line.y) < settings.furniture_shift_points:
                here += 1
                alone += each in other.alone
                break
    # Chapters that open every third page have their titles in one place too.
    often = alone >= max(_MIN_MATCHES, _OFTEN * len(near))
    return often and alone >= settings.furniture_similarity * here


def _counted_folios(outers: Sequence[_Outer], big: float) -> set[Line]:
    """Return the outermost numbers that keep step with the page count.

    A scan of open books counts two of them to a page.
    """
    found: list[tuple[Line, tuple[bool, int, int]]] = []
    for outer in outers:
        for line in outer.lines[:2]:
            value = folio_value(line.text)
            outermost = abs(line.y - outer.lines[0].y) < 0.4 * line.size
            if value is not None and outermost and line.size < big:
                found.extend(
                    (line, (value > 0, pace, abs(value) - pace * line.page)) for pace in (1, 2)
                )
    steps = Counter(step for _, step in found)
    return {line for line, step in found if steps[step] > _MIN_MATCHES}


@lru_cache(maxsize=65536)
def _masked(text: str) -> str:
    return _EDGE_ROMAN.sub("#", _DIGITS.sub("#", text.casefold()))


@lru_cache(maxsize=65536)
def _alike(one: str, other: str, share: float) -> bool:
    if one == other:
        return True
    if min(len(one), len(other)) < share * max(len(one), len(other)) / (2 - share):
        return False
    # Two lines of prose share most letters, but hardly a word: heads share both.
    ours, theirs = set(one.split()), set(other.split())
    if len(ours & theirs) * 3 < min(len(ours), len(theirs)) and min(len(ours), len(theirs)) > 2:
        return False
    matcher = SequenceMatcher(None, one, other, autojunk=False)
    return matcher.quick_ratio() >= share and matcher.ratio() >= share


def _kind(line: Line) -> BlockKind:
    return "folio" if folio_value(line.text) is not None else "running_head"

"""Find running heads and folios, and the number that each page prints.

Running heads are found by comparing the outer lines of neighbouring pages. The printed number of a
page comes from its folio, also where a page prints none.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from typing import NamedTuple

from memoirist.extractors.pdf.layout.geometry import Frame, Line, LineKinds, Measures
from memoirist.extractors.settings import ExtractSettings

_DIGITS = re.compile(r"\d+")
_EDGE_ROMAN = re.compile(r"^[ivxlcdm]+\b|\b[ivxlcdm]+$")
# A row with this distance, in leadings, to the next line stands by itself.
_ISOLATED = 1.45
_MIN_MATCHES = 2
# A line no farther than this from the next is prose, which may sound like its neighbours, unless
# it is the same but for its numbers and a smudge.
_TIGHT = 1.2
_EQUAL = 0.95
_SAME_ROW = 0.3
# A place that has an isolated line on fewer of the near pages is no running head's.
_OFTEN = 0.37

_ROMAN = (
    *((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l")),
    *((40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i")),
)
_VALUES = {letter: value for value, letter in _ROMAN if len(letter) == 1}
# Without IGNORECASE, which takes a dotless i for an I.
_FOLIO = re.compile(r"^\W*(?:(?:[Pp]age|PAGE)\s+)?(\d{1,4}|[ivxlcdmIVXLCDM]{1,8})\W*$")
# The number of a head that stands on one line with its title, before or after it.
_IN_HEAD = re.compile(r"^\W*(\d{1,4})\s+\D|\D\s+(\d{1,4})\W*$|^([ivxlc]+)\s+[A-Z]|\s([ivxlc]+)$")
# So many pages must count on together before their numbers are accepted.
_MIN_COUNTING = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _OuterLines:
    """The outer lines of one end of a frame, outermost first.

    `isolated` ends in a wide gap; `prose` is set like the text and no farther from it than its
    lines.
    """

    page: int
    lines: Sequence[Line]
    isolated: Sequence[Line]
    prose: Sequence[Line]


def running_heads(
    frames: Sequence[Frame], measures: Measures, settings: ExtractSettings
) -> LineKinds:
    """Return the lines of `frames` that are running heads or folios."""
    kinds: LineKinds = {}
    for side in (0, 1):
        same_side = [frame for frame in frames if frame.side == side]
        ends = [
            [
                _outer_lines(frame.page, frame.lines[::step], measures, settings)
                for frame in same_side
            ]
            for step in (1, -1)
        ]
        counted = _counted_folios([outer for end in ends for outer in end], measures)
        for end in ends:
            for at, outer in enumerate(end):
                near = list(_neighbours(end, at, settings.furniture_reach_pages))
                for line in _heads_and_folios(outer, near, counted, measures, settings):
                    folio = folio_value(line.text) is not None
                    kinds[line] = "folio" if folio else "running_head"
        _keep_lone_heads(same_side, kinds, settings.furniture_reach_pages)
    return kinds


def _keep_lone_heads(frames: Sequence[Frame], kinds: LineKinds, reach: int) -> None:
    """Take out of `kinds` the heads of pages without text whose near pages have none either.

    An empty page of a book may show its head alone, but then its neighbours have text.
    """
    written = {frame.page for frame in frames if any(line not in kinds for line in frame.lines)}
    for frame in frames:
        if written.isdisjoint(range(frame.page - reach, frame.page + reach + 1)):
            for line in frame.lines:
                if kinds[line] == "running_head":
                    del kinds[line]


def _outer_lines(
    page: int, lines: Sequence[Line], measures: Measures, settings: ExtractSettings
) -> _OuterLines:
    outer = lines[: settings.furniture_outer_lines]
    row = [line for line in outer if abs(line.y - lines[0].y) < 0.4 * measures.size]
    inner = lines[len(row) : len(row) + 1]
    isolated = not inner or abs(lines[0].y - inner[0].y) > _ISOLATED * measures.leading
    prose = [
        line
        for line, after in zip(outer, lines[1:], strict=False)
        if abs(line.size - measures.size) < 0.1
        if _SAME_ROW * line.size < abs(line.y - after.y) < _TIGHT * measures.leading
    ]
    return _OuterLines(page=page, lines=outer, isolated=row if isolated else (), prose=prose)


def _neighbours(outers: Sequence[_OuterLines], at: int, reach: int) -> Iterator[_OuterLines]:
    page = outers[at].page
    for other in outers[max(0, at - reach) : at + reach + 1]:
        if 0 < abs(other.page - page) <= reach:
            yield other


def _heads_and_folios(
    outer: _OuterLines,
    near: Sequence[_OuterLines],
    counted: set[Line],
    measures: Measures,
    settings: ExtractSettings,
) -> Iterator[Line]:
    """Give the outer lines from outside in, up to the first that is neither head nor folio."""
    # What shares its row with the folio is a head, whatever its neighbours are.
    folios = [line for line in outer.lines if line in counted]
    for line in outer.lines:
        similarity = _EQUAL if line in outer.prose else settings.furniture_similarity
        if line.size >= measures.heading_size or not (
            any(abs(line.y - folio.y) < _SAME_ROW * line.size for folio in folios)
            or _text_recurs(line, near, similarity, settings)
            or (line in outer.isolated and _place_recurs(line, near, settings))
        ):
            return
        yield line


def _text_recurs(
    line: Line, near: Sequence[_OuterLines], similarity: float, settings: ExtractSettings
) -> bool:
    """Tell whether two neighbours, one of them close, repeat the line in its place."""
    masked = _masked(line.text)
    pages = [
        other.page
        for other in near
        if any(
            abs(candidate.y - line.y) < settings.furniture_shift_points
            and _alike(*sorted((masked, _masked(candidate.text))), similarity)
            for candidate in other.lines
        )
    ]
    # Chapter openers three pages apart look alike too; a running head is never far away.
    return len(pages) >= _MIN_MATCHES and any(abs(page - line.page) <= 2 for page in pages)


def _place_recurs(line: Line, near: Sequence[_OuterLines], settings: ExtractSettings) -> bool:
    """Tell whether neighbours have an isolated line in this place, and hardly ever text."""
    n_lines = n_isolated = 0
    for other in near:
        for candidate in other.lines:
            if abs(candidate.y - line.y) < settings.furniture_shift_points:
                n_lines += 1
                n_isolated += candidate in other.isolated
                break
    # Chapters that open every third page have their titles in one place too.
    often = n_isolated >= max(_MIN_MATCHES, _OFTEN * len(near))
    return often and n_isolated >= settings.furniture_similarity * n_lines


def _counted_folios(outers: Sequence[_OuterLines], measures: Measures) -> set[Line]:
    """Return the outermost numbers that keep step with the page count.

    A scan of open books counts two of them to a page.
    """
    candidates: list[tuple[Line, tuple[bool, int, int]]] = []
    for outer in outers:
        for line in outer.lines[:2]:
            value = folio_value(line.text)
            outermost = abs(line.y - outer.lines[0].y) < 0.4 * line.size
            if value is not None and outermost and line.size < measures.heading_size:
                for pace in (1, 2):
                    step = (value > 0, pace, abs(value) - pace * line.page)
                    candidates.append((line, step))
    steps = Counter(step for _, step in candidates)
    return {line for line, step in candidates if steps[step] > _MIN_MATCHES}


@lru_cache(maxsize=65536)
def _masked(text: str) -> str:
    return _EDGE_ROMAN.sub("#", _DIGITS.sub("#", text.casefold()))


@lru_cache(maxsize=65536)
def _alike(first: str, second: str, share: float) -> bool:
    if first == second:
        return True
    short, long = sorted((len(first), len(second)))
    if short < share * long / (2 - share):
        return False
    # Two lines of prose share most letters, but hardly a word: heads share both.
    words, other_words = set(first.split()), set(second.split())
    n_words = min(len(words), len(other_words))
    if n_words > 2 and len(words & other_words) * 3 < n_words:
        return False
    matcher = SequenceMatcher(None, first, second, autojunk=False)
    return matcher.quick_ratio() >= share and matcher.ratio() >= share


class Numbering(NamedTuple):
    """How pages are numbered: printed number = page + `shift`, Roman or not, small or capital."""

    shift: int
    roman: bool
    capital: bool

    def label(self, page: int) -> str | None:
        """Return the number printed on `page`, None where this numbering has not begun."""
        value = page + self.shift
        if value < 1:
            return None
        text = roman_numeral(value) if self.roman else str(value)
        return text.upper() if self.capital else text


def folio_value(text: str) -> int | None:
    """Return the number of a line that is a folio and nothing else, negative when Roman."""
    match = _FOLIO.match(text)
    return _value(match[1]) if match else None


def roman_numeral(value: int) -> str:
    """Return `value` in small Roman numerals."""
    text = ""
    for number, letters in _ROMAN:
        text += letters * (value // number)
        value %= number
    return text


def _value(digits: str) -> int:
    if digits.isdigit():
        return int(digits)
    values = [_VALUES[letter] for letter in digits.lower()]
    return -sum(-value if value < max(values[at:]) else value for at, value in enumerate(values))


def page_labels(
    frames: Sequence[Frame], kinds: LineKinds, stated: Sequence[str] = ()
) -> dict[int, str]:
    """Return the printed number of each page: from its folio, else counted on from its neighbours.

    A number is accepted where pages around it count on. `stated` are the labels of all pages that
    the file itself gives; they stand where the pages print nothing.
    """
    candidates = [pair for pair in _numberings(frames, kinds) if pair[1].label(pair[0])]
    support = Counter(numbering for _, numbering in candidates)
    accepted: dict[int, Numbering] = {}
    for page, numbering in candidates:
        if support[numbering] >= _MIN_COUNTING:
            accepted.setdefault(page, numbering)
    labels = {page: label for page, label in enumerate(stated, start=1) if label}
    numbered = sorted(accepted)
    for page in {frame.page for frame in frames} if numbered else ():
        # A page without a number counts with the pages after it, where their numbering has begun.
        at = bisect(numbered, page)
        nearest = [page] if page in accepted else [*numbered[at : at + 1], *numbered[:at][-1:]]
        values = (accepted[near].label(page) for near in nearest)
        if label := next(filter(None, values), None):
            labels[page] = label
    return labels


def _numberings(frames: Iterable[Frame], kinds: LineKinds) -> Iterator[tuple[int, Numbering]]:
    for frame in frames:
        for line in frame.lines:
            kind = kinds.get(line)
            match = None
            if kind == "folio":
                match = _FOLIO.match(line.text)
            elif kind == "running_head":
                match = _IN_HEAD.search(line.text)
            if match:
                digits = next(group for group in match.groups() if group)
                value = _value(digits)
                shift = abs(value) - frame.page
                yield frame.page, Numbering(shift, value < 0, value < 0 and digits.isupper())

"""Tell the number that each page prints from the folios, also where a page prints none."""

from __future__ import annotations

import re
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from memoirist.extractors.pdf.layout.geometry import Frame, LineKinds

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
_MIN_PAGES = 3


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
        if support[numbering] >= _MIN_PAGES:
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

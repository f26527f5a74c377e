"""Tell the number that a page prints from its folios, also where a page prints none."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from memoirist.extractors.pdf.layout.columns import Frame, Kinds

_ROMAN = (
    *((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l")),
    *((40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i")),
)
_VALUES = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100, "d": 500, "m": 1000}
# Without IGNORECASE, which takes a dotless i for an I.
_FOLIO = re.compile(r"^\W*(?:(?:[Pp]age|PAGE)\s+)?(\d{1,4}|[ivxlcdmIVXLCDM]{1,8})\W*$")
# The number of a head that stands on one line with its title, before or after it.
_IN_HEAD = re.compile(r"^\W*(\d{1,4})\s+\D|\D\s+(\d{1,4})\W*$|^([ivxlc]+)\s+[A-Z]|\s([ivxlc]+)$")
# So many pages must count on together before their numbers are believed.
_LEAST_PAGES = 3


class Count(NamedTuple):
    """How pages are counted: printed number = page + `shift`, Roman or not, small or capital."""

    shift: int
    roman: bool
    capital: bool = False

    def label(self, page: int) -> str | None:
        """Return the number printed on `page`, None where this count has not begun."""
        value = page + self.shift
        if value < 1:
            return None
        text = roman_of(value) if self.roman else str(value)
        return text.upper() if self.capital else text


def folio_value(text: str) -> int | None:
    """Return the number of a line that is a folio and nothing else, negative when Roman."""
    match = _FOLIO.match(text)
    return _value(match.group(1)) if match else None


def roman_of(value: int) -> str:
    """Return `value` in small Roman numerals."""
    text = ""
    for each, letters in _ROMAN:
        text += letters * (value // each)
        value %= each
    return text


def _value(digits: str) -> int:
    if digits.isdigit():
        return int(digits)
    values = [_VALUES[letter] for letter in digits.lower()]
    return -sum(-value if value < max(values[at:]) else value for at, value in enumerate(values))


def page_labels(
    frames: Sequence[Frame], kinds: Kinds, stated: Sequence[str] = ()
) -> dict[int, str]:
    """Return the printed number of each page: from its folio, else counted on from its neighbours.

    A number is believed where pages around it count on. `stated` are the labels of all pages that
    the file itself gives; they stand where the pages print nothing.
    """
    pages = sorted({frame.page for frame in frames})
    found = [(page, count) for page, count in _counts(frames, kinds) if count.label(page)]
    support = Counter(count for _, count in found)
    believed: dict[int, Count] = {}
    for page, count in found:
        if support[count] >= _LEAST_PAGES:
            believed.setdefault(page, count)
    labels = {page: label for page, label in enumerate(stated, start=1) if label}
    if not believed:
        return labels
    for page in pages:
        told = believed.get(page) or _carried(page, believed)
        if told and (label := told.label(page)):
            labels[page] = label
    return labels


def _carried(page: int, believed: Mapping[int, Count]) -> Count | None:
    """Return the count of a page without number: that of the pages after it, if it had begun."""
    after = next((believed[n] for n in sorted(believed) if n > page), None)
    before = next((believed[n] for n in sorted(believed, reverse=True) if n < page), None)
    return after if after and after.label(page) else before


def _counts(frames: Iterable[Frame], kinds: Kinds) -> Iterator[tuple[int, Count]]:
    for frame in frames:
        for line in frame.lines:
            kind = kinds.get(line)
            if kind == "folio" and (match := _FOLIO.match(line.text)):
                yield _count(match.group(1), frame.page)
            elif kind == "running_head" and (match := _IN_HEAD.search(line.text)):
                yield _count(next(each for each in match.groups() if each), frame.page)


def _count(digits: str, page: int) -> tuple[int, Count]:
    value = _value(digits)
    return page, Count(abs(value) - page, value < 0, value < 0 and digits.isupper())

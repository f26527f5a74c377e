"""Find the runs of words that generated text shares with its training text (regurgitation)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from memoirist.data.evaluation.intervals import Estimate, ratio
from memoirist.data.text.words import words

Hashes = npt.NDArray[np.uint64]

# QUALITY's thresholds in words. An author's own unseen book shares runs of 7 to 11 words with the
# rest, at most .24 % of its words in runs of 8, none in runs of 13.
SHORT, LONG, FATAL = 8, 13, 25
MOST_SHORT = 0.01
# Chinese is counted by characters, of which a word has 1.6.
_CHARACTERS = 1.6
_PRIME = np.uint64(0x9E3779B97F4A7C15)

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """The thresholds of shared runs in a language, in `unit`."""

    short: int
    long: int
    fatal: int
    unit: Literal["words", "characters"]

    @classmethod
    def of(cls, lang: str) -> Lengths:
        """Return the lengths of a language."""
        factor = _CHARACTERS if lang in {"zh", "ja", "ko"} else 1
        return cls(
            short=round(SHORT * factor),
            long=round(LONG * factor),
            fatal=round(FATAL * factor),
            unit="words" if factor == 1 else "characters",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """The overlap of one side with the training text: longest run, shares of words in runs."""

    longest: int
    quote: str
    place: int  # the text of the side in which the longest run stands, from 0
    short: Estimate
    long: Estimate

    @property
    def length(self) -> Estimate:
        """Return the length of the longest run as a figure."""
        return Estimate(value=float(self.longest), n=self.short.n)


class RunIndex:
    """An index of the training text's runs; 300,000 words take about 40 MB and a second."""

    def __init__(self, texts: Sequence[str], lang: str) -> None:
        """Hash the words of the training texts; no run crosses from one text to the next."""
        self.lengths = Lengths.of(lang)
        self._ids = _ids(texts, start=1)
        self._cache: dict[int, Hashes] = {}

    def overlap(self, texts: Sequence[str], seed: int) -> Overlap | None:
        """Return the overlap of texts with the training text, None for texts without words."""
        ids = _ids(texts, start=-1)
        owners = np.repeat(np.arange(len(texts)), [len(words(text)) + 1 for text in texts])
        total = np.bincount(owners, minlength=len(texts)).astype(np.float64) - 1
        if total.sum() <= 0:
            return None
        short = self._shared(ids, owners, self.lengths.short, len(texts))
        long = self._shared(ids, owners, self.lengths.long, len(texts))
        longest, at = self._longest(ids)
        place, quote = self._quote(texts, owners, at, longest)
        shares = ratio(short, total, seed), ratio(long, total, seed)
        assert shares[0] is not None and shares[1] is not None  # noqa: PT018, S101 - words there are
        return Overlap(longest=longest, quote=quote, place=place, short=shares[0], long=shares[1])

    def level(self, overlap: Overlap, own: Overlap | None = None) -> Level:
        """Return QUALITY's verdict: warn at a run of 13 or 1 % in runs of 8, fail at 25.

        `own` is the overlap of the author's unseen text: repeating a story or a hymn as often
        as the author does is no recitation.
        """
        if overlap.longest >= self.lengths.fatal:
            return "fail"
        own_run = own.longest if own else 0
        own_share = (own.short.high or own.short.value) if own else 0.0
        longer = overlap.longest >= self.lengths.long and overlap.longest > own_run
        more = overlap.short.value >= MOST_SHORT and overlap.short.value > own_share
        return "warn" if longer or more else "ok"

    def _shared(
        self, ids: Hashes, owners: npt.NDArray[np.intp], length: int, n: int
    ) -> npt.NDArray[np.float64]:
        """Return how many words of each text stand in a shared run of `length` and more."""
        starts = self._matches(ids, length).astype(np.int64)
        # A run covers `length` words from its start; the running sum is above 0 inside a run.
        change = np.zeros(len(ids) + 1, dtype=np.int64)
        change[: len(starts)] += starts
        change[length : length + len(starts)] -= starts
        covered = np.cumsum(change)[:-1] > 0
        return np.bincount(owners[covered], minlength=n).astype(np.float64)

    def _matches(self, ids: Hashes, length: int) -> npt.NDArray[np.bool_]:
        if length not in self._cache:
            always = {self.lengths.short, self.lengths.long}
            self._cache = {k: v for k, v in self._cache.items() if k in always}
            self._cache[length] = np.unique(_runs(self._ids, length))
        return np.isin(_runs(ids, length), self._cache[length])

    def _longest(self, ids: Hashes) -> tuple[int, int]:
        """Return the length of the longest shared run and its position, by bisection."""
        low, high, at = 0, 1, -1
        while len(found := np.flatnonzero(self._matches(ids, high))):
            low, at, high = high, int(found[0]), high * 2
        while high - low > 1:
            middle = (low + high) // 2
            found = np.flatnonzero(self._matches(ids, middle))
            if len(found):
                low, at = middle, int(found[0])
            else:
                high = middle
        return low, at

    @staticmethod
    def _quote(
        texts: Sequence[str], owners: npt.NDArray[np.intp], at: int, length: int
    ) -> tuple[int, str]:
        if at < 0:
            return 0, ""
        place = int(owners[at])
        first = at - int(np.flatnonzero(owners == place)[0])
        run = words(texts[place])[first : first + length]
        separator = "" if any(ord(word[0]) > 0x2E80 for word in run[:3]) else " "
        return place, separator.join(run)


def _ids(texts: Sequence[str], start: int) -> Hashes:
    """Return a number for each word, and after each text a unique one."""
    seen: dict[str, int] = {}
    numbers: list[int] = []
    for place, text in enumerate(texts):
        for word in words(text):
            number = seen.get(word)
            if number is None:
                raw = word.encode("utf-8", "surrogatepass")
                number = seen[word] = zlib.crc32(raw) << 32 | zlib.adler32(raw[::-1])
            numbers.append(number)
        numbers.append(start * (place + 1) % 2**64)
    return _mixed(np.array(numbers, dtype=np.uint64))


def _mixed(values: Hashes) -> Hashes:
    """Spread numbers over 64 bits (the finish of splitmix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        values = values + _PRIME
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))


def _runs(ids: Hashes, length: int) -> Hashes:
    """Return one hash for each run of `length` words; equal runs have equal hashes."""
    if len(ids) < length:
        return np.zeros(0, dtype=np.uint64)
    n = len(ids) - length + 1
    total = np.zeros(n, dtype=np.uint64)
    with np.errstate(over="ignore"):
        # By doubling: a run is two halves, each hashed once.
        part, size, taken = ids, 1, 0
        left = length
        while left:
            if left & 1:
                total = _mixed(total) + part[taken : taken + n]
                taken += size
            left >>= 1
            if left:
                part = _mixed(part[: len(part) - size]) + part[size:]
                size *= 2
    return total

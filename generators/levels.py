"""Which requests a server refused, by how many were in flight: a cap shows, chance does not."""

from __future__ import annotations

import math
from collections.abc import Iterable

_BUCKETS = 128
# Twice this is roughly a chi-squared value; every refusal is one look, so it has to be high.
_LEAST_GAIN = 10.0
_LEAST_REFUSED = 3.0


class Levels:
    """Counts of requests by the number in flight when each was sent; old counts fade."""

    def __init__(self, most: int) -> None:
        """Make room for the levels 1 to `most`, in buckets where there are many."""
        self._width = math.ceil(most / _BUCKETS)
        self._sent = [0.0] * (most // self._width + 1)
        self._refused = [0.0] * len(self._sent)
        self._total = 0.0
        self._memory = max(200.0, 6.0 * most)

    def count(self, level: int, *, refused: bool) -> None:
        """Count a request that was sent as the `level`-th in flight."""
        place = self._bucket(level)
        self._sent[place] += 1
        self._refused[place] += refused
        self._total += 1
        if self._total > self._memory:
            self._fade()

    def forget_above(self, level: int) -> None:
        """Drop what is known of higher levels, since the server takes more by now."""
        for place in range(self._bucket(level) + 1, len(self._sent)):
            self._sent[place] = self._refused[place] = 0.0
        self._total = sum(self._sent)

    def cap(self, taken: Iterable[int]) -> int | None:
        """Return the level above which the server refuses far more often, None without one.

        `taken` are the levels of requests that are still open but were not refused when later
        ones were: a burst of quick refusals is understood before the slow replies come.

        A change point: the split into two rates of refusal is held against one rate for all by
        the ratio of their likelihoods (binomial).
        """
        refused = sum(self._refused)
        if refused < _LEAST_REFUSED:
            return None
        sent = list(self._sent)
        for level in taken:
            sent[self._bucket(level)] += 1
        total = sum(sent)
        whole = _likelihood(refused, total)
        best, found = _LEAST_GAIN, None
        sent_below = refused_below = 0.0
        for place in range(len(sent) - 1):
            sent_below += sent[place]
            refused_below += self._refused[place]
            sent_above, refused_above = total - sent_below, refused - refused_below
            if sent_below < 1 or refused_above < _LEAST_REFUSED:
                continue
            if refused_above / sent_above < 0.25 + 3 * refused_below / sent_below:
                continue
            split = _likelihood(refused_below, sent_below) + _likelihood(refused_above, sent_above)
            if split - whole > best:
                best, found = split - whole, place
        return None if found is None else max(1, (found + 1) * self._width - 1)

    def _bucket(self, level: int) -> int:
        return min(level // self._width, len(self._sent) - 1)

    def _fade(self) -> None:
        self._sent = [count / 2 for count in self._sent]
        self._refused = [count / 2 for count in self._refused]
        self._total = sum(self._sent)


def _likelihood(hits: float, tries: float) -> float:
    """Return the greatest log-likelihood of `hits` out of `tries` under one rate."""
    misses = max(0.0, tries - hits)
    return sum(n * math.log(n / tries) for n in (hits, misses) if n > 0)

"""Which requests a server refused, by how many were in flight: a cap shows, chance does not."""

from __future__ import annotations

import math

_BUCKETS = 128
# Twice this is roughly a chi-squared value: 6 comes by chance about once in 2,000 looks.
_LEAST_GAIN = 6.0
_LEAST_REFUSED = 3.0


class Levels:
    """Counts of requests by the number in flight when each was sent; old counts fade.

    A request that is not answered yet counts as taken, so that a burst of quick refusals is not
    judged before the slower replies have had their chance.
    """

    def __init__(self, most: int) -> None:
        """Make room for the levels 1 to `most`, in buckets where there are many."""
        self._width = math.ceil(most / _BUCKETS)
        self._sent = [0.0] * (most // self._width + 1)
        self._refused = [0.0] * len(self._sent)
        self._total = 0.0
        self._memory = max(200.0, 6.0 * most)

    def send(self, level: int) -> None:
        """Count a request that goes out as the `level`-th in flight."""
        self._sent[self._bucket(level)] += 1
        self._total += 1
        if self._total > self._memory:
            self._fade()

    def refuse(self, level: int) -> None:
        """Count that a request sent at `level` came back refused."""
        place = self._bucket(level)
        self._refused[place] = min(self._refused[place] + 1, self._sent[place])

    def forget_above(self, level: int) -> None:
        """Drop what is known of higher levels, since the server takes more by now."""
        for place in range(self._bucket(level) + 1, len(self._sent)):
            self._sent[place] = self._refused[place] = 0.0
        self._total = sum(self._sent)

    def cap(self) -> int | None:
        """Return the level above which the server refuses far more often, None without one.

        A change point: the split into two rates of refusal is held against one rate for all by
        the ratio of their likelihoods (binomial).
        """
        refused = sum(self._refused)
        if refused < _LEAST_REFUSED:
            return None
        whole = _likelihood(refused, self._total)
        best, found = _LEAST_GAIN, None
        sent_below = refused_below = 0.0
        for place in range(len(self._sent) - 1):
            sent_below += self._sent[place]
            refused_below += self._refused[place]
            sent_above, refused_above = self._total - sent_below, refused - refused_below
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

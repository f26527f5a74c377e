"""How long a request may take: as told, or learnt from the replies that came."""

from __future__ import annotations

from collections import deque

_FIRST_SECONDS = 120.0
_FLOOR_SECONDS = 5.0
_LONGEST_SECONDS = 600.0
_LEAST_REPLIES = 20
_TIMES_SLOWEST = 4.0


class Deadline:
    """Seconds that a request may take from sending to the last byte.

    Learnt, it is four times the 95th percentile of the last 256 replies, and at least 5 seconds;
    120 seconds until 20 replies have come. A request that met it gets twice as long the next time,
    and counts as a reply of that length, so that a server that turns slow is not given up.
    """

    def __init__(self, told: float | None) -> None:
        """Hold to `told` seconds, or learn where that is None."""
        self._told = told
        self._seen: deque[float] = deque(maxlen=256)
        self._learnt = _FIRST_SECONDS
        self._fresh = 0

    @property
    def settled(self) -> bool:
        """Return whether the deadline is told, or learnt from replies by now."""
        return self._told is not None or len(self._seen) >= _LEAST_REPLIES

    def seconds(self, attempt: int) -> float:
        """Return the deadline of the `attempt`-th time that a request is sent."""
        if self._told is not None:
            return self._told
        return float(min(self._learnt * 2 ** (attempt - 1), _LONGEST_SECONDS))

    def saw(self, seconds: float) -> None:
        """Learn from a request that took `seconds`, to its reply or to its deadline."""
        if self._told is not None:
            return
        self._seen.append(seconds)
        self._fresh += 1
        if len(self._seen) < _LEAST_REPLIES or self._fresh < _LEAST_REPLIES:
            return
        self._fresh = 0
        slow = sorted(self._seen)[int(0.95 * (len(self._seen) - 1))]
        self._learnt = min(max(_FLOOR_SECONDS, _TIMES_SLOWEST * slow), _LONGEST_SECONDS)

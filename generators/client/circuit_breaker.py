"""The circuit breaker: pauses a run while nothing succeeds, and stops it after some minutes."""

from __future__ import annotations

import time
from collections.abc import Callable

_LEAST_FAILURES = 5
_LONGEST_PAUSE_SECONDS = 30.0


class CircuitBreaker:
    """Counts failures since the last success; open, it lets one request through at a time."""

    def __init__(
        self,
        opens_seconds: float,
        stops_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open after `opens_seconds` of failures alone, ask to stop after `stops_seconds`."""
        self._opens, self._stops, self._clock = opens_seconds, stops_seconds, clock
        self.succeeded_once = False
        self.is_open = False
        self._last_message = ""
        self._failures = 0
        self._since = 0.0
        self._pause = 1.0
        self._next_at = 0.0

    def succeeded(self) -> None:
        """Close the breaker after a reply."""
        self.succeeded_once = True
        self.is_open = False
        self._failures = 0

    def failed(self, message: str, *, unreachable: bool = False) -> None:
        """Count a failure; `unreachable` (no server at the address) opens the breaker at once."""
        now = self._clock()
        self._last_message = message
        if not self._failures:
            self._since = now
        self._failures += 1
        if self.is_open:
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS, self._stops)
        elif (unreachable and self.succeeded_once) or (
            self._failures >= _LEAST_FAILURES and now - self._since >= self._opens
        ):
            self.is_open = True
            self._pause = min(1.0, self._stops / 4)
        self._next_at = now + self._pause

    def wait_seconds(self, in_flight: int) -> float | None:
        """Return 0 when a request may start, the seconds until one may, None: after an end."""
        if not self.is_open:
            return 0.0
        return None if in_flight else max(0.0, self._next_at - self._clock())

    def stop_reason(self) -> str | None:
        """Return why the run should stop, None while it may go on."""
        seconds = self._clock() - self._since
        if not self.is_open or seconds < self._stops:
            return None
        return (
            f"no request has succeeded for {seconds:.0f} seconds ({self._failures:,} requests);"
            f" the last error: {self._last_message}"
        )

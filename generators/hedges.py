"""A second request for the few that are out for far longer than all others, at the end of a run.

The last reply ends a run, and one stuck connection makes it wait for a whole deadline. (Dean and
Barroso, The Tail at Scale, 2013: a second request once the first is out for longer than nearly
all.) It may be paid twice, so it is rare: never while anything else waits to be sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from memoirist.generators.faults import Fault
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.transport import Answer

_LEAST_REPLIES = 20
_LEAST_REQUESTS = 100
_TIMES_SLOW = 2.0
_LEAST_LATE_SECONDS = 0.3
_LOOKS_AGAIN = 0.25
# We were too busy ourselves to see whether the reply has come.
_STALLED_SECONDS = 0.03

Sending = Callable[[], Awaitable[Answer | Fault]]


class Hedges:
    """Knows when a request is late, and how many second ones there may be."""

    def __init__(self, settings: InterviewSettings) -> None:
        """Allow none where the run has a limit: a reply that nobody waits for is not counted."""
        limits = (settings.budget_usd, settings.max_tokens, settings.max_requests)
        self._share = settings.hedged_share if limits == (None, None, None) else 0.0
        self._seen: deque[float] = deque(maxlen=256)
        self._fresh = 0
        self._sent = 0
        self.seconds: float | None = None

    def saw(self, seconds: float) -> None:
        """Learn from a reply: late is twice the 95th percentile of the last 256, or 0.3 s more."""
        self._seen.append(seconds)
        self._fresh += 1
        if self._share and self._fresh >= _LEAST_REPLIES:
            self._fresh = 0
            slow = sorted(self._seen)[int(0.95 * (len(self._seen) - 1))]
            self.seconds = max(_TIMES_SLOW * slow, slow + _LEAST_LATE_SECONDS)

    def take(self, sent: int) -> bool:
        """Tell whether one more is within the share of the `sent` requests, and count it.

        The first hundred have none: a short run has no tail.
        """
        if self._sent + 1 > self._share * (sent - _LEAST_REQUESTS):
            return False
        self._sent += 1
        return True


@dataclass(slots=True)
class Race:
    """One request and, where it is late, a second one; the first reply wins.

    `may_hedge` is asked when the request is late, and again as long as it says no.
    """

    first: Sending
    second: Sending
    may_hedge: Callable[[], bool]
    late_seconds: float
    _first_is_out: bool = True
    _hedge: asyncio.Task[Answer | Fault] | None = None
    _alarm: asyncio.TimerHandle | None = None

    async def run(self) -> tuple[Answer | Fault, int]:
        """Return what came first, and the number of requests."""
        limit = asyncio.timeout(None)
        try:
            try:
                async with limit:
                    self._look_in(self.late_seconds, limit)
                    got = await self.first()
                    self._first_is_out = False
            except TimeoutError:
                if self._hedge is None:
                    raise
                return await self._hedge, 2
            if self._hedge is None:
                return got, 1
            return (got if _is_good(got) else await self._hedge), 2
        finally:
            if self._alarm is not None:
                self._alarm.cancel()
            if self._hedge is not None:
                self._hedge.cancel()

    def _look_in(self, seconds: float, limit: asyncio.Timeout) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        self._alarm = loop.call_at(due, self._look, due, limit)

    def _look(self, due: float, limit: asyncio.Timeout) -> None:
        stalled = asyncio.get_running_loop().time() - due > _STALLED_SECONDS
        if stalled or not self.may_hedge():
            self._look_in(_LOOKS_AGAIN * self.late_seconds, limit)
            return
        self._hedge = asyncio.ensure_future(self._send_second(limit))

    async def _send_second(self, limit: asyncio.Timeout) -> Answer | Fault:
        got = await self.second()
        if _is_good(got) and self._first_is_out and not limit.expired():
            limit.reschedule(asyncio.get_running_loop().time())  # the first one is let go
        return got


def _is_good(got: Answer | Fault) -> bool:
    return isinstance(got, Answer) and got.status == 200

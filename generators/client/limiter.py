"""The adaptive concurrency limit: when a request may start.

The limit is how many requests may be in flight to one server.

A cap of the server is a number in flight above which requests are refused far more often than
below it; refusals at random spread over all numbers and change nothing. Above a detected cap the
limit rises step by step, at growing intervals (additive increase). Where many requests are refused
or time out at any number, the limit falls by a share of it (multiplicative decrease).

`Admission` is the queue of requests that wait for the limiter and the circuit breaker.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count, takewhile

from memoirist.generators.client.circuit_breaker import CircuitBreaker
from memoirist.generators.client.http_errors import Withheld

_FIRST_LIMIT = 64
_HIGH_REFUSED_SHARE = 0.4
_DECREASE = 0.85
_LONGEST_HOLD_SECONDS = 60.0
_FIRST_RISE_SECONDS = 1.0
_LONGEST_RISE_SECONDS = 120.0
_BUCKETS = 128
# Twice this is roughly a chi-squared value; every refusal is one test, so it has to be high.
_LEAST_GAIN = 10.0
_LEAST_REFUSED = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """A request in flight: its number in the run, and how many were in flight with it."""

    number: int
    level: int


class Limiter:
    """Counts the requests in flight (`in_flight`), and adapts how many there may be (`limit`)."""

    def __init__(self, max_limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with the limit `max_limit`, at most 64: the limit grows beyond 64 with replies."""
        self.max_limit = max_limit
        self.ceiling = self.limit = min(max_limit, _FIRST_LIMIT)
        self._clock = clock
        self._open: dict[Slot, None] = {}  # in the order in which they were sent
        self._numbers = count()
        self._refusals = RefusalHistogram(max_limit)
        self._hold_until = self._rise_at = 0.0
        self._rise_seconds, self._step = _FIRST_RISE_SECONDS, 1
        self._capped = False
        # During a trial of a higher ceiling: the one before, and the outcomes of requests above it.
        self._trial_base = self._accepted = self._refused = 0
        self._refused_in_a_row = self._n_ended = self._n_refused = 0

    @property
    def in_flight(self) -> int:
        """Return how many requests have not ended yet."""
        return len(self._open)

    def wait_seconds(self) -> float | None:
        """Return 0 when a request may start, the seconds until then, or None: when one ends."""
        if self.in_flight >= self.limit:
            return None
        return max(0.0, self._hold_until - self._clock())

    def start(self) -> Slot:
        """Record a request that is sent; return its slot, which its end is reported with."""
        slot = Slot(next(self._numbers), self.in_flight + 1)
        self._open[slot] = None
        return slot

    def replied(self, slot: Slot) -> None:
        """Record a reply: the limit rises to the ceiling, and the ceiling where it is reached."""
        self._refusals.count(slot.level, refused=False)
        if not self._count_in_trial(slot, refused=False):
            self._rise()
        self._refused_in_a_row = 0
        self.limit = min(self.limit + 1, self.ceiling)
        self._end(slot)

    def refused(self, slot: Slot, retry_after: float | None = None) -> None:
        """Record a request that the server is too busy for (429 and 503).

        Its slot stays empty until the next reply, so a refusal does not cause another one at once.
        """
        full = self.in_flight >= self.limit
        self._refusals.count(slot.level, refused=True)
        self._end(slot, refused=True)
        self._refused_in_a_row += 1
        if full:
            self.limit = max(1, min(self.limit, self.in_flight))
        if self.limit == 1 and self.in_flight == 0 and self._refused_in_a_row > 1:
            # Nothing is accepted at all: wait longer after each refusal.
            doubled = 0.25 * 2 ** min(self._refused_in_a_row, 7)
            self.hold(doubled if retry_after is None else retry_after)
        if self._count_in_trial(slot, refused=True):
            return
        # Requests that were sent before this one and are not refused count as accepted.
        earlier = takewhile(lambda other: other.number < slot.number, self._open)
        cap = self._refusals.cap(other.level for other in earlier)
        if cap is not None:
            self._lower(max(cap, self.in_flight))

    def ended(self, slot: Slot, *, timed_out: bool = False) -> None:
        """Record a request whose outcome says nothing about server load, unless it timed out."""
        self._end(slot, refused=timed_out)

    def hold(self, seconds: float) -> None:
        """Start nothing for some seconds: the allowance of the server is used up."""
        until = self._clock() + min(seconds, _LONGEST_HOLD_SECONDS)
        self._hold_until = max(self._hold_until, until)

    def _end(self, slot: Slot, *, refused: bool = False) -> None:
        del self._open[slot]
        self._n_ended += 1
        self._n_refused += refused and slot.level <= self.ceiling
        if self._n_ended >= max(20, 2 * self.limit):
            if self._n_refused > _HIGH_REFUSED_SHARE * self._n_ended:
                self._lower(int(self.ceiling * _DECREASE))
            self._n_ended = self._n_refused = 0

    def _rise(self) -> None:
        """Raise the ceiling: by one for each reply up to the first cap, then by trials."""
        if self.ceiling >= self.max_limit or self._trial_base:
            return
        if not self._capped:
            self.ceiling += 1
        elif self.in_flight >= self.ceiling and self._clock() >= self._rise_at:
            self._trial_base, self._accepted, self._refused = self.ceiling, 0, 0
            self.ceiling = min(self.max_limit, self.ceiling + self._step)

    def _count_in_trial(self, slot: Slot, *, refused: bool) -> bool:
        """Count an outcome above the old ceiling: it decides whether the new one is kept."""
        if not self._trial_base or slot.level <= self._trial_base:
            return False
        self._refused += refused
        self._accepted += not refused
        if self._refused >= 2 and self._refused > self._accepted:
            self._rise_seconds = min(2 * self._rise_seconds, _LONGEST_RISE_SECONDS)
            self._lower(self._trial_base)
        elif self._accepted >= 5 + 3 * self._refused:
            self._refusals.forget_above(self.ceiling)
            self._trial_base, self._step = 0, 2 * self._step
            self._rise_seconds = _FIRST_RISE_SECONDS
        return True

    def _lower(self, ceiling: int) -> None:
        if ceiling >= self.ceiling:
            return
        self.ceiling = max(1, ceiling)
        self.limit = min(self.limit, self.ceiling)
        self._n_ended = self._n_refused = 0
        self._capped, self._step, self._trial_base = True, 1, 0
        self._rise_at = self._clock() + self._rise_seconds


class RefusalHistogram:
    """Counts of requests by the number in flight when each was sent; old counts fade."""

    def __init__(self, max_limit: int) -> None:
        """Count the levels 1 to `max_limit`, in buckets where there are many."""
        self._width = math.ceil(max_limit / _BUCKETS)
        self._sent = [0.0] * (max_limit // self._width + 1)
        self._refused = [0.0] * len(self._sent)
        self._total = 0.0
        self._memory = max(200.0, 6.0 * max_limit)

    def count(self, level: int, *, refused: bool) -> None:
        """Count a request that was sent as the `level`-th in flight."""
        bucket = self._bucket(level)
        self._sent[bucket] += 1
        self._refused[bucket] += refused
        self._total += 1
        if self._total > self._memory:
            self._fade()

    def forget_above(self, level: int) -> None:
        """Drop the counts of higher levels, since the server accepts more by now."""
        for bucket in range(self._bucket(level) + 1, len(self._sent)):
            self._sent[bucket] = self._refused[bucket] = 0.0
        self._total = sum(self._sent)

    def cap(self, accepted: Iterable[int]) -> int | None:
        """Return the level above which the server refuses far more often, None without one.

        `accepted` are the levels of requests that are still open but were not refused when later
        ones were: a burst of quick refusals shows a cap before the slow replies arrive.

        A change point: the split into two rates of refusal is compared with one rate for all by
        the ratio of their likelihoods (binomial).
        """
        refused = sum(self._refused)
        if refused < _LEAST_REFUSED:
            return None
        sent = list(self._sent)
        for level in accepted:
            sent[self._bucket(level)] += 1
        total = sum(sent)
        unsplit = _likelihood(refused, total)
        best_gain, best_bucket = _LEAST_GAIN, None
        sent_below = refused_below = 0.0
        for bucket in range(len(sent) - 1):
            sent_below += sent[bucket]
            refused_below += self._refused[bucket]
            sent_above, refused_above = total - sent_below, refused - refused_below
            if sent_below < 1 or refused_above < _LEAST_REFUSED:
                continue
            if refused_above / sent_above < 0.25 + 3 * refused_below / sent_below:
                continue
            split = _likelihood(refused_below, sent_below) + _likelihood(refused_above, sent_above)
            if split - unsplit > best_gain:
                best_gain, best_bucket = split - unsplit, bucket
        return None if best_bucket is None else max(1, (best_bucket + 1) * self._width - 1)

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


class Admission:
    """A priority queue of requests; call `admit` after each end is reported to the limiter."""

    def __init__(self, limiter: Limiter, breaker: CircuitBreaker) -> None:
        """Queue the requests of one client."""
        self._limiter, self._breaker = limiter, breaker
        self._queue: list[tuple[int, int, asyncio.Future[Slot]]] = []
        self._order = count()
        self._timer: asyncio.TimerHandle | None = None
        self.closed = asyncio.Event()

    async def enter(self, attempt: int) -> Slot:
        """Wait for a slot and return it. Retries come before first attempts.

        Raise Withheld once the queue is closed.
        """
        if self.closed.is_set():
            raise Withheld
        if not self._queue and self._wait_seconds() == 0:
            return self._limiter.start()
        admitted: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (-attempt, next(self._order), admitted))
        self.admit()
        try:
            return await admitted
        except asyncio.CancelledError:
            if admitted.done() and not admitted.cancelled() and admitted.exception() is None:
                self._limiter.ended(admitted.result())
                self.admit()
            raise

    def admit(self) -> None:
        """Admit the requests that may start now; where one must wait, set a timer for it."""
        while self._queue:
            if self._queue[0][2].done():  # its task was cancelled while it waited
                heapq.heappop(self._queue)
                continue
            wait = self._wait_seconds()
            if wait != 0:
                if wait is not None:
                    self._admit_in(wait)
                return
            heapq.heappop(self._queue)[2].set_result(self._limiter.start())

    def _wait_seconds(self) -> float | None:
        limited = self._limiter.wait_seconds()
        broken = self._breaker.wait_seconds(self._limiter.in_flight)
        return None if limited is None or broken is None else max(limited, broken)

    def _admit_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds + 0.001, self.admit)

    def close(self) -> None:
        """Admit nothing more: waiting and new requests raise Withheld."""
        self.closed.set()
        for _, _, admitted in self._queue:
            if not admitted.done():
                admitted.set_exception(Withheld())
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()

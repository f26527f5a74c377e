"""The queue before the server: requests start as the limiter and the circuit breaker allow."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count

from memoirist.generators.client.circuit_breaker import CircuitBreaker
from memoirist.generators.client.errors import Withheld
from memoirist.generators.client.limiter import Limiter, Slot


class Admission:
    """A priority queue; whoever enters calls `admit` after reporting the end to the limiter."""

    def __init__(self, limiter: Limiter, breaker: CircuitBreaker) -> None:
        """Guard the start of every request of one client."""
        self._limiter, self._breaker = limiter, breaker
        self._queue: list[tuple[int, int, asyncio.Future[Slot]]] = []
        self._order = count()
        self._timer: asyncio.TimerHandle | None = None
        self.closed = asyncio.Event()

    async def enter(self, attempt: int) -> Slot:
        """Wait for a slot and take it. Later attempts go before first ones.

        Raise Withheld once the queue is closed.
        """
        if self.closed.is_set():
            raise Withheld
        if not self._queue and self._wait_seconds() == 0:
            return self._limiter.start()
        turn: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (-attempt, next(self._order), turn))
        self.admit()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._limiter.ended(turn.result())
                self.admit()
            raise

    def admit(self) -> None:
        """Admit whoever may start now; call again by itself when time alone has to pass."""
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
        """Admit nobody any more, of those who wait and those who come."""
        self.closed.set()
        for _, _, turn in self._queue:
            if not turn.done():
                turn.set_exception(Withheld())
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()

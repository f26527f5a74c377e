"""Lets requests start as the pace and the breaker allow, the most often refused ones first."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count

from memoirist.generators.breaker import Breaker
from memoirist.generators.pace import Pace, Slot


class Withheld(Exception):
    """A request was not sent, as the run may send no more."""


class Gate:
    """A queue before the server; whoever enters calls `opened` after telling the pace its end."""

    def __init__(self, pace: Pace, breaker: Breaker) -> None:
        """Guard the start of every request of one client."""
        self._pace, self._breaker = pace, breaker
        self._queue: list[tuple[int, int, asyncio.Future[Slot]]] = []
        self._order = count()
        self._alarm: asyncio.TimerHandle | None = None
        self.shut_down = asyncio.Event()

    async def enter(self, attempt: int) -> Slot:
        """Wait for a slot and take it. Later attempts go before first ones.

        Raise Withheld once the gate is shut.
        """
        if self.shut_down.is_set():
            raise Withheld
        if not self._queue and self._wait_seconds() == 0:
            return self._pace.start()
        turn: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (-attempt, next(self._order), turn))
        self.opened()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._pace.ended(turn.result())
                self.opened()
            raise

    def is_idle(self) -> bool:
        """Tell whether a request could start, and none waits for that."""
        return not self._queue and not self.shut_down.is_set() and self._wait_seconds() == 0

    def opened(self) -> None:
        """Let in whoever may start now; call again by itself when time alone has to pass."""
        while self._queue:
            if self._queue[0][2].done():  # its task was cancelled while it waited
                heapq.heappop(self._queue)
                continue
            wait = self._wait_seconds()
            if wait != 0:
                if wait is not None:
                    self._wake_in(wait)
                return
            heapq.heappop(self._queue)[2].set_result(self._pace.start())

    def _wait_seconds(self) -> float | None:
        paced = self._pace.wait_seconds()
        broken = self._breaker.wait_seconds(self._pace.in_flight)
        return None if paced is None or broken is None else max(paced, broken)

    def _wake_in(self, seconds: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_later(seconds + 0.001, self.opened)

    def shut(self) -> None:
        """Let nobody in any more, of those who wait and those who come."""
        self.shut_down.set()
        for _, _, turn in self._queue:
            if not turn.done():
                turn.set_exception(Withheld())
        self._queue.clear()
        if self._alarm is not None:
            self._alarm.cancel()

"""Every attempt at a request: when it may start, how long it may take, and what its end teaches."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from memoirist.generators.breaker import Breaker
from memoirist.generators.completion import parsed_body
from memoirist.generators.deadline import Deadline
from memoirist.generators.faults import Fault, used_up_seconds
from memoirist.generators.gate import Gate, Withheld
from memoirist.generators.hedges import Hedges, Race
from memoirist.generators.pace import Pace, Slot
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.transport import Answer

Send = Callable[[float], Awaitable[Answer | Fault]]
_FIRST_BACKOFF_SECONDS = 0.2
# While nearly all others succeed, a failure is bad luck, and to wait for better times is vain.
_BAD_LUCK_BACKOFF_SECONDS = 0.02
_FADING = 0.95
_HEALTHY_SHARE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficNow:
    """What the requests of a client are doing: for the progress line."""

    in_flight: int
    limit: int
    sent: int
    faults: dict[str, int]
    paused: bool


class Traffic:
    """The requests of one client to one server."""

    def __init__(self, settings: InterviewSettings) -> None:
        """Begin with nothing known of the server."""
        self._settings = settings
        self.may_send: Callable[[], bool] | None = None
        self.on_reply: Callable[[dict[str, Any], float], None] | None = None
        self._pace = Pace(settings.max_concurrency)
        self.breaker = Breaker(settings.circuit_opens_seconds, settings.circuit_stops_seconds)
        self._gate = Gate(self._pace, self.breaker)
        self._deadline = Deadline(settings.request_timeout_seconds)
        self._hedges = Hedges(settings)
        self._early: dict[asyncio.Timeout, float] = {}
        self._failing = 1.0  # the share of failures, of which older ones fade
        self._sent = 0
        self._faults: Counter[str] = Counter()

    def now(self) -> TrafficNow:
        """Return how things stand."""
        return TrafficNow(
            in_flight=self._pace.in_flight,
            limit=self._pace.limit,
            sent=self._sent,
            faults=dict(self._faults),
            paused=self.breaker.is_open,
        )

    def shut(self) -> None:
        """Start nothing any more: who waits for a turn, or between attempts, meets Withheld."""
        self._gate.shut()

    async def attempt(self, send: Send, number: int) -> tuple[dict[str, Any] | Fault, float, int]:
        """Send as soon as there is a slot; return the body or the fault, its seconds and requests.

        They are 2 where the first one was late. Raise Withheld where `may_send`, asked last of
        all, does not let it go, or where the run was stopped while it waited.
        """
        slot = await self._gate.enter(number)
        if self.may_send is not None and not self.may_send():
            self._pace.ended(slot)
            self._gate.opened()
            raise Withheld
        began = time.monotonic()
        self._sent += 1
        try:
            got, n_requests = await self._hedged(send, number)
        except BaseException:
            self._pace.ended(slot)
            self._gate.opened()
            raise
        seconds = time.monotonic() - began
        body = got if isinstance(got, Fault) else parsed_body(got)
        self._learn(slot, body, seconds)
        if self.on_reply is not None and not isinstance(body, Fault):
            self.on_reply(body, seconds)  # before anything else is sent: nothing may be lost
        if isinstance(got, Answer):
            used_up = used_up_seconds(got.headers)
            if used_up:
                self._pace.hold(used_up)
        if not (isinstance(body, Fault) and body.kind in {"stop", "schema"}):
            self._gate.opened()
        # Replies come in waves: the next requests go out before these replies are worked on.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return body, seconds, n_requests

    async def _hedged(self, send: Send, number: int) -> tuple[Answer | Fault, int]:
        """Send, and once more where the reply is late and nothing else is left to send."""
        late = self._hedges.seconds
        if late is None:
            return await self._in_time(send, number), 1

        async def second() -> Answer | Fault:
            slot = self._pace.start()
            self._sent += 1
            try:
                return await send(self._deadline.seconds(number))
            finally:
                self._pace.ended(slot)
                self._gate.opened()

        race = Race(lambda: self._in_time(send, number), second, self._may_hedge, late)
        return await race.run()

    def _may_hedge(self) -> bool:
        allowed = self._gate.is_idle() and self._hedges.take(self._sent)
        return allowed and (self.may_send is None or self.may_send())

    async def _in_time(self, send: Send, number: int) -> Answer | Fault:
        """Send within the deadline; what is sent before it is learnt is held to it afterwards."""
        seconds = self._deadline.seconds(number)
        if self._deadline.settled:
            return await send(seconds)
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                self._early[limit] = asyncio.get_running_loop().time()
                return await send(seconds)
        except TimeoutError:
            told = f"no reply within {self._deadline.seconds(number):g} seconds"
            return Fault("again", told, cause="timeout")
        finally:
            self._early.pop(limit, None)

    def _hold_early_ones(self) -> None:
        now, seconds = asyncio.get_running_loop().time(), self._deadline.seconds(1)
        for limit, began in self._early.items():
            limit.reschedule(max(now, began + seconds))
        self._early.clear()

    def _learn(self, slot: Slot, body: dict[str, Any] | Fault, seconds: float) -> None:
        if not isinstance(body, Fault):
            self._pace.replied(slot, seconds)
            self._deadline.saw(seconds)
            self._hedges.saw(seconds)
            self._failing *= _FADING
            self.breaker.succeeded()
            if self._early and self._deadline.settled:
                self._hold_early_ones()
            return
        self._faults[body.cause] += 1
        if body.cause == "busy":
            self._pace.refused(slot, body.retry_after)
        else:
            self._pace.ended(slot, slow=body.cause == "timeout")
            self._failing = _FADING * self._failing + 1 - _FADING
        if body.cause == "timeout":
            self._deadline.saw(seconds)
        if body.kind == "again":
            self.breaker.failed(body.message, gone=body.cause == "gone")

    async def rest(self, fault: Fault, failures: int) -> None:
        """Wait before the next attempt, without a slot: as the server asks, else with jitter.

        A refusal with Retry-After is taken at its word. A deadline that passed was wait enough the
        first time; every other pause doubles with this request's own `failures`, from 0.2 s, or
        from 0.02 s while hardly any other request fails.
        """
        jitter = random.random()
        if fault.retry_after is not None:
            pause = fault.retry_after + 0.03 * jitter
        else:
            longest = self._settings.max_backoff_seconds
            doublings = failures - 1 - (fault.cause == "timeout")
            lucky = fault.cause != "busy" and self._failing < _HEALTHY_SHARE
            shortest = _BAD_LUCK_BACKOFF_SECONDS if lucky else _FIRST_BACKOFF_SECONDS
            pause = min(longest, shortest * 2**doublings) * (0.5 + jitter / 2)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._gate.shut_down.wait()

"""The desk of a run: writes replies as they arrive, counts them, and heeds Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from memoirist.data.schema.errors import EndpointError
from memoirist.data.schema.records import Request
from memoirist.flows.endpoints import forget
from memoirist.flows.journal import Journal
from memoirist.flows.runtime.context import Context

if TYPE_CHECKING:
    from memoirist.generators.line import Line


T = TypeVar("T")
_BACKLOG = 10  # batches that may wait for a slow disk, or a reader, before replies have to wait


class Arrival(Protocol):
    """What came back about one subject."""

    @property
    def request(self) -> Request:
        """Return the request, answered or not."""

    @property
    def answered(self) -> bool:
        """Tell whether it gave what was asked for."""

    @property
    def rows(self) -> Sequence[object]:
        """Return what is to be kept, the request among it."""


class Desk:
    """Writes replies a batch at a time, each within `flow.batch_seconds` of its arrival."""

    def __init__(self, context: Context, line: Line, n_due: int) -> None:
        self.context = context
        self.line = line
        self.n_due = n_due
        self.waiting: list[Arrival] = []
        self.done = self.refused = self.due_again = 0
        self.rules: Counter[str] = Counter()
        self.interrupted = False
        self.journal = Journal(context.workspace.root)
        line.journal = self.journal.note
        self._writing = asyncio.Lock()
        self._writer: asyncio.Task[None] | None = None

    async def receive(
        self, arrivals: AsyncIterator[Arrival], advance: Callable[[int], None]
    ) -> None:
        """Take every reply; what has arrived is written however this ends."""
        flow = self.context.recipe.flow
        clock = asyncio.create_task(self._each_interval(flow.batch_seconds / 2))
        try:
            with self._heeding_interrupts():
                async for arrival in arrivals:
                    self._count(arrival)
                    advance(self.done)
                    if len(self.waiting) >= flow.batch_rows * _BACKLOG:
                        await self.write()
                    elif len(self.waiting) >= flow.batch_rows:
                        self._write_soon()
        except EndpointError:
            await asyncio.shield(self.write())
            forget(self.context, self.line.endpoint)
            raise
        finally:
            clock.cancel()
            await asyncio.shield(self.write())
            self.journal.close()

    def _count(self, arrival: Arrival) -> None:
        self.waiting.append(arrival)
        self.done += 1
        self.refused += not arrival.answered
        self.due_again += not arrival.answered and arrival.request.limits is None
        if arrival.request.rule is not None:
            self.rules[arrival.request.rule] += 1

    def _write_soon(self) -> None:
        """Write in the background, so that replies go on arriving."""
        if self._writer is not None and self._writer.done():
            self._writer.result()  # a full disk ends the run
            self._writer = None
        if self._writer is None:
            self._writer = asyncio.create_task(self.write())

    async def write(self) -> None:
        """Write what waits, in a thread, so that the requests in flight go on."""
        async with self._writing:
            batch, self.waiting = self.waiting, []
            if batch:
                self.journal.turn()
                try:
                    await asyncio.to_thread(self._write, batch)
                except BaseException:
                    self.waiting = batch + self.waiting  # tried once more at the end
                    raise
                self.journal.stored(arrival.request for arrival in batch)

    async def _each_interval(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            self._write_soon()

    def _write(self, batch: Sequence[Arrival]) -> None:
        by_kind: dict[type, list[object]] = {}
        for row in (row for arrival in batch for row in arrival.rows):
            by_kind.setdefault(type(row), []).append(row)
        with self.context.workspace.store.writing() as tx:
            for rows in by_kind.values():
                tx.upsert(rows)

    @contextmanager
    def _heeding_interrupts(self) -> Iterator[None]:
        """Let the first Ctrl-C finish what is in flight, and the second one stop at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def heed() -> None:
            client = self.line.client
            n = client.traffic().in_flight if client else 0
            if self.line.settings.mode == "batch" and not self.interrupted:
                self.context.report.note(
                    f"Ctrl-C: {n:,} requests stay with the provider; the same command fetches them"
                )
                self.interrupted = True
            if self.interrupted and task is not None:
                task.cancel()
                return
            self.interrupted = True
            self.line.budget.interrupt()
            if client is not None:
                client.halt()  # who waits for Retry-After is not waited for
            self.context.report.note(
                f"Ctrl-C: waiting for {n:,} requests in flight; once more stops at once"
            )

        loop.add_signal_handler(signal.SIGINT, heed)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    def told(self) -> str:
        """Describe what has come back: answers, failures by kind, tokens and cost."""
        spent = self.line.spent
        failed = ", ".join(f"{n:,} {rule}" for rule, n in self.rules.most_common(3))
        cost = f", ${spent.usd:.4f}" if self.line.priced else ""
        return f"{self.done - self.refused:,} answered{', ' + failed if failed else ''}," + (
            f" {spent.tokens:,} tokens{cost}"
        )

    def told_now(self) -> str:
        """Describe how it goes: what is in flight, and what the server refused, too."""
        if self.line.client is None:
            return self.told()
        now = self.line.client.traffic()
        faults = "".join(f", {n:,} {cause}" for cause, n in sorted(now.faults.items()))
        paused = ", paused: nothing succeeds" if now.paused else ""
        return f"{self.told()}, {now.in_flight:,} of {now.limit:,} in flight{faults}{paused}"


class Pace:
    """Tells a progress at most some times a second: at 800 replies a second it costs too much."""

    def __init__(self, tell: Callable[[int], None], seconds: float = 0.2) -> None:
        self._tell = tell
        self._seconds = seconds
        self._last = 0.0

    def __call__(self, done: int) -> None:
        """Tell, where some time has passed."""
        now = time.monotonic()
        if now - self._last >= self._seconds:
            self._last = now
            self._tell(done)


def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine; raise KeyboardInterrupt where a second Ctrl-C ended it."""
    try:
        return asyncio.run(work)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None

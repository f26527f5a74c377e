"""The writer of replies: stores them as they arrive, counts them, and handles Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from memoirist.data.schema.errors import EndpointError
from memoirist.flows.llm.endpoints import delete_endpoint
from memoirist.flows.runtime.context import Context

if TYPE_CHECKING:
    from memoirist.generators.client.session import Session
    from memoirist.generators.tasks.base import TaskResult

_BACKLOG = 10  # batches that may wait for a slow disk, or a reader, before replies have to wait
# Progress for each reply would be too slow at 800 replies a second.
_PROGRESS_SECONDS = 0.2


class ReplyWriter:
    """Writes replies in batches, each within `flow.batch_seconds` of its arrival."""

    def __init__(self, context: Context, session: Session, n_due: int) -> None:
        self.context = context
        self.session = session
        self.n_due = n_due
        self.n_done = self.n_refused = self.n_due_again = 0
        self.interrupted = False
        self._waiting: list[TaskResult] = []
        self._rules: Counter[str] = Counter()
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._shown_at = 0.0

    async def receive(
        self, results: AsyncIterator[TaskResult], advance: Callable[[int, int, str], None]
    ) -> None:
        """Write every reply that arrives, also when the run ends with an error."""
        flow = self.context.recipe.flow
        # A write takes time as well, which the rest of `batch_seconds` is for.
        timer = asyncio.create_task(self._write_regularly(0.75 * flow.batch_seconds))
        try:
            with self._interruptible():
                async for result in results:
                    self._count(result)
                    self._show(advance)
                    if len(self._waiting) >= flow.batch_rows * _BACKLOG:
                        await self._write()
                    elif len(self._waiting) >= flow.batch_rows:
                        self._write_soon()
        except EndpointError:
            await asyncio.shield(self._write())
            delete_endpoint(self.context, self.session.endpoint)
            raise
        finally:
            timer.cancel()
            await asyncio.shield(self._write())

    def _count(self, result: TaskResult) -> None:
        self._waiting.append(result)
        self.n_done += 1
        self.n_refused += not result.answered
        self.n_due_again += not result.answered and result.request.limits is None
        if result.request.rule is not None:
            self._rules[result.request.rule] += 1

    def _show(self, advance: Callable[[int, int, str], None]) -> None:
        now = time.monotonic()
        if now - self._shown_at >= _PROGRESS_SECONDS:
            self._shown_at = now
            advance(self.n_done, self.n_due, self._progress())

    def _write_soon(self) -> None:
        """Write in the background, while replies go on arriving."""
        if self._task is not None and self._task.done():
            self._task.result()  # raises the error of a full disk
            self._task = None
        if self._task is None:
            self._task = asyncio.create_task(self._write())

    async def _write_regularly(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            self._write_soon()

    async def _write(self) -> None:
        """Write the waiting replies in a thread, while the requests go on."""
        async with self._writing:
            batch, self._waiting = self._waiting, []
            if batch:
                try:
                    await asyncio.to_thread(self._upsert, batch)
                except BaseException:
                    self._waiting = batch + self._waiting  # written again at the end
                    raise

    def _upsert(self, batch: Sequence[TaskResult]) -> None:
        by_kind: dict[type, list[object]] = {}
        for row in (row for result in batch for row in result.rows):
            by_kind.setdefault(type(row), []).append(row)
        with self.context.workspace.store.writing() as tx:
            for rows in by_kind.values():
                tx.upsert(rows)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Finish the requests in flight after the first Ctrl-C; stop at once after the second."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        loop.add_signal_handler(signal.SIGINT, self._interrupt, task)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    def _interrupt(self, task: asyncio.Task[Any] | None) -> None:
        client, report = self.session.client, self.context.report
        n = client.state().in_flight if client else 0
        if self.session.settings.mode == "batch" and not self.interrupted:
            report.note(
                f"Ctrl-C: {n:,} requests stay with the provider; the same command fetches them"
            )
            self.interrupted = True
        if self.interrupted and task is not None:
            task.cancel()
            return
        self.interrupted = True
        self.session.budget.interrupt()
        if client is not None:
            client.halt()  # requests that wait for Retry-After are not sent
        report.note(f"Ctrl-C: waiting for {n:,} requests in flight; once more stops at once")

    def summary(self) -> str:
        """Return the progress so far in words: answers, failures by rule, tokens and cost."""
        spent = self.session.spent
        failed = "".join(f", {n:,} {rule}" for rule, n in self._rules.most_common(3))
        cost = f", ${spent.usd:.4f}" if self.session.priced else ""
        return f"{self.n_done - self.n_refused:,} answered{failed}, {spent.tokens:,} tokens{cost}"

    def _progress(self) -> str:
        """Return the summary with the requests in flight and the faults of the server."""
        if self.session.client is None:
            return self.summary()
        state = self.session.client.state()
        faults = "".join(f", {n:,} {cause}" for cause, n in sorted(state.faults.items()))
        paused = ", paused: nothing succeeds" if state.paused else ""
        return f"{self.summary()}, {state.in_flight:,} of {state.limit:,} in flight{faults}{paused}"

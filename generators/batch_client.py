"""The client for whom time is cheap: its requests wait for each other and go as one file.

It is asked as the live one is. What a batch has been asked before is taken from that batch, also
after a restart, so nothing is paid for twice.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from memoirist.data.schema.errors import EndpointError
from memoirist.data.schema.records import Batch
from memoirist.generators.batch_api import BatchApi
from memoirist.generators.batch_book import BatchBook
from memoirist.generators.client import (
    Client,
    Completion,
    Endpoint,
    Message,
    RequestFailed,
    Withheld,
)
from memoirist.generators.completion import read_completion
from memoirist.generators.faults import Fault
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.traffic import TrafficNow

# All who want to ask have asked when nobody has for so long.
_QUIET_SECONDS = 0.3
_MOST_BYTES = 150_000_000  # providers take files of 200 MB


@dataclass(slots=True)
class _Waiting:
    """A request that has no reply yet, and who waits for it."""

    body: bytes
    replies: list[asyncio.Future[Completion]] = field(default_factory=list)
    attempts: int = 0


class BatchClient(Client):
    """Send requests through the Batch API; an async context manager."""

    def __init__(self, settings: InterviewSettings, base_url: str, book: BatchBook) -> None:
        """Remember where to ask and where batches are written down."""
        super().__init__(settings, base_url)
        self._book = book
        self._api = BatchApi(self._transport, base_url)
        self._waiting: dict[str, _Waiting] = {}
        self._unsent: list[str] = []
        self._homes = {
            name: batch
            for batch in book.batches(base_url)
            if batch.status != "failed"
            for name in batch.custom_ids
        }
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._flush: asyncio.TimerHandle | None = None
        self._told: dict[str, int] = {}

    @property
    def at_once(self) -> int:
        """Return how many requests to hand over at a time: as many as a file takes."""
        return self._settings.batch_requests

    def traffic(self) -> TrafficNow:
        """Return what the requests are doing now."""
        waiting = len(self._waiting)
        return TrafficNow(
            in_flight=waiting, limit=self.at_once, sent=waiting, faults=self._told, paused=False
        )

    async def __aexit__(self, *exit_: Any) -> None:  # noqa: ANN401 - the three of the protocol
        """Let the batches go on without us, and close the connections."""
        if self._flush is not None:
            self._flush.cancel()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await super().__aexit__(*exit_)

    async def complete(
        self, messages: Sequence[Message], endpoint: Endpoint, schema: Mapping[str, Any]
    ) -> Completion:
        """Return the reply to `messages`, however long it takes.

        Raise RequestFailed, Withheld where no more may be sent, or EndpointError to end the run.
        """
        body = self._request(messages, self._opening(endpoint, schema))
        name = hashlib.sha256(body).hexdigest()[:32]
        may_send = self._traffic.may_send
        known = name in self._homes or name in self._waiting
        if not known and may_send is not None and not may_send():
            raise Withheld
        waiting = self._waiting.setdefault(name, _Waiting(body))
        reply: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        waiting.replies.append(reply)
        if len(waiting.replies) == 1:
            self._place(name)
        return await reply

    def _place(self, name: str) -> None:
        """Wait for the batch that holds a request, or put it into the next one."""
        home = self._homes.get(name)
        if home is not None:
            if home.key not in self._tasks:
                self._start(home.key, self._fetched(home))
            return
        self._unsent.append(name)
        if self._flush is not None:
            self._flush.cancel()
        loop = asyncio.get_running_loop()
        quiet = 0.0 if len(self._unsent) >= self.at_once else _QUIET_SECONDS
        self._flush = loop.call_later(quiet, self._send_unsent)

    def _send_unsent(self) -> None:
        names, self._unsent = self._unsent, []
        while names:
            size = taken = 0
            while taken < min(len(names), self.at_once) and size < _MOST_BYTES:
                size += len(self._waiting[names[taken]].body)
                taken += 1
            chunk, names = names[:taken], names[taken:]
            key = hashlib.sha256("".join(sorted(chunk)).encode()).hexdigest()[:32]
            batch = Batch(
                key=key,
                base_url=self._base_url,
                status="sending",
                custom_ids=tuple(chunk),
                created_at=datetime.now(UTC),
            )
            self._homes |= dict.fromkeys(chunk, batch)
            self._start(key, self._submitted(batch))

    def _start(self, key: str, work: Any) -> None:  # noqa: ANN401 - a coroutine
        task = asyncio.create_task(self._guarded(key, work))
        self._tasks[key] = task

    async def _guarded(self, key: str, work: Any) -> None:  # noqa: ANN401 - a coroutine
        """Hand whatever ends a batch to those who wait for it."""
        try:
            await work
        except Exception as error:  # noqa: BLE001 - it is raised where the reply is awaited
            self._fail(error)
        finally:
            self._tasks.pop(key, None)

    async def _submitted(self, batch: Batch) -> None:
        # Written down before: if nobody hears whether it arrived, it is looked for by its key.
        self._book.note(batch)
        bodies = {name: self._waiting[name].body for name in batch.custom_ids}
        for name in batch.custom_ids:
            self._waiting[name].attempts += 1
        state = await self._api.submit(bodies, batch.key)
        await self._watched(replace(batch, id=state.id, status=state.status))

    async def _fetched(self, batch: Batch) -> None:
        """Take up a batch of an earlier run."""
        if batch.id is None:
            state = await self._api.find(batch.key)
            if state is None:
                self._again(batch, {})
                return
            batch = replace(batch, id=state.id)
        await self._watched(batch)

    async def _watched(self, batch: Batch) -> None:
        """Wait for a batch to end and hand out what it brought."""
        self._book.note(batch)
        while True:
            state = await self._api.state(batch.id or "")
            if state is None:
                self._again(batch, {})
                return
            if state.status != batch.status:
                batch = replace(batch, status=state.status)
                self._book.note(batch)
            if state.ended:
                break
            await asyncio.sleep(self._settings.batch_poll_seconds)
        if state.status == "failed":
            raise EndpointError(
                f"the provider refused batch {state.id}: {state.said or 'it does not say why'}",
                'lower interview.batch_requests, or set interview.mode = "live"',
            )
        self._again(batch, await self._api.results(state))

    def _again(self, batch: Batch, results: Mapping[str, dict[str, Any] | Fault]) -> None:
        """Answer the requests of a batch, and place again what it has not answered."""
        for name in batch.custom_ids:
            self._homes.pop(name, None)
            waiting = self._waiting.get(name)
            if waiting is None:
                continue
            got = results.get(name) or Fault("again", f"batch {batch.id} {batch.status}")
            if not isinstance(got, Fault):
                del self._waiting[name]
                completion = read_completion(got, max(1, waiting.attempts), 0.0)
                self._answer(waiting, completion)
            elif got.kind in {"stop", "schema"}:
                raise self._stop(got.message)
            elif got.kind == "this" or waiting.attempts >= self._settings.max_attempts:
                del self._waiting[name]
                self._answer(
                    waiting,
                    RequestFailed(
                        got.message,
                        attempts=waiting.attempts,
                        seconds=0.0,
                        lasting=got.kind == "this",
                    ),
                )
            else:
                self._told[got.cause] = self._told.get(got.cause, 0) + 1
                self._place(name)

    @staticmethod
    def _answer(waiting: _Waiting, answer: Completion | RequestFailed) -> None:
        for reply in waiting.replies:
            if reply.done():
                continue
            if isinstance(answer, Completion):
                reply.set_result(answer)
            else:
                reply.set_exception(answer)

    def _fail(self, error: Exception) -> None:
        for waiting in self._waiting.values():
            for reply in waiting.replies:
                if not reply.done():
                    reply.set_exception(error)
        self._waiting.clear()

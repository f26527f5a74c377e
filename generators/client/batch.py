"""The Batch API: requests wait for each other, go as one file, and are fetched within a day.

Its client is asked as the live one is. What a batch has been asked before is taken from that batch,
also after a restart, so nothing is paid for twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from memoirist.data.schema.errors import EndpointError
from memoirist.data.schema.records import Batch
from memoirist.generators.client.client import Client, ClientState, Endpoint, Message
from memoirist.generators.client.errors import (
    Fault,
    RequestFailed,
    Withheld,
    error_in_200,
    fault_of,
    scrub,
    status_fault,
)
from memoirist.generators.client.responses import Completion, read_completion
from memoirist.generators.client.retry import pause_seconds
from memoirist.generators.settings import InterviewSettings

if TYPE_CHECKING:
    from openai.types import Batch as BatchState

T = TypeVar("T")
_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_PATH: Final = "/v1/chat/completions"
_NAME = "memoirist"
_TRIES = 6
_LONGEST_PAUSE_SECONDS = 20.0
# All who want to ask have asked when nobody has for so long.
_QUIET_SECONDS = 0.3
_MOST_BYTES = 150_000_000  # providers take files of 200 MB


class BatchStore(Protocol):
    """Where the batches of a workspace are kept."""

    def batches(self, base_url: str) -> Sequence[Batch]:
        """Return the ones at one address, the oldest first."""

    def save(self, batch: Batch) -> None:
        """Keep one, before anything else happens."""


@dataclass(slots=True)
class _Waiting:
    """A request that has no reply yet, and who waits for it."""

    body: bytes
    replies: list[asyncio.Future[Completion]] = field(default_factory=list)
    attempts: int = 0


class BatchClient(Client):
    """Send requests through the Batch API; an async context manager."""

    def __init__(self, settings: InterviewSettings, base_url: str, store: BatchStore) -> None:
        """Remember where to ask and where batches are kept."""
        super().__init__(settings, base_url)
        self._store = store
        self._waiting: dict[str, _Waiting] = {}
        self._unsent: list[str] = []
        self._batch_of = {
            name: batch
            for batch in store.batches(base_url)
            if batch.status != "failed"
            for name in batch.custom_ids
        }
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._flush: asyncio.TimerHandle | None = None

    @property
    def at_once(self) -> int:
        """Return how many requests to hand over at a time: as many as a file takes."""
        return self._settings.batch_requests

    def state(self) -> ClientState:
        """Return what the requests are doing now."""
        return ClientState(
            in_flight=len(self._waiting),
            limit=self.at_once,
            faults=dict(self._faults),
            paused=False,
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
        parameters = self._parameters(endpoint, schema, self._settings.max_reply_tokens)
        body = json.dumps({**parameters, "messages": [dict(one) for one in messages]}).encode()
        name = hashlib.sha256(body).hexdigest()[:32]
        if name not in self._batch_of and name not in self._waiting and not self._may_send():
            raise Withheld
        waiting = self._waiting.setdefault(name, _Waiting(body))
        reply: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        waiting.replies.append(reply)
        if len(waiting.replies) == 1:
            self._place(name)
        return await reply

    def _place(self, name: str) -> None:
        """Wait for the batch that holds a request, or put it into the next one."""
        batch = self._batch_of.get(name)
        if batch is not None:
            if batch.key not in self._tasks:
                self._start(batch, self._fetch)
            return
        self._unsent.append(name)
        if self._flush is not None:
            self._flush.cancel()
        quiet = 0.0 if len(self._unsent) >= self.at_once else _QUIET_SECONDS
        self._flush = asyncio.get_running_loop().call_later(quiet, self._send_unsent)

    def _send_unsent(self) -> None:
        names, self._unsent = self._unsent, []
        while names:
            size = n_taken = 0
            while n_taken < min(len(names), self.at_once) and size < _MOST_BYTES:
                size += len(self._waiting[names[n_taken]].body)
                n_taken += 1
            chunk, names = names[:n_taken], names[n_taken:]
            batch = Batch(
                key=hashlib.sha256("".join(sorted(chunk)).encode()).hexdigest()[:32],
                base_url=self._base_url,
                status="sending",
                custom_ids=tuple(chunk),
                created_at=datetime.now(UTC),
            )
            self._batch_of |= dict.fromkeys(chunk, batch)
            self._start(batch, self._submit)

    def _start(self, batch: Batch, work: Callable[[Batch], Awaitable[None]]) -> None:
        self._tasks[batch.key] = asyncio.create_task(self._guarded(batch, work))

    async def _guarded(self, batch: Batch, work: Callable[[Batch], Awaitable[None]]) -> None:
        """Hand whatever ends a batch to those who wait for it."""
        try:
            await work(batch)
        except Exception as error:  # noqa: BLE001 - it is raised where the reply is awaited
            for waiting in self._waiting.values():
                _answer(waiting, error)
            self._waiting.clear()
        finally:
            self._tasks.pop(batch.key, None)

    async def _submit(self, batch: Batch) -> None:
        # Kept before it is sent: if nobody hears whether it arrived, it is looked for by its key.
        self._store.save(batch)
        lines = []
        for name in batch.custom_ids:
            waiting = self._waiting[name]
            waiting.attempts += 1
            line = {"custom_id": name, "method": "POST", "url": _PATH}
            lines.append(json.dumps(line)[:-1].encode() + b', "body": ' + waiting.body + b"}\n")
        content = (f"{_NAME}-{batch.key}.jsonl", b"".join(lines), "application/jsonl")
        file = await self._patient(lambda: self._sdk.files.create(file=content, purpose="batch"))

        async def create() -> BatchState:
            # An earlier attempt may have arrived all the same, and must not be paid for twice.
            known = await self._find(batch.key) if tried else None
            tried.append(batch.key)
            return known or await self._sdk.batches.create(
                input_file_id=file.id,
                endpoint=_PATH,
                completion_window="24h",
                metadata={_NAME: batch.key},
            )

        tried: list[str] = []
        state = await self._patient(create)
        await self._watch(replace(batch, id=state.id, status=state.status))

    async def _fetch(self, batch: Batch) -> None:
        """Take up a batch of an earlier run."""
        if batch.id is None:
            state = await self._patient(lambda: self._find(batch.key, ended_too=True))
            if state is None:
                self._deliver(batch, {})
                return
            batch = replace(batch, id=state.id)
        await self._watch(batch)

    async def _find(self, key: str, *, ended_too: bool = False) -> BatchState | None:
        """Return the batch that was started under `key`, if the provider lists one."""
        page = await self._sdk.batches.list(limit=100)
        for state in page.data or ():
            if (state.metadata or {}).get(_NAME) == key:
                return state if ended_too or state.status not in _ENDED else None
        return None

    async def _watch(self, batch: Batch) -> None:
        """Wait for a batch to end and hand out what it brought."""
        self._store.save(batch)
        while True:
            state = await self._known(partial(self._sdk.batches.retrieve, batch.id or ""))
            if state is None:
                self._deliver(batch, {})
                return
            if state.status != batch.status:
                batch = replace(batch, status=state.status)
                self._store.save(batch)
            if state.status in _ENDED:
                break
            await asyncio.sleep(self._settings.batch_poll_seconds)
        if state.status == "failed":
            errors = state.errors.data if state.errors else None
            said = scrub(errors[0].message or "") if errors else ""
            raise EndpointError(
                f"the provider refused batch {state.id}: {said or 'it does not say why'}",
                'lower interview.batch_requests, or set interview.mode = "live"',
            )
        results: dict[str, dict[str, Any] | Fault] = {}
        for file_id in filter(None, (state.output_file_id, state.error_file_id)):
            # A file that has been deleted: its requests are sent again.
            content = await self._known(partial(self._sdk.files.content, file_id))
            results |= _results(content.content if content else b"")
        self._deliver(batch, results)

    def _deliver(self, batch: Batch, results: Mapping[str, dict[str, Any] | Fault]) -> None:
        """Answer the requests of a batch, and place again what it has not answered."""
        for name in batch.custom_ids:
            self._batch_of.pop(name, None)
            waiting = self._waiting.get(name)
            if waiting is None:
                continue
            result = results.get(name) or Fault("again", f"batch {batch.id} {batch.status}")
            if not isinstance(result, Fault):
                answer: Completion | RequestFailed = read_completion(
                    result, max(1, waiting.attempts), 0.0
                )
            elif result.kind in {"stop", "schema"}:
                raise self._stop(result.message)
            elif result.kind == "again" and waiting.attempts < self._settings.max_attempts:
                self._faults[result.cause] += 1
                self._place(name)
                continue
            else:
                lasting = result.kind == "this"
                answer = RequestFailed(
                    result.message, attempts=waiting.attempts, seconds=0.0, lasting=lasting
                )
            del self._waiting[name]
            _answer(waiting, answer)

    async def _known(self, call: Callable[[], Awaitable[T]]) -> T | None:
        """Return what a call returns, None where the provider does not know what it asks for."""
        from openai import NotFoundError

        try:
            return await self._patient(call, missing_api=False)
        except NotFoundError:
            return None

    async def _patient(self, call: Callable[[], Awaitable[T]], *, missing_api: bool = True) -> T:
        """Return what a call to files or batches returns, tried again after a passing fault."""
        from openai import NotFoundError, OpenAIError

        attempt = 1
        while True:
            try:
                return await call()
            except NotFoundError as error:
                if not missing_api:
                    raise
                raise EndpointError(
                    f"the server has no Batch API (404 for {error.request.url})",
                    'set interview.mode = "live"',
                ) from None
            except (OpenAIError, OSError, ValueError) as error:
                fault = fault_of(error)
                if fault.kind != "again" or attempt == _TRIES:
                    raise self._stop(fault.message) from None
            pause = pause_seconds(fault.retry_after, attempt, _LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(pause)
            attempt += 1


def _answer(waiting: _Waiting, answer: Completion | Exception) -> None:
    for reply in waiting.replies:
        if reply.done():
            continue
        if isinstance(answer, Completion):
            reply.set_result(answer)
        else:
            reply.set_exception(answer)


def _results(content: bytes) -> Iterator[tuple[str, dict[str, Any] | Fault]]:
    """Yield the custom id and the reply of each line; a line that is none is left out."""
    for line in content.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if not isinstance(row, dict) or not isinstance(row.get("custom_id"), str):
            continue
        response = row.get("response")
        if isinstance(response, dict):
            yield row["custom_id"], _body_or_fault(response)
            continue
        error = row.get("error")
        words = error.get("message") or error.get("code") if isinstance(error, dict) else error
        yield row["custom_id"], Fault("again", f"the batch: {scrub(str(words))}", cause="server")


def _body_or_fault(response: Mapping[str, Any]) -> dict[str, Any] | Fault:
    status, body = int(response.get("status_code") or 0), response.get("body")
    if status != 200 or not isinstance(body, dict):
        return status_fault(status or 500, {}, body)
    if "choices" not in body and body.get("error"):
        return error_in_200(body["error"], {})
    return body

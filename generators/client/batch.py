"""The Batch API client: requests are collected, sent as one file, and fetched within a day.

It has the methods of the live client. A request that an earlier batch holds is taken from that
batch, also after a restart, so nothing is paid for twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from memoirist.data.schema.errors import EndpointError
from memoirist.data.schema.records import Batch
from memoirist.generators.client.client import Client, ClientState
from memoirist.generators.client.endpoint import Endpoint, Message
from memoirist.generators.client.http_errors import (
    Fault,
    RequestFailed,
    Withheld,
    classify_error,
    scrub,
    status_fault,
)
from memoirist.generators.client.responses import Completion, body_or_fault, read_completion
from memoirist.generators.client.retry import pause_seconds
from memoirist.generators.settings import InterviewSettings

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types import Batch as BatchState


T = TypeVar("T")
_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_PATH: Final = "/v1/chat/completions"
_NAME = "memoirist"
_MAX_RETRIES = 6
_CALL_SECONDS = 600.0  # a file of 50,000 requests takes a while to go up
_LONGEST_PAUSE_SECONDS = 20.0
# A file is sent when no new request has come for this long.
_QUIET_SECONDS = 0.3
_MAX_BYTES = 150_000_000  # providers take files of 200 MB


class BatchStore(Protocol):
    """The stored batches of a workspace."""

    def batches(self, base_url: str) -> Sequence[Batch]:
        """Return the batches at one address, the oldest first."""

    def save(self, batch: Batch) -> None:
        """Store a batch; this must be done before it is sent."""


@dataclass(slots=True)
class _Pending:
    """A request without a reply yet; `complete` calls with the same body await the same reply."""

    body: bytes
    reply: asyncio.Future[Completion]
    attempts: int = 0


class BatchClient(Client):
    """Send requests through the Batch API; an async context manager."""

    def __init__(self, settings: InterviewSettings, base_url: str, store: BatchStore) -> None:
        """Use the server at `base_url`, and the batches of `store` for requests sent before."""
        super().__init__(settings, base_url)
        self._store = store
        self._pending: dict[str, _Pending] = {}
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
        """Return how many `complete` calls to make at a time: as many as a file holds."""
        return self._settings.batch_requests

    def state(self) -> ClientState:
        """Return the state of the requests now."""
        return ClientState(
            in_flight=len(self._pending),
            limit=self.at_once,
            faults=dict(self._faults),
            paused=False,
        )

    async def __aexit__(self, *error: object) -> None:
        """Leave the batches to the provider, and close the connections."""
        if self._flush is not None:
            self._flush.cancel()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await super().__aexit__(*error)

    async def complete(
        self,
        messages: Sequence[Message],
        endpoint_now: Callable[[], Endpoint],
        schema: Mapping[str, Any],
    ) -> Completion:
        """Return the reply to `messages`, within a day.

        Raise RequestFailed, Withheld where no more may be sent, or EndpointError to end the run.
        """
        whole = replace(endpoint_now(), streams="no")  # a batch has nobody to stream to
        limit = self._settings.max_reply_tokens
        body = json.dumps(whole.request(messages, schema, self._settings, limit)).encode()
        name = hashlib.sha256(body).hexdigest()[:32]
        if name not in self._pending:
            if name not in self._batch_of and not self.may_send():
                raise Withheld
            self._pending[name] = _Pending(body, asyncio.get_running_loop().create_future())
            self._place(name)
        return await asyncio.shield(self._pending[name].reply)

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
            while n_taken < min(len(names), self.at_once) and size < _MAX_BYTES:
                size += len(self._pending[names[n_taken]].body)
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
        """Do the work of a batch; every task that awaits a reply raises its error."""
        try:
            await work(batch)
        except Exception as error:  # noqa: BLE001 - the awaiting tasks raise it
            for request in self._pending.values():
                request.reply.set_exception(error)
            self._pending.clear()
        finally:
            self._tasks.pop(batch.key, None)

    async def _submit(self, batch: Batch) -> None:
        # Saved before it is sent: if the answer is lost, the batch is found again by its key.
        self._store.save(batch)
        lines = []
        for name in batch.custom_ids:
            request = self._pending[name]
            request.attempts += 1
            line = {"custom_id": name, "method": "POST", "url": _PATH}
            lines.append(json.dumps(line)[:-1].encode() + b', "body": ' + request.body + b"}\n")
        content = (f"{_NAME}-{batch.key}.jsonl", b"".join(lines), "application/jsonl")
        file = await self._call(self._retrying.files.create(file=content, purpose="batch"))
        if file is None:
            raise EndpointError(
                f"the server has no Batch API (404 at {self._base_url})",
                'set interview.mode = "live"',
            )
        state = await self._create(batch.key, file.id)
        await self._watch(replace(batch, id=state.id, status=state.status))

    async def _create(self, key: str, file_id: str) -> BatchState:
        """Start the batch of a file, once: an attempt whose answer is lost may have arrived."""
        from openai import OpenAIError

        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._sdk.batches.create(
                    input_file_id=file_id,
                    endpoint=_PATH,
                    completion_window="24h",
                    metadata={_NAME: key},
                    timeout=_CALL_SECONDS,
                )
            except (OpenAIError, OSError, ValueError) as error:
                fault = classify_error(error)
                if fault.kind != "retry" or attempt == _MAX_RETRIES:
                    raise self.stop(fault.message) from None
            await asyncio.sleep(pause_seconds(fault.retry_after, attempt, _LONGEST_PAUSE_SECONDS))
            state = await self._find(key)
            if state is not None and state.status not in _ENDED:
                return state

    async def _fetch(self, batch: Batch) -> None:
        """Wait for a batch of an earlier run; where the provider has none, send it again."""
        if batch.id is None:
            state = await self._find(batch.key)
            batch = replace(batch, id=state.id if state else None)
        await self._watch(batch)

    async def _find(self, key: str) -> BatchState | None:
        """Return the newest batch that was started under `key`, if the provider lists one."""
        page = await self._call(self._retrying.batches.list(limit=100))
        batches = page.data if page else ()
        return next((b for b in batches if (b.metadata or {}).get(_NAME) == key), None)

    async def _watch(self, batch: Batch) -> None:
        """Wait until a batch has ended and deliver its replies."""
        self._store.save(batch)
        while True:
            call = self._retrying.batches.retrieve(batch.id) if batch.id else None
            state = await self._call(call) if call else None
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
            reason = scrub(errors[0].message or "") if errors else ""
            raise EndpointError(
                f"the provider refused batch {state.id}: {reason or 'no reason given'}",
                'lower interview.batch_requests, or set interview.mode = "live"',
            )
        results: dict[str, dict[str, Any] | Fault] = {}
        for file_id in filter(None, (state.output_file_id, state.error_file_id)):
            # The requests of a deleted file are sent again.
            content = await self._call(self._retrying.files.content(file_id))
            results |= _results(content.content if content else b"")
        self._deliver(batch, results)

    def _deliver(self, batch: Batch, results: Mapping[str, dict[str, Any] | Fault]) -> None:
        """Hand out the replies of a batch, and place its unanswered requests again."""
        for name in batch.custom_ids:
            self._batch_of.pop(name, None)
            request = self._pending.get(name)
            if request is None:
                continue
            result = results.get(name) or Fault("retry", f"batch {batch.id} {batch.status}")
            if not isinstance(result, Fault):
                request.reply.set_result(read_completion(result, max(1, request.attempts), 0.0))
            elif result.kind in {"stop", "schema"}:
                raise self.stop(result.message)
            elif result.kind == "retry" and request.attempts < self._settings.max_attempts:
                self._faults[result.cause] += 1
                self._place(name)
                continue
            else:
                failure = RequestFailed(result, attempts=request.attempts, seconds=0.0)
                request.reply.set_exception(failure)
            del self._pending[name]

    @property
    def _retrying(self) -> AsyncOpenAI:
        """Return the SDK's client with its own retries, for calls that may be repeated."""
        return self._sdk.with_options(max_retries=_MAX_RETRIES, timeout=_CALL_SECONDS)

    async def _call(self, call: Awaitable[T]) -> T | None:
        """Return the result of an SDK call to files or batches, None for 404 (not found)."""
        from openai import NotFoundError, OpenAIError

        try:
            return await call
        except NotFoundError:
            return None
        except (OpenAIError, OSError, ValueError) as error:
            raise self.stop(classify_error(error).message) from None


def _results(content: bytes) -> Iterator[tuple[str, dict[str, Any] | Fault]]:
    """Yield the custom id and the reply of each line; skip lines of another form."""
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
        yield row["custom_id"], Fault("retry", f"the batch: {scrub(str(words))}", cause="server")


def _body_or_fault(response: Mapping[str, Any]) -> dict[str, Any] | Fault:
    status, body = int(response.get("status_code") or 0), response.get("body")
    if status != 200 or not isinstance(body, dict):
        return status_fault(status or 500, {}, body)
    return body_or_fault(body, {})

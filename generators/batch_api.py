"""The Batch API of the OpenAI protocol: a file of requests in, files of replies and errors out."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from memoirist.data.schema.errors import EndpointError
from memoirist.generators.completion import parsed_body
from memoirist.generators.faults import Fault, next_step, scrub, status_fault
from memoirist.generators.transport import Answer, Transport

ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_PATH = "/v1/chat/completions"
_NAME = "memoirist"
_SECONDS = 600.0
_TRIES = 6
_FIRST_PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchState:
    """What the provider says of one batch."""

    id: str
    status: str
    key: str | None
    result_files: tuple[str, ...]
    said: str

    @property
    def ended(self) -> bool:
        """Tell whether nothing more comes of it."""
        return self.status in ENDED


class BatchApi:
    """Files and batches at one address."""

    def __init__(self, transport: Transport, base_url: str) -> None:
        """Speak over the connections of `transport`."""
        self._transport = transport
        self._base_url = base_url

    async def submit(self, bodies: Mapping[str, bytes], key: str) -> BatchState:
        """Send a file of requests by their custom ids, and start it under `key`."""
        lines = b"".join(
            b'{"custom_id": %s, "method": "POST", "url": "%s", "body": %s}\n'
            % (json.dumps(name).encode(), _PATH.encode(), body)
            for name, body in bodies.items()
        )
        form, kind = _form(lines, key)
        uploaded = await self._call("/files", form, kind=kind)
        request = {
            "input_file_id": uploaded.get("id"),
            "endpoint": _PATH,
            "completion_window": "24h",
            "metadata": {_NAME: key},
        }
        body = json.dumps(request).encode()
        for attempt in range(_TRIES):
            got = await self._transport.send("/batches", body, _SECONDS)
            if not isinstance(got, Fault) or got.cause not in {"broken", "timeout"}:
                break
            # It may have arrived all the same, and must not be paid for twice.
            found = await self.find(key)
            if found is not None and not found.ended:
                return found
            await asyncio.sleep(_FIRST_PAUSE_SECONDS * 2**attempt)
        if isinstance(got, Answer) and got.status == 200:
            return _state(self._body(got))
        return _state(await self._call("/batches", body))

    async def state(self, batch_id: str) -> BatchState | None:
        """Return what the provider says of a batch, None where it knows none of that id."""
        try:
            return _state(await self._call(f"/batches/{batch_id}", None))
        except _Unknown:
            return None

    async def find(self, key: str) -> BatchState | None:
        """Return the batch that was started under `key`, if the provider lists one."""
        listed = await self._call("/batches?limit=100", None)
        rows = listed.get("data")
        states = [_state(row) for row in rows if isinstance(row, dict)] if rows else []
        return next((state for state in states if state.key == key), None)

    async def results(self, state: BatchState) -> dict[str, dict[str, Any] | Fault]:
        """Return the body or the fault of every request that the batch's files tell of."""
        found: dict[str, dict[str, Any] | Fault] = {}
        for file_id in state.result_files:
            try:
                answer = await self._sent(f"/files/{file_id}/content", None)
            except _Unknown:
                continue  # it has been deleted: its requests are sent again
            for name, body in _results(answer.body):
                found[name] = body
        return found

    async def _call(
        self, path: str, body: bytes | None, *, kind: str = "application/json"
    ) -> dict[str, Any]:
        return self._body(await self._sent(path, body, kind=kind))

    def _body(self, answer: Answer) -> dict[str, Any]:
        parsed = parsed_body(answer)
        if isinstance(parsed, Fault):
            raise self._stop(parsed.message)
        return parsed

    async def _sent(
        self, path: str, body: bytes | None, *, kind: str = "application/json"
    ) -> Answer:
        """Send until there is an answer; raise _Unknown for a 404, EndpointError for the rest."""
        message = ""
        for attempt in range(_TRIES):
            got = await self._transport.send(path, body, _SECONDS, kind=kind)
            if isinstance(got, Answer) and got.status == 200:
                return got
            if isinstance(got, Answer) and got.status == 404:
                if path in {"/files", "/batches"}:
                    raise EndpointError(
                        f"the server has no Batch API (404 for {path} at {self._base_url})",
                        'set interview.mode = "live"',
                    )
                raise _Unknown(path)
            fault = (
                got if isinstance(got, Fault) else status_fault(got.status, got.headers, got.body)
            )
            message = fault.message
            if fault.kind != "again":
                break
            pause = fault.retry_after or _FIRST_PAUSE_SECONDS * 2**attempt
            await asyncio.sleep(pause * (0.75 + random.random() / 2))
        raise self._stop(message)

    def _stop(self, message: str) -> EndpointError:
        return EndpointError(f"{message} (at {self._base_url})", next_step(message))


class _Unknown(Exception):
    """The provider does not know what was asked for."""


def _form(lines: bytes, key: str) -> tuple[bytes, str]:
    """Return the multipart form (RFC 7578) of an upload and its media type."""
    mark = hashlib.sha256(key.encode()).hexdigest()
    part = f'--{mark}\r\nContent-Disposition: form-data; name="{{}}"{{}}\r\n\r\n'
    purpose = part.format("purpose", "").encode() + b"batch\r\n"
    named = f'; filename="{_NAME}-{key}.jsonl"\r\nContent-Type: application/jsonl'
    file = part.format("file", named).encode() + lines + b"\r\n"
    return purpose + file + f"--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"


def _state(row: Mapping[str, Any]) -> BatchState:
    metadata = row.get("metadata")
    files = (row.get("output_file_id"), row.get("error_file_id"))
    errors = row.get("errors")
    told = errors.get("data") if isinstance(errors, dict) else None
    first = told[0] if isinstance(told, list) and told else {}
    return BatchState(
        id=str(row.get("id") or ""),
        status=str(row.get("status") or ""),
        key=metadata.get(_NAME) if isinstance(metadata, dict) else None,
        result_files=tuple(str(name) for name in files if name),
        said=scrub(str(first.get("message") or "")) if isinstance(first, dict) else "",
    )


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
            answer = Answer(
                int(response.get("status_code") or 0), {}, json.dumps(response.get("body")).encode()
            )
            yield row["custom_id"], parsed_body(answer)
            continue
        error = row.get("error")
        words = error.get("message") or error.get("code") if isinstance(error, dict) else error
        yield row["custom_id"], Fault("again", f"the batch: {scrub(str(words))}", cause="server")

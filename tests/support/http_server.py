"""A small HTTP/1.1 server on asyncio alone: cheap enough to share two cores with what it tests.

It answers one request at a time per connection, keeps connections, reads chunked bodies, and lets
a handler write broken bytes or cut the line, which no web framework allows.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http.client import responses
from typing import Any

_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:\s*chunked", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect:\s*100-continue", re.IGNORECASE)


@dataclass(slots=True)
class Request:
    """One request, whole."""

    method: str
    path: str
    head: bytes
    body: bytes

    def header(self, name: str) -> str:
        found = re.search(rb"\r\n" + name.encode() + rb":[ \t]*([^\r]*)", self.head, re.IGNORECASE)
        return found.group(1).decode("latin-1") if found else ""

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Response:
    """One answer; a `body` that is no bytes is sent as JSON."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    def encoded(self) -> bytes:
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        lines = [
            f"HTTP/1.1 {self.status} {responses.get(self.status, 'Unknown')}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


Handler = Callable[[Request, "Line"], Awaitable[Response | None]]


class Line(asyncio.Protocol):
    """One connection; a handler that returns None has written, or cut, by itself."""

    def __init__(self, handler: Handler, lines: set[Line]) -> None:
        self._handler = handler
        self._lines = lines
        self._buffer = bytearray()
        self._task: asyncio.Task[None] | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._lines.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lines.discard(self)
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._task is None:
            self._next()

    def write(self, data: bytes) -> None:
        """Send raw bytes, whatever they say."""
        self.transport.write(data)

    def _next(self) -> None:
        request = self._take()
        if request is not None:
            self._task = asyncio.get_running_loop().create_task(self._serve(request))

    async def _serve(self, request: Request) -> None:
        response = await self._handler(request, self)
        self._task = None
        if self.transport.is_closing():
            return
        if response is not None:
            self.transport.write(response.encoded())
        if self._buffer:
            self._next()

    def _take(self) -> Request | None:
        """Take one whole request off the buffer, None while it is incomplete."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self._buffer[: end + 2])
        if _CHUNKED.search(head):
            got = self._chunks(end + 4)
            if got is None:
                return None
            body, over = got
        else:
            length = _LENGTH.search(head)
            over = end + 4 + (int(length.group(1)) if length else 0)
            if len(self._buffer) < over:
                if len(self._buffer) == end + 4 and _EXPECT.search(head):
                    self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return None
            body = bytes(self._buffer[end + 4 : over])
        del self._buffer[:over]
        method, path, _ = head.split(b" ", 2)
        return Request(method.decode(), path.decode(), head, body)

    def _chunks(self, place: int) -> tuple[bytes, int] | None:
        body = bytearray()
        while True:
            line = self._buffer.find(b"\r\n", place)
            if line < 0:
                return None
            size = int(bytes(self._buffer[place:line]).split(b";")[0], 16)
            place = line + 2 + size + 2
            if len(self._buffer) < place:
                return None
            if size == 0:
                return bytes(body), place
            body += self._buffer[line + 2 : place - 2]

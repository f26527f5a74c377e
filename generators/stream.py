"""One streamed answer of a chat endpoint, piece by piece as the server sends it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memoirist.data.schema.errors import EndpointError

_CHECK = "see whether the server still runs and what its log says, or ask again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Some words of an answer; `finish` is the server's reason to end it, on the last piece."""

    words: str
    finish: str | None = None


async def stream_chat(
    base_url: str,
    model: str,
    messages: Sequence[Mapping[str, str]],
    options: Mapping[str, object],
) -> AsyncIterator[Piece]:
    """Yield an answer as it comes; the last piece tells why it ended: stop, length, ...

    `options` are further keys of the request, such as temperature. Raises EndpointError where the
    server refuses, cannot be reached, or breaks off before it has told why.
    """
    import aiohttp

    body = {"model": model, "messages": list(messages), "stream": True, **options}
    # An answer may take minutes; silence for so long means that nothing comes any more.
    timeout = aiohttp.ClientTimeout(total=None, connect=30, sock_read=600)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(f"{base_url}/chat/completions", json=body) as response,
        ):
            if response.status != 200:
                told = (await response.text())[:300]
                raise EndpointError(f"the server answers {response.status}: {told}", _CHECK)
            async for line in response.content:
                piece = _piece(line)
                if piece.words or piece.finish:
                    yield piece
                if piece.finish:
                    return
            raise EndpointError("the answer broke off: the server ended in the midst", _CHECK)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        told = str(error) or type(error).__name__
        raise EndpointError(f"the answer broke off: {told}", _CHECK) from error


def _piece(line: bytes) -> Piece:
    """Return what one line of server-sent events says; a stream may end without a reason."""
    if not line.startswith(b"data:"):
        return Piece(words="")
    payload = line.removeprefix(b"data:").strip()
    if payload == b"[DONE]":
        return Piece(words="", finish="stop")
    try:
        event: Any = json.loads(payload)
    except ValueError as error:
        raise EndpointError(f"the server sent no JSON: {payload[:100]!r}", _CHECK) from error
    if "error" in event:
        raise EndpointError(f"the server failed: {event['error']}", _CHECK)
    choice = (event.get("choices") or [{}])[0]
    words = str((choice.get("delta") or {}).get("content") or "")
    return Piece(words=words, finish=choice.get("finish_reason"))

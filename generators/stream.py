"""One streamed answer of a chat endpoint, piece by piece as the server sends it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from data.errors import EndpointError

_CHECK = "look into the server's log, or ask again"


async def stream_chat(
    base_url: str,
    model: str,
    messages: Sequence[Mapping[str, str]],
    options: Mapping[str, object],
) -> AsyncIterator[str]:
    """Yield the words of an answer as they come; ends with the answer or with the server's word.

    `options` are further keys of the request, such as temperature. Raises EndpointError where the
    server refuses, cannot be reached, or breaks off.
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
                if piece is None:
                    return
                if piece:
                    yield piece
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        told = str(error) or type(error).__name__
        raise EndpointError(f"the answer broke off: {told}", _CHECK) from error


def _piece(line: bytes) -> str | None:
    """Return the words of one line of server-sent events, None at the end of the stream."""
    if not line.startswith(b"data:"):
        return ""
    payload = line.removeprefix(b"data:").strip()
    if payload == b"[DONE]":
        return None
    try:
        event: Any = json.loads(payload)
    except ValueError as error:
        raise EndpointError(f"the server sent no JSON: {payload[:100]!r}", _CHECK) from error
    if "error" in event:
        raise EndpointError(f"the server failed: {event['error']}", _CHECK)
    choices = event.get("choices") or [{}]
    return str(choices[0].get("delta", {}).get("content") or "")

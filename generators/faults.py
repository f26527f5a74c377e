"""What one attempt at a request can meet, and what follows from it."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from openai import APIStatusError

_KEY_SHAPED = re.compile(r"\bsk-[\w*\-]{6,}")
# A 400 about the length or the content of one passage does not concern the next one.
_ABOUT_ONE = ("context_length", "context length", "content_filter", "content_policy", "too long")


@dataclass(frozen=True, slots=True)
class Fault:
    """What one attempt met: `kind` decides whether it is sent again."""

    kind: Literal["again", "gone", "this", "schema", "stop"]
    message: str
    retry_after: float | None = None


def scrub(text: str) -> str:
    """Return the text on one line without the API key, whole or half masked."""
    key = os.environ.get("OPENAI_API_KEY", "")
    if len(key) > 3:
        text = text.replace(key, "***")
    return " ".join(_KEY_SHAPED.sub("***", text).split())[:500]


def status_fault(error: APIStatusError) -> Fault:
    """Sort a refusal: by the server's wish to be asked again, then by whom it concerns."""
    status, code = int(error.status_code), str(error.code or "")
    words = scrub(_server_words(error))
    message = f"the server answered {status}: {words}"
    if status == 429 and "insufficient_quota" in code:
        return Fault("stop", message)
    if status in {408, 409, 425, 429} or status >= 500:
        return Fault("again", message, _retry_after(error.response.headers.get("retry-after")))
    about = f"{code} {words}".lower()
    if any(mark in about for mark in _ABOUT_ONE):
        return Fault("this", message)
    return Fault("schema" if status in {400, 422} else "stop", message)


def _server_words(error: APIStatusError) -> str:
    body = error.body
    if isinstance(body, dict):
        inner = body.get("message") or body.get("error") or body.get("detail")
        return str(inner or body)
    return str(body or error.message)


def _retry_after(header: str | None) -> float | None:
    """Return the seconds of a Retry-After header, given as a number or as a date."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def connection_fault(error: BaseException) -> Fault:
    """Tell a server that is not there from a connection that broke.

    The aiohttp transport reports both as a timeout, so the cause decides.
    """
    import aiohttp

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, aiohttp.ClientConnectorError):
            return Fault("gone", f"nothing answers: {scrub(str(cause))}")
        cause = cause.__cause__
    return Fault("again", f"the connection broke: {scrub(str(error.__cause__ or error))}")


def next_step(message: str) -> str:
    """Return what the reader can do about the refusal."""
    hints = (
        ("nothing answers", "start the server or set OPENAI_BASE_URL"),
        ("answered 401", "set OPENAI_API_KEY to a key that the server accepts"),
        ("answered 403", "ask the server's owner for access, or name another --model"),
        ("answered 404", "check --base-url (it usually ends in /v1) and --model"),
        ("answered 429", "raise the quota, or name another endpoint with --base-url"),
        ("answered 400", "change the setting that the server names, in the recipe's [interview]"),
    )
    return next(
        (step for mark, step in hints if mark in message), "try again, or look at the server's log"
    )

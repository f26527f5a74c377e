"""What one attempt at a request can meet, and what follows from it."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Cause = Literal["busy", "server", "timeout", "broken", "gone", "refused"]

_KEY_SHAPED = re.compile(r"\bsk-[\w*\-]{6,}")
_TAGS = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}
# A 413, or a 400 about the length or the content of one passage does not concern the next one.
_ABOUT_ONE = ("context_length", "context length", "context size", "context window",
              "content_filter", "content_policy", "content management policy", "too long",
              "maximum number of tokens")  # fmt: skip
_NO_MONEY = ("insufficient_quota", "billing_hard_limit", "billing_not_active")


@dataclass(frozen=True, slots=True)
class Fault:
    """What one attempt met: `kind` decides whether it is sent again, `cause` what it is told as.

    again: send it again; this: it concerns this request alone; schema: the form of all requests;
    stop: every further request would meet the same.
    """

    kind: Literal["again", "this", "schema", "stop"]
    message: str
    retry_after: float | None = None
    cause: Cause = "refused"


def scrub(text: str) -> str:
    """Return the text on one line without the API key, whole or half masked."""
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if len(key) > 3:
        text = text.replace(key, "***")
    return " ".join(_KEY_SHAPED.sub("***", text).split())[:500]


def status_fault(status: int, headers: Mapping[str, str], body: bytes) -> Fault:
    """Sort a refusal: by the server's wish to be asked again, then by whom it concerns."""
    code, said = _server_words(body)
    words = scrub(said) or "without a word"
    message = f"the server answered {status}: {words}"
    about = f"{code} {words}".lower()
    if 300 <= status < 400:
        where = scrub(headers.get("location", "nowhere"))
        return Fault("stop", f"the server answered {status}: it has moved to {where}")
    if status in {402, 429} and any(mark in about for mark in _NO_MONEY):
        return Fault("stop", message)
    if status in {408, 409, 425, 429, 529} or status >= 500:
        cause: Cause = "busy" if status in {429, 503, 529} else "server"
        return Fault("again", message, _retry_after(headers), cause)
    if status == 413 or any(mark in about for mark in _ABOUT_ONE):
        return Fault("this", message)
    return Fault("schema" if status in {400, 422} else "stop", message)


def _server_words(body: bytes) -> tuple[str, str]:
    """Return the code and the message of an error body: JSON of any make, HTML or plain text."""
    text = body[:20_000].decode("utf-8", "replace")
    try:
        parsed: Any = json.loads(text)
    except (ValueError, RecursionError):
        return "", _TAGS.sub(" ", text)
    if not isinstance(parsed, dict):
        return "", str(parsed)
    error = parsed.get("error") or parsed
    if not isinstance(error, dict):
        return "", str(error)
    words = error.get("message") or error.get("detail") or error.get("error") or error
    return str(error.get("code") or error.get("type") or ""), str(words)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of Retry-After (a number or a date) or retry-after-ms."""
    exact, header = headers.get("retry-after-ms"), headers.get("retry-after")
    try:
        if exact:
            return max(0.0, float(exact) / 1000)
        return max(0.0, float(header)) if header else None
    except ValueError:
        from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(header or "").timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def used_up_seconds(headers: Mapping[str, str]) -> float:
    """Return the seconds until a used-up allowance (x-ratelimit-*) is filled, 0 while some is left.

    Spans are written as OpenAI does, such as 6m0s or 20ms.
    """
    wait = 0.0
    for of in ("requests", "tokens"):
        left = headers.get(f"x-ratelimit-remaining-{of}")
        if left is None or not left.strip().lstrip("-").isdigit() or int(left) > 0:
            continue
        reset = headers.get(f"x-ratelimit-reset-{of}", "")
        spans = (float(n) * _UNITS[unit] for n, unit in _SPAN.findall(reset))
        wait = max(wait, sum(spans))
    # Some servers give the time of day in seconds: that is no span.
    return wait if wait < 1e8 else max(0.0, wait - time.time())


def connection_fault(error: BaseException) -> Fault:
    """Tell a server that is not there from a connection that broke."""
    import aiohttp

    words = scrub(str(error)) or type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.InvalidURL):
        return Fault("stop", f"no connection: {words}")
    if isinstance(error, aiohttp.ClientConnectorError):
        return Fault("again", f"nothing answers: {words}", cause="gone")
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return Fault("stop", f"the proxy answered {error.status}: {words}")
    return Fault("again", f"the connection broke: {words}", cause="broken")


def next_step(message: str) -> str:
    """Return what the reader can do about the refusal."""
    hints = (
        ("nothing has succeeded", "run `memoirist ask` again: it goes on where this run stopped"),
        ("nothing answers", "start the server or set OPENAI_BASE_URL"),
        ("has moved to", "give the new address with --base-url"),
        ("no JSON", "check --base-url (it usually ends in /v1)"),
        ("answered 401", "set OPENAI_API_KEY to a key that the server accepts"),
        ("answered 402", "fill the account up, or name another endpoint with --base-url"),
        ("answered 403", "ask the server's owner for access, or name another --model"),
        ("answered 404", "check --base-url (it usually ends in /v1) and --model"),
        ("answered 405", "check --base-url (it usually ends in /v1)"),
        ("answered 429", "raise the quota, or name another endpoint with --base-url"),
        ("answered 4", "change the setting that the server names, in the recipe's [interview]"),
    )
    return next(
        (step for mark, step in hints if mark in message), "try again, or look at the server's log"
    )

"""What an LLM server's refusal or a broken connection leads to: retry, give up, or stop."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from memoirist.generators.client.retry import retry_after_seconds

Cause = Literal["busy", "server", "timeout", "broken", "gone", "refused"]
CONNECT_SECONDS = 30.0

_KEY_SHAPED = re.compile(r"\bsk-[\w*\-]{6,}")
_TAGS = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)
# A 413, or a 400 about the length or the content of one passage does not concern the next one.
_ABOUT_ONE = ("context_length", "context length", "context size", "context window",
              "content_filter", "content_policy", "content management policy", "too long",
              "maximum number of tokens")  # fmt: skip
_NO_MONEY = ("insufficient_quota", "billing_hard_limit", "billing_not_active")


class RequestFailed(Exception):
    """One request has no reply after all its attempts; the run goes on without it."""

    def __init__(self, message: str, *, attempts: int, seconds: float, lasting: bool) -> None:
        """Keep what the last attempt met; `lasting` when asking again cannot help."""
        super().__init__(message)
        self.attempts = attempts
        self.seconds = seconds
        self.lasting = lasting


class Withheld(Exception):
    """A request is not sent, because the run may send no more."""


class FormRefused(Exception):
    """The server refuses the form of the request: its schema, or a parameter."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What one attempt met: `kind` decides what follows, `cause` is counted in the progress line.

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


def fault_of(error: Exception) -> Fault:
    """Classify what the SDK raises in place of a reply."""
    import aiohttp
    from openai import APIStatusError

    if isinstance(error, APIStatusError):
        return status_fault(error.status_code, error.response.headers, error.body)
    # The SDK and its transport wrap what aiohttp raises, which says most.
    cause: BaseException = error
    while cause.__cause__ is not None and not isinstance(cause, aiohttp.ClientError):
        cause = cause.__cause__
    return connection_fault(cause)


def status_fault(status: int, headers: Mapping[str, str], body: object) -> Fault:
    """Classify a refusal by its status and the words of its body (JSON of any shape, or text)."""
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
        return Fault("again", message, retry_after_seconds(headers), cause)
    if status == 413 or any(mark in about for mark in _ABOUT_ONE):
        return Fault("this", message)
    return Fault("schema" if status in {400, 422} else "stop", message)


def error_in_200(error: object, headers: Mapping[str, str]) -> Fault:
    """Classify an error that a proxy sends under the status 200, by the code in its body."""
    digits = str(error.get("code")) if isinstance(error, dict) else ""
    status = int(digits) if digits.isdigit() and 400 <= int(digits) < 600 else 500
    return status_fault(status, headers, {"error": error})


def _server_words(body: object) -> tuple[str, str]:
    """Return the code and the message of an error body: JSON of any shape, HTML or plain text."""
    if isinstance(body, dict):
        error: Any = body.get("error") or body
        if not isinstance(error, dict):
            return "", str(error)
        words = error.get("message") or error.get("detail") or error.get("error") or error
        return str(error.get("code") or error.get("type") or ""), str(words)
    return "", _TAGS.sub(" ", str(body or "")[:20_000])


def connection_fault(error: BaseException) -> Fault:
    """Classify a connection that cannot be opened, or that breaks."""
    import aiohttp

    words = scrub(str(error)) or type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.InvalidURL):
        return Fault("stop", f"no connection: {words}")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        said = f"nothing answers: no connection within {CONNECT_SECONDS:g} seconds"
        return Fault("again", said, cause="gone")
    if isinstance(error, aiohttp.ClientConnectorError):
        return Fault("again", f"nothing answers: {words}", cause="gone")
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return Fault("stop", f"the proxy answered {error.status}: {words}")
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | RecursionError):
        return Fault("again", f"a reply that is no JSON: {words}", cause="broken")
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

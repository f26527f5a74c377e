"""Classify refusals of an LLM server and broken connections: retry, give up, or stop."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from memoirist.generators.client.endpoint import is_about_form
from memoirist.generators.client.retry import retry_after_seconds

Cause = Literal["busy", "server", "timeout", "broken", "unreachable", "refused"]
CONNECT_SECONDS = 30.0

_KEY_SHAPED = re.compile(r"\bsk-[\w*\-]{6,}")
_TAGS = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)
# These concern one passage, not the next: a 413, and a 400 about the length or the content.
_ABOUT_REQUEST = ("context_length", "context length", "context size", "context window",
                  "content_filter", "content_policy", "content management policy", "too long",
                  "maximum number of tokens")  # fmt: skip
_NO_MONEY = ("insufficient_quota", "billing_hard_limit", "billing_not_active")


class RequestFailed(Exception):
    """One request has no reply after all its attempts; the run goes on without it."""

    def __init__(self, fault: Fault, *, attempts: int, seconds: float) -> None:
        """Set the last fault, and the attempts and seconds so far."""
        super().__init__(fault.message)
        self.cause = fault.cause
        self.attempts = attempts
        self.seconds = seconds
        # Sending it again cannot help.
        self.permanent = fault.kind == "request"


class Withheld(Exception):
    """A request is not sent, because the run may send no more."""


class FormRefused(Exception):
    """The server refuses a parameter or the schema of the request."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why one attempt failed: `kind` decides what follows, `cause` is for the progress line.

    retry: send the request again; request: this request cannot succeed, others can; schema: the
    server refuses the form of all requests; stop: every further request would fail as well.
    """

    kind: Literal["retry", "request", "schema", "stop"]
    message: str
    retry_after: float | None = None
    cause: Cause = "refused"


def scrub(text: str) -> str:
    """Return the text on one line without the API key, whole or half masked."""
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if len(key) > 3:
        text = text.replace(key, "***")
    return " ".join(_KEY_SHAPED.sub("***", text).split())[:500]


def classify_error(error: Exception) -> Fault:
    """Return the fault of an error that the SDK raises in place of a reply."""
    import aiohttp
    from openai import APIStatusError

    if isinstance(error, APIStatusError):
        return status_fault(error.status_code, error.response.headers, error.body)
    # The SDK and its transport wrap the error of aiohttp, which has the details.
    cause: BaseException = error
    while cause.__cause__ is not None and not isinstance(cause, aiohttp.ClientError):
        cause = cause.__cause__
    return connection_fault(cause)


def status_fault(status: int, headers: Mapping[str, str], body: object) -> Fault:
    """Return the fault of a refusal by its status and body (JSON of any shape, or text)."""
    code, text = _code_and_message(body)
    text = scrub(text) or "without a message"
    message = f"the server answered {status}: {text}"
    words = f"{code} {text}".lower()
    if 300 <= status < 400:
        location = scrub(headers.get("location", "an unknown address"))
        return Fault("stop", f"the server answered {status}: it has moved to {location}")
    if status in {402, 429} and any(phrase in words for phrase in _NO_MONEY):
        return Fault("stop", message)
    is_about_request = any(phrase in words for phrase in _ABOUT_REQUEST)
    if status >= 404 and status != 429 and is_about_form(words) and not is_about_request:
        return Fault("schema", message)
    if status in {408, 409, 425, 429, 529} or status >= 500:
        cause: Cause = "busy" if status in {429, 503, 529} else "server"
        return Fault("retry", message, retry_after_seconds(headers), cause)
    if status == 413 or is_about_request:
        return Fault("request", message)
    return Fault("schema" if status in {400, 422} else "stop", message)


def error_in_200(error: object, headers: Mapping[str, str]) -> Fault:
    """Return the fault of an error that a proxy sends with the status 200."""
    digits = str(error.get("code")) if isinstance(error, dict) else ""
    status = int(digits) if digits.isdigit() and 400 <= int(digits) < 600 else 500
    return status_fault(status, headers, {"error": error})


def _code_and_message(body: object) -> tuple[str, str]:
    """Return the code and the message of an error body: JSON of any shape, HTML or plain text."""
    if isinstance(body, list) and body and isinstance(body[0], dict):
        body = body[0]  # as Gemini's endpoint writes it
    if isinstance(body, dict):
        error: Any = body.get("error") or body
        if not isinstance(error, dict):
            return "", str(error)
        message = error.get("message") or error.get("detail") or error.get("error") or error
        return str(error.get("code") or error.get("type") or ""), str(message)
    return "", _TAGS.sub(" ", str(body or "")[:20_000])


def connection_fault(error: BaseException) -> Fault:
    """Return the fault of a connection that cannot be opened, or that breaks."""
    import aiohttp

    text = scrub(str(error)) or type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.InvalidURL):
        return Fault("stop", f"no connection: {text}")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        message = f"the server does not answer: no connection within {CONNECT_SECONDS:g} seconds"
        return Fault("retry", message, cause="unreachable")
    if isinstance(error, aiohttp.ClientConnectorError):
        return Fault("retry", f"the server does not answer: {text}", cause="unreachable")
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return Fault("stop", f"the proxy answered {error.status}: {text}")
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | RecursionError):
        return Fault("retry", f"the reply is not JSON: {text}", cause="broken")
    return Fault("retry", f"the connection broke: {text}", cause="broken")


def next_step(message: str) -> str:
    """Return what the user can do about an error message."""
    hints = (
        (
            "no request has succeeded",
            "run `memoirist ask` again: it continues where this run stopped",
        ),
        ("the server does not answer", "start the server or set OPENAI_BASE_URL"),
        ("has moved to", "give the new address with --base-url"),
        ("the reply is not", "check --base-url (it usually ends in /v1)"),
        ("answered 401", "set OPENAI_API_KEY to a key that the server accepts"),
        ("answered 402", "add credit to the account, or name another endpoint with --base-url"),
        ("answered 403", "ask the server's owner for access, or name another --model"),
        ("answered 404", "check --base-url (it usually ends in /v1) and --model"),
        ("answered 405", "check --base-url (it usually ends in /v1)"),
        ("answered 429", "raise the quota, or name another endpoint with --base-url"),
        ("answered 4", "change the setting that the server names, in the recipe's [interview]"),
    )
    return next(
        (step for phrase, step in hints if phrase in message),
        "try again, or read the server's log",
    )

"""Download a feed or a transcript with limits and retries, and write files whole."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from memoirist.data.schema.errors import SourceMissing, SourceUnreadable
from memoirist.extractors.transcript.feeds.address_check import AddressCheck

MAX_FEED_BYTES = 32 << 20
MAX_TRANSCRIPT_BYTES = 32 << 20
_MAX_REDIRECTS = 5
_ATTEMPTS = 3
_PAUSE_SECONDS = 0.5
_MAX_PAUSE_SECONDS = 10.0
_MAX_SECONDS = 120.0
_RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_PERMANENT = (httpx.UnsupportedProtocol, httpx.TooManyRedirects, httpx.InvalidURL)
_AGENT = "memoirist"


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A server's answer; `content` is empty where nothing has changed (304)."""

    content: bytes
    unchanged: bool = False
    etag: str | None = None
    last_modified: str | None = None


@contextmanager
def open_client(feed: str) -> Iterator[httpx.Client]:
    """Yield a client for the feed at an address: 30 s for each answer, five redirects.

    It speaks http and https alone, and a public feed leads it to no private address.
    """
    check = AddressCheck(feed)
    with httpx.Client(
        timeout=httpx.Timeout(30.0, connect=10.0),
        follow_redirects=True,
        max_redirects=_MAX_REDIRECTS,
        headers={"User-Agent": _AGENT},
        event_hooks={
            "request": [_refuse_scheme, check.check_request],
            "response": [check.check_response],
        },
    ) as client:
        yield client


def _refuse_scheme(request: httpx.Request) -> None:
    if request.url.scheme not in {"http", "https"}:
        raise httpx.UnsupportedProtocol(
            f"{request.url.scheme} addresses are not supported", request=request
        )


def conditions(etag: str | None, last_modified: str | None) -> dict[str, str]:
    """Return the request headers for a conditional GET against an earlier answer."""
    headers = {"If-None-Match": etag, "If-Modified-Since": last_modified}
    return {name: value for name, value in headers.items() if value}


def download(
    client: httpx.Client,
    url: str,
    max_bytes: int,
    headers: Mapping[str, str] | None = None,
    attempts: int = _ATTEMPTS,
) -> Response:
    """Return what lies at `url`; a temporary fault (5xx, 429, a lost connection) is retried.

    Raise SourceMissing with the last fault, SourceUnreadable for more than `max_bytes`.
    """
    fault = ""
    for attempt in range(attempts):
        retry_after = None
        try:
            with client.stream("GET", url, headers=dict(headers or {})) as answer:
                if answer.status_code not in _RETRIED_STATUSES:
                    return _read(answer, url, max_bytes)
                fault = f"the server answered {answer.status_code}"
                retry_after = answer.headers.get("Retry-After")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            fault = str(error) or type(error).__name__
            if isinstance(error, _PERMANENT):
                break
        if attempt + 1 < attempts:
            time.sleep(_pause_seconds(attempt, retry_after))
    raise SourceMissing(
        f"{url!r} cannot be fetched ({fault})", "check the address and the network, and try again"
    )


def _read(answer: httpx.Response, url: str, max_bytes: int) -> Response:
    if answer.status_code == 304:
        return Response(content=b"", unchanged=True)
    if answer.status_code != 200:
        raise SourceMissing(
            f"{url!r} cannot be fetched (the server answered {answer.status_code})",
            "check the address; the next refresh tries again",
        )
    content = bytearray()
    start = time.monotonic()
    for chunk in answer.iter_bytes():
        content += chunk
        if len(content) > max_bytes:
            raise SourceUnreadable(
                f"{url!r} is larger than {max_bytes >> 20} MB", "download it yourself and check it"
            )
        if time.monotonic() - start > _MAX_SECONDS:
            raise SourceMissing(
                f"{url!r} took more than {_MAX_SECONDS:.0f} s", "try again with a better connection"
            )
    return Response(
        content=bytes(content),
        etag=answer.headers.get("ETag"),
        last_modified=answer.headers.get("Last-Modified"),
    )


def _pause_seconds(attempt: int, retry_after: str | None) -> float:
    if retry_after and retry_after.isdecimal():
        return min(float(retry_after), _MAX_PAUSE_SECONDS)
    return min(_PAUSE_SECONDS * 2.0**attempt, _MAX_PAUSE_SECONDS)

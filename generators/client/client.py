"""The LLM client: the openai SDK with our limiter, retries and circuit breaker, for any server.

`stream_chat` talks to a model server of our own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from memoirist.data.schema.errors import EndpointError
from memoirist.generators.client.circuit_breaker import CircuitBreaker
from memoirist.generators.client.endpoint import Endpoint, Message
from memoirist.generators.client.http_errors import (
    CONNECT_SECONDS,
    Fault,
    FormRefused,
    RequestFailed,
    Withheld,
    classify_error,
    next_step,
)
from memoirist.generators.client.limiter import Admission, Limiter, Slot
from memoirist.generators.client.responses import Completion, read_body, read_completion
from memoirist.generators.client.retry import allowance_seconds, pause_seconds
from memoirist.generators.settings import InterviewSettings

if TYPE_CHECKING:
    from openai import AsyncOpenAI, AsyncStream
    from openai.types.chat import ChatCompletionChunk

Body = Callable[[], dict[str, Any]] | None
_COMPLETIONS = "/chat/completions"
OPENAI_URL = "https://api.openai.com/v1"
# An answer may take minutes, but no server is silent for so long within one.
_STREAM_READ_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientState:
    """How many requests are in flight, and the faults so far: for the progress line."""

    in_flight: int
    limit: int
    faults: dict[str, int]
    paused: bool


def endpoint_configured(settings: InterviewSettings) -> bool:
    """Return whether the recipe or the environment names an LLM endpoint."""
    return bool(
        settings.base_url or os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_KEY")
    )


def base_url_of(settings: InterviewSettings) -> str:
    """Return the server's address; raise EndpointError when none is configured."""
    url = settings.base_url or os.environ.get("OPENAI_BASE_URL")
    if url:
        return url.rstrip("/")
    if os.environ.get("OPENAI_API_KEY"):
        return OPENAI_URL
    raise EndpointError(
        "no LLM endpoint is set", "give --base-url, or set OPENAI_BASE_URL or OPENAI_API_KEY"
    )


def open_sdk(base_url: str, max_connections: int, *, local: bool = False) -> AsyncOpenAI:
    """Return the SDK's client over aiohttp; the key goes into a header and nowhere else.

    A `local` server is one of our own: neither the key nor a proxy is for it, and it may be silent
    for ten minutes. Redirects are not followed, since the key would go with them. Raise
    EndpointError for a key that no header holds and for a malformed address.
    """
    import httpx2
    from openai import AsyncOpenAI, DefaultAioHttpClient

    key = "" if local else os.environ.get("OPENAI_API_KEY", "").strip()
    if not (key.isascii() and key.isprintable()):
        raise EndpointError(
            "OPENAI_API_KEY contains a character that no key may contain", "set it again"
        )
    silence = _STREAM_READ_SECONDS if local else None
    timeout = httpx2.Timeout(silence, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS)
    http_client = DefaultAioHttpClient(
        limits=httpx2.Limits(max_connections=max_connections),
        timeout=timeout,
        follow_redirects=False,
        trust_env=not local,
    )
    try:
        return AsyncOpenAI(
            # A server without keys ignores the value.
            api_key=key or "none",
            base_url=base_url,
            http_client=http_client,
            max_retries=0,
            timeout=timeout,
        )
    except httpx2.InvalidURL as error:
        raise EndpointError(
            f"{base_url!r} is not the address of a server: {error}", "correct --base-url"
        ) from error


class Client:
    """Send requests to one server; an async context manager that closes its connections."""

    def __init__(self, settings: InterviewSettings, base_url: str) -> None:
        """Prepare for the server at `base_url`; nothing is opened yet.

        `may_send` is called before every attempt; where it returns False, `complete` raises
        Withheld.
        """
        self._settings = settings
        self._base_url = base_url
        self.may_send: Callable[[], bool] = lambda: True
        self._limiter = Limiter(settings.max_concurrency)
        self._breaker = CircuitBreaker(
            settings.circuit_opens_seconds, settings.circuit_stops_seconds
        )
        self._admission = Admission(self._limiter, self._breaker)
        self._faults: Counter[str] = Counter()
        self._sdk: AsyncOpenAI

    async def __aenter__(self) -> Self:
        """Open the connections."""
        self._sdk = open_sdk(self._base_url, self._settings.max_concurrency + 8)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        self._admission.close()
        await self._sdk.close()

    @property
    def at_once(self) -> int:
        """Return how many `complete` calls keep all slots busy.

        This is more than there are slots, because a refused request waits without one.
        """
        return 4 * self._settings.max_concurrency

    def state(self) -> ClientState:
        """Return the state of the requests now."""
        return ClientState(
            in_flight=self._limiter.in_flight,
            limit=self._limiter.limit,
            faults=dict(self._faults),
            paused=self._breaker.is_open,
        )

    def halt(self) -> None:
        """Send nothing more; requests in flight finish, and waiting ones raise Withheld."""
        self._admission.close()

    async def models(self) -> list[str]:
        """Return the names of the models that the server lists."""
        body, _, _ = await self._send_once("/models")
        entries = body.get("data") or body.get("models")
        rows = entries if isinstance(entries, list) else ()
        names = [row.get("id") or row.get("name") for row in rows if isinstance(row, dict)]
        return [str(name) for name in names if name]

    async def trial(
        self,
        messages: Sequence[Message],
        endpoint: Endpoint,
        schema: Mapping[str, Any],
        max_tokens: int,
    ) -> Completion | str:
        """Make one small call; return the reply, or the server's message if it refuses the form.

        A server whose chat template fails answers with an error of its own: that is returned too.
        """
        body = endpoint.request(messages, schema, self._settings, max_tokens)
        try:
            return read_completion(*await self._send(_COMPLETIONS, lambda: body, probing=True))
        except FormRefused as error:
            return str(error)
        except RequestFailed as failure:
            if failure.cause != "server":
                raise self.stop(str(failure)) from None
            return str(failure)

    async def complete(
        self,
        messages: Sequence[Message],
        endpoint_now: Callable[[], Endpoint],
        schema: Mapping[str, Any],
    ) -> Completion:
        """Return the reply to `messages`; raise RequestFailed, or EndpointError to end the run.

        `endpoint_now` is called as the request goes out, which may be long after it is queued.
        Raise FormRefused where the server refuses the form of the endpoint's requests, Withheld
        where the run may send no more.
        """

        def body() -> dict[str, Any]:
            limit = self._settings.max_reply_tokens
            return endpoint_now().request(messages, schema, self._settings, limit)

        return read_completion(*await self._send(_COMPLETIONS, body))

    async def _send_once(self, path: str, body: Body = None) -> tuple[dict[str, Any], int, float]:
        """Send a probe's request; a server that cannot be reached ends the run at once."""
        try:
            return await self._send(path, body, probing=True)
        except RequestFailed as failure:
            raise self.stop(str(failure)) from None

    async def _send(
        self, path: str, body: Body, *, probing: bool = False
    ) -> tuple[dict[str, Any], int, float]:
        """Send until there is a reply; return its body, the attempts and the seconds they took."""
        n_sent = n_counted = n_backoffs = 0
        total = 0.0
        while True:
            n_sent += 1
            result, seconds = await self._attempt(path, body, n_sent)
            total += seconds
            if not isinstance(result, Fault):
                return result, n_sent, total
            self._raise_what_ends_the_run(result, probing=probing)
            if probing or not self._breaker.is_open:
                n_counted += 1  # attempts while nothing succeeds for any request do not count
            if result.kind == "request" or n_counted >= self._settings.max_attempts:
                break
            n_backoffs += result.retry_after is None
            longest = self._settings.max_backoff_seconds
            await self._wait(pause_seconds(result.retry_after, max(1, n_backoffs), longest))
        if result.cause == "unreachable":
            raise self.stop(result.message)
        raise RequestFailed(result, attempts=n_sent, seconds=total)

    async def _attempt(
        self, path: str, body: Body, number: int
    ) -> tuple[dict[str, Any] | Fault, float]:
        """Send as soon as there is a slot; return the body or the fault, and the seconds.

        Raise Withheld where the run may send no more, or is stopped while the request waits.
        """
        slot = await self._admission.enter(number)
        result: dict[str, Any] | Fault | None = None
        start = time.monotonic()
        try:
            if not self.may_send():
                raise Withheld
            result = await self._response(path, body)
        finally:
            seconds = time.monotonic() - start
            self._report(slot, result)
        # Replies come in waves: the next requests go out before these replies are worked on.
        await asyncio.sleep(0)
        return result, seconds

    def _report(self, slot: Slot, result: dict[str, Any] | Fault | None) -> None:
        """Report the end of an attempt to the limiter and the breaker, and admit the next."""
        if result is None:
            self._limiter.ended(slot)
        elif not isinstance(result, Fault):
            self._limiter.replied(slot)
            self._breaker.succeeded()
        else:
            self._faults[result.cause] += 1
            if result.cause == "busy":
                self._limiter.refused(slot, result.retry_after)
            else:
                self._limiter.ended(slot, timed_out=result.cause == "timeout")
            if result.kind == "retry":
                self._breaker.failed(result.message, unreachable=result.cause == "unreachable")
            if result.kind in {"stop", "schema"}:
                return
        self._admission.admit()

    async def _response(self, path: str, body: Body) -> dict[str, Any] | Fault:
        """Send once; return the body of the reply, or the fault that came in its place."""
        import aiohttp
        import httpx2
        from openai import OpenAIError

        limit = self._settings.request_timeout_seconds
        # `chat.completions.create` converts its arguments by their types and builds a typed reply,
        # which takes longer than the rest of a request (1.9 ms of CPU instead of 0.9). A whole
        # address spares the SDK from joining it with its base URL each time.
        url = self._base_url + path
        try:
            async with asyncio.timeout(limit):
                response = await (
                    self._sdk.get(url, cast_to=httpx2.Response)
                    if body is None
                    else self._sdk.post(url, cast_to=httpx2.Response, body=body())
                )
            self._limiter.hold(allowance_seconds(response.headers))
            return await read_body(self._sdk, response)
        except TimeoutError:
            return Fault("retry", f"no reply within {limit:g} seconds", cause="timeout")
        except (OpenAIError, httpx2.HTTPError, aiohttp.ClientError, OSError) as error:
            return classify_error(error)
        except (ValueError, RecursionError) as error:  # no JSON, or no HTTP
            return classify_error(error)

    async def _wait(self, seconds: float) -> None:
        """Wait before the next attempt, without a slot, unless the run is stopped meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._admission.closed.wait()

    def _raise_what_ends_the_run(self, fault: Fault, *, probing: bool) -> None:
        message = None
        if fault.kind == "stop" or (fault.cause == "unreachable" and probing):
            message = fault.message
        elif fault.kind == "schema":
            raise FormRefused(fault.message)
        elif (fault.retry_after or 0.0) > self._settings.circuit_stops_seconds:
            message = f"{fault.message}; the server asks to wait {fault.retry_after:,.0f} seconds"
        message = message or self._breaker.stop_reason()
        if message is not None:
            raise self.stop(message)

    def stop(self, message: str) -> EndpointError:
        """Send nothing more; return the error that ends the run."""
        self._admission.close()
        return EndpointError(f"{message} (at {self._base_url})", next_step(message))


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of a streamed answer; the last one has `finish`, the server's reason to end."""

    words: str
    finish: str | None = None


_CHECK = "check that the server is running and read its log, or ask again"


async def stream_chat(
    base_url: str, model: str, messages: Sequence[Mapping[str, str]], options: Mapping[str, Any]
) -> AsyncIterator[Piece]:
    """Yield the parts of an answer of our own model server; the last `finish` is stop, length, ...

    `options` are further keys of the request, such as temperature. A stream that ends as it should
    counts as "stop" where the server gives no reason: some send [DONE] alone or just end the body.
    Raise EndpointError where the server refuses, cannot be reached, answers nothing, or where the
    connection breaks within the answer.
    """
    import httpx2
    from openai import APIStatusError, OpenAIError

    sdk = open_sdk(base_url, 1, local=True)
    try:
        async with sdk:
            request: Any = {**options, "model": model, "messages": list(messages)}
            stream: AsyncStream[ChatCompletionChunk] = await sdk.chat.completions.create(
                **request, stream=True
            )
            begun = False
            async with stream:
                async for chunk in stream:
                    for choice in chunk.choices[:1]:
                        begun = True
                        words, finish = choice.delta.content or "", choice.finish_reason
                        if words or finish:
                            yield Piece(words=words, finish=finish)
                        if finish:
                            return
        if not begun:
            raise EndpointError("the reply broke off: the server closed the stream early", _CHECK)
        yield Piece(words="", finish="stop")
    except APIStatusError as error:
        message = classify_error(error).message.removeprefix("the server answered ")
        raise EndpointError(f"the server answered {message}", _CHECK) from error
    except (OpenAIError, httpx2.HTTPError, OSError, ValueError) as error:
        message = classify_error(error).message
        raise EndpointError(f"the reply broke off: {message}", _CHECK) from error

"""The one seam to LLMs: the openai SDK against any server of its protocol, asked with patience."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from memoirist.data.schema.errors import EndpointError
from memoirist.generators.client.circuit_breaker import CircuitBreaker
from memoirist.generators.client.errors import (
    CONNECT_SECONDS,
    Fault,
    FormRefused,
    RequestFailed,
    Withheld,
    fault_of,
    next_step,
)
from memoirist.generators.client.limiter import Admission, Limiter
from memoirist.generators.client.responses import Completion, read_body, read_completion
from memoirist.generators.client.retry import allowance_seconds, pause_seconds
from memoirist.generators.settings import InterviewSettings

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI, AsyncStream
    from openai.types.chat import ChatCompletionChunk

Structured = Literal["json_schema", "json_object", "text"]
Message = Mapping[str, str]
Send = Callable[[], Awaitable["httpx2.Response"]]
OPENAI_URL = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A server, the model that it serves, and what its replies can be held to."""

    base_url: str
    model: str
    structured: Structured
    token_limit_name: str = "max_tokens"  # noqa: S105 - the name of a field
    takes_temperature: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientState:
    """What the requests of a client are doing: for the progress line."""

    in_flight: int
    limit: int
    faults: dict[str, int]
    paused: bool


def endpoint_configured(settings: InterviewSettings) -> bool:
    """Tell whether the recipe or the environment names an LLM endpoint."""
    return bool(
        settings.base_url or os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_KEY")
    )


def base_url_of(settings: InterviewSettings) -> str:
    """Return the address to ask; raise EndpointError when nothing names one."""
    url = settings.base_url or os.environ.get("OPENAI_BASE_URL")
    if url:
        return url.rstrip("/")
    if os.environ.get("OPENAI_API_KEY"):
        return OPENAI_URL
    raise EndpointError(
        "no LLM endpoint is named",
        "give --base-url, or set OPENAI_BASE_URL or OPENAI_API_KEY",
    )


def open_sdk(base_url: str, max_connections: int, read_seconds: float | None = None) -> AsyncOpenAI:
    """Return the SDK's client over aiohttp; the key goes into a header and nowhere else.

    `read_seconds` is the longest silence of a server, None for no limit. Redirects are not
    followed, since the key would go with them. Raise EndpointError for a key that no header holds.
    """
    import httpx2
    from openai import AsyncOpenAI, DefaultAioHttpClient

    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not (key.isascii() and key.isprintable()):
        raise EndpointError("OPENAI_API_KEY holds a character that no key has", "set it again")
    timeout = httpx2.Timeout(read_seconds, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS)
    limits = httpx2.Limits(max_connections=max_connections)
    http_client = DefaultAioHttpClient(limits=limits, timeout=timeout, follow_redirects=False)
    return AsyncOpenAI(
        # A server without keys ignores what stands there.
        api_key=key or "none",
        base_url=base_url,
        http_client=http_client,
        max_retries=0,
        timeout=timeout,
    )


class Client:
    """Send requests to one server; an async context manager that closes its connections."""

    def __init__(self, settings: InterviewSettings, base_url: str) -> None:
        """Remember where and how patiently to ask; nothing is opened yet."""
        self._settings = settings
        self._base_url = base_url
        self._may_send: Callable[[], bool] = lambda: True
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

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self._admission.close()
        await self._sdk.close()

    @property
    def at_once(self) -> int:
        """Return how many requests to hand over at a time, so that no slot is ever idle.

        More than there are slots, because a refused request waits without one.
        """
        return 4 * self._settings.max_concurrency

    def ask_before_sending(self, may_send: Callable[[], bool]) -> None:
        """Ask `may_send` before every attempt; where it says no, `complete` raises Withheld."""
        self._may_send = may_send

    def state(self) -> ClientState:
        """Return what the requests are doing now."""
        return ClientState(
            in_flight=self._limiter.in_flight,
            limit=self._limiter.limit,
            faults=dict(self._faults),
            paused=self._breaker.is_open,
        )

    def halt(self) -> None:
        """Let what is in flight finish and send nothing more; what waits meets Withheld."""
        self._admission.close()

    async def models(self) -> list[str]:
        """Return the names of the models that the server lists."""

        async def send() -> httpx2.Response:
            return (await self._sdk.models.with_raw_response.list()).http_response

        body, _, _ = await self._only_once(send)
        listed = body.get("data") or body.get("models")
        rows = listed if isinstance(listed, list) else ()
        named = [row.get("id") or row.get("name") for row in rows if isinstance(row, dict)]
        return [str(name) for name in named if name]

    async def accepts(self, endpoint: Endpoint, schema: Mapping[str, Any]) -> str | None:
        """Make one small call; return None, or the server's words when it refuses the form."""
        ask = [{"role": "user", "content": 'Reply with the JSON {"is_answer": false}.'}]
        parameters = self._parameters(endpoint, schema, 64)
        try:
            await self._only_once(self._sender(parameters, ask))
        except FormRefused as refused:
            return str(refused)
        return None

    async def complete(
        self, messages: Sequence[Message], endpoint: Endpoint, schema: Mapping[str, Any]
    ) -> Completion:
        """Return the reply to `messages`; raise RequestFailed, or EndpointError to end the run.

        Raise Withheld where the run may send no more.
        """
        parameters = self._parameters(endpoint, schema, self._settings.max_reply_tokens)
        try:
            return read_completion(*await self._send(self._sender(parameters, messages)))
        except FormRefused as refused:
            raise self._stop(str(refused)) from None

    def _parameters(
        self, endpoint: Endpoint, schema: Mapping[str, Any], most_tokens: int
    ) -> dict[str, Any]:
        parameters: dict[str, Any] = {
            "model": endpoint.model,
            endpoint.token_limit_name: most_tokens,
        }
        if endpoint.takes_temperature and self._settings.temperature is not None:
            parameters["temperature"] = self._settings.temperature
        if endpoint.structured == "json_schema":
            named = {"name": "interview", "strict": True, "schema": dict(schema)}
            parameters["response_format"] = {"type": "json_schema", "json_schema": named}
        elif endpoint.structured == "json_object":
            parameters["response_format"] = {"type": "json_object"}
        return parameters

    def _sender(self, parameters: Mapping[str, Any], messages: Sequence[Message]) -> Send:
        import httpx2

        # By `post`: `chat.completions.create` converts its arguments by their types and builds a
        # typed reply, and both take longer than all the rest of a request (1.9 ms of CPU, not 0.9).
        body = {**parameters, "messages": list(messages)}

        async def send() -> httpx2.Response:
            return await self._sdk.post("/chat/completions", cast_to=httpx2.Response, body=body)

        return send

    async def _only_once(self, send: Send) -> tuple[dict[str, Any], int, float]:
        """Send what a run begins with: a server that is not there ends it at once."""
        try:
            return await self._send(send, patient=False)
        except RequestFailed as failed:
            raise self._stop(str(failed)) from None

    async def _send(self, send: Send, *, patient: bool = True) -> tuple[dict[str, Any], int, float]:
        """Send until there is a reply; return its body, the attempts and the seconds they took."""
        n_sent = n_counted = n_failures = 0
        total = 0.0
        while True:
            n_sent += 1
            result, seconds = await self._attempt(send, n_sent)
            total += seconds
            if not isinstance(result, Fault):
                return result, n_sent, total
            self._raise_what_ends_the_run(result, patient=patient)
            if not (patient and self._breaker.is_open):
                n_counted += 1  # otherwise nothing succeeds for anybody
            if result.kind == "this" or n_counted >= self._settings.max_attempts:
                break
            n_failures += result.retry_after is None
            longest = self._settings.max_backoff_seconds
            await self._wait(pause_seconds(result.retry_after, max(1, n_failures), longest))
        if result.cause == "gone":
            raise self._stop(result.message)
        lasting = result.kind == "this"
        raise RequestFailed(result.message, attempts=n_sent, seconds=total, lasting=lasting)

    async def _attempt(self, send: Send, number: int) -> tuple[dict[str, Any] | Fault, float]:
        """Send as soon as there is a slot; return the body or the fault, and the seconds.

        Raise Withheld where the run may send no more, or is stopped while the request waits.
        """
        slot = await self._admission.enter(number)
        result: dict[str, Any] | Fault | None = None
        began = time.monotonic()
        try:
            if not self._may_send():
                raise Withheld
            began = time.monotonic()
            result = await self._response(send)
        finally:
            seconds = time.monotonic() - began
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
                if result.kind == "again":
                    self._breaker.failed(result.message, gone=result.cause == "gone")
            if not (isinstance(result, Fault) and result.kind in {"stop", "schema"}):
                self._admission.admit()
        # Replies come in waves: the next requests go out before these replies are worked on.
        await asyncio.sleep(0)
        return result, seconds

    async def _response(self, send: Send) -> dict[str, Any] | Fault:
        """Send once; return the body of the reply, or the fault that came in its place."""
        import aiohttp
        import httpx2
        from openai import OpenAIError

        limit = self._settings.request_timeout_seconds
        try:
            async with asyncio.timeout(limit):
                response = await send()
            self._limiter.hold(allowance_seconds(response.headers))
            return await read_body(self._sdk, response)
        except TimeoutError:
            return Fault("again", f"no reply within {limit:g} seconds", cause="timeout")
        except (OpenAIError, httpx2.HTTPError, aiohttp.ClientError, OSError) as error:
            return fault_of(error)
        except (ValueError, RecursionError) as error:  # no JSON, or no HTTP
            return fault_of(error)

    async def _wait(self, seconds: float) -> None:
        """Wait before the next attempt, without a slot, unless the run is stopped meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._admission.closed.wait()

    def _raise_what_ends_the_run(self, fault: Fault, *, patient: bool) -> None:
        message = None
        if fault.kind == "stop" or (fault.cause == "gone" and not patient):
            message = fault.message
        elif fault.kind == "schema":
            if patient:
                self._admission.close()
            raise FormRefused(fault.message)
        elif (fault.retry_after or 0.0) > self._settings.circuit_stops_seconds:
            message = f"{fault.message}; it asks to wait {fault.retry_after:,.0f} seconds"
        message = message or self._breaker.verdict()
        if message is not None:
            self._admission.close()
            raise self._stop(message)

    def _stop(self, message: str) -> EndpointError:
        return EndpointError(f"{message} (at {self._base_url})", next_step(message))


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Some words of an answer; `finish` is the server's reason to end it, on the last piece."""

    words: str
    finish: str | None = None


_SILENCE_SECONDS = 600.0
_CHECK = "see whether the server still runs and what its log says, or ask again"


async def stream_chat(
    base_url: str,
    model: str,
    messages: Sequence[Mapping[str, str]],
    options: Mapping[str, Any],
) -> AsyncIterator[Piece]:
    """Yield an answer as it comes; the last piece tells why it ended: stop, length, ...

    `options` are further keys of the request, such as temperature. Raises EndpointError where the
    server refuses, cannot be reached, or breaks off before it has told why.
    """
    import httpx2
    from openai import APIStatusError, OpenAIError

    # An answer may take minutes; silence for so long means that nothing comes any more.
    sdk = open_sdk(base_url, 1, _SILENCE_SECONDS)
    try:
        async with sdk:
            request: Any = {**options, "model": model, "messages": list(messages)}
            stream: AsyncStream[ChatCompletionChunk] = await sdk.chat.completions.create(
                **request, stream=True
            )
            async with stream:
                async for chunk in stream:
                    choice = chunk.choices[0] if chunk.choices else None
                    words = (choice.delta.content or "") if choice else ""
                    finish = choice.finish_reason if choice else None
                    if words or finish:
                        yield Piece(words=words, finish=finish)
                    if finish:
                        return
        raise EndpointError("the answer broke off: the server ended in the midst", _CHECK)
    except APIStatusError as error:
        said = fault_of(error).message.removeprefix("the server answered ")
        raise EndpointError(f"the server answers {said}", _CHECK) from error
    except (OpenAIError, httpx2.HTTPError, OSError, ValueError) as error:
        raise EndpointError(f"the answer broke off: {fault_of(error).message}", _CHECK) from error

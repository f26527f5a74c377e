"""The one seam to LLMs: any server that speaks the OpenAI protocol, asked with patience."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from data.errors import EndpointError
from generators.faults import Fault, connection_fault, next_step, scrub, status_fault
from generators.settings import InterviewSettings

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletion

Structured = Literal["json_schema", "json_object", "text"]
Message = Mapping[str, str]
T = TypeVar("T")
OPENAI_URL = "https://api.openai.com/v1"
_MAX_RETRY_AFTER_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A server, the model that it serves, and what its replies can be held to."""

    base_url: str
    model: str
    structured: Structured
    token_limit_name: str = "max_tokens"  # noqa: S105 - the name of a field
    takes_temperature: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One reply with its price: attempts counts every time that the request was sent."""

    text: str
    fault: str | None
    attempts: int
    seconds: float
    tokens_in: int | None
    tokens_out: int | None


class RequestFailed(Exception):
    """One request found no reply in all its attempts; the run goes on without it."""

    def __init__(self, message: str, *, attempts: int, seconds: float, lasting: bool) -> None:
        """Keep what the last attempt met; `lasting` when asking again cannot help."""
        super().__init__(message)
        self.attempts = attempts
        self.seconds = seconds
        self.lasting = lasting


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


class Client:
    """Send requests to one server; an async context manager that closes its connections."""

    def __init__(self, settings: InterviewSettings, base_url: str) -> None:
        """Remember where and how patiently to ask; nothing is opened yet."""
        self._settings = settings
        self._base_url = base_url
        self._openai: AsyncOpenAI | None = None

    async def __aenter__(self) -> Self:
        """Open the connection pool, one connection for each request in flight."""
        import httpx2
        from openai import AsyncOpenAI, DefaultAioHttpClient

        most = self._settings.max_concurrency + 4
        limits = httpx2.Limits(max_connections=most, max_keepalive_connections=most)
        self._openai = AsyncOpenAI(
            base_url=self._base_url,
            api_key=os.environ.get("OPENAI_API_KEY") or "none",
            max_retries=0,
            timeout=self._settings.request_timeout_seconds + 5,
            http_client=DefaultAioHttpClient(limits=limits),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        if self._openai is not None:
            await self._openai.close()

    async def models(self) -> list[str]:
        """Return the names of the models that the server lists."""
        listing = self._connected().models.list
        try:
            page, _, _ = await self._patiently(lambda: _awaited(listing()), patient=False)
        except RequestFailed as failed:
            raise self._stop(str(failed)) from None
        return [str(model.id) for model in page.data or ()]

    async def complete(
        self, messages: Sequence[Message], endpoint: Endpoint, schema: Mapping[str, Any]
    ) -> Completion:
        """Return the reply to `messages`; raise RequestFailed, or EndpointError to end the run."""
        parameters = self._parameters(endpoint, schema, self._settings.max_reply_tokens)
        create: Any = self._connected().chat.completions.create
        completion, attempts, seconds = await self._patiently(
            lambda: create(messages=list(messages), **parameters)
        )
        return _read(completion, attempts, seconds)

    async def accepts(self, endpoint: Endpoint, schema: Mapping[str, Any]) -> str | None:
        """Make one small call; return None, or the server's words when it refuses the form."""
        parameters = self._parameters(endpoint, schema, 64)
        create: Any = self._connected().chat.completions.create
        ask = [{"role": "user", "content": 'Reply with the JSON {"is_answer": false}.'}]
        try:
            await self._patiently(lambda: create(messages=ask, **parameters), patient=False)
        except _FormRefused as refused:
            return str(refused)
        except RequestFailed as failed:
            raise self._stop(str(failed)) from None
        return None

    def _connected(self) -> AsyncOpenAI:
        if self._openai is None:
            raise RuntimeError("Client is used outside of `async with`")
        return self._openai

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
            form = {"type": "json_schema", "json_schema": named}
            # As a plain body: the SDK walks through typed parameters, a sixth of all our time.
            parameters["extra_body"] = {"response_format": form}
        elif endpoint.structured == "json_object":
            parameters["response_format"] = {"type": "json_object"}
        return parameters

    async def _patiently(
        self, send: Callable[[], Awaitable[T]], *, patient: bool = True
    ) -> tuple[T, int, float]:
        """Send until there is a reply; return it with the attempts and the seconds it took."""
        started = time.monotonic()
        fault = Fault("again", "not sent")
        for attempt in range(1, self._settings.max_attempts + 1):
            sent = await self._send(send)
            if not isinstance(sent, Fault):
                return sent, attempt, time.monotonic() - started
            fault = sent
            if fault.kind == "stop" or (fault.kind == "gone" and not patient):
                raise self._stop(fault.message)
            if fault.kind == "schema":
                if not patient:
                    raise _FormRefused(fault.message)
                raise self._stop(fault.message)
            if fault.kind == "this":
                break
            if attempt < self._settings.max_attempts:
                await asyncio.sleep(self._pause(attempt, fault.retry_after))
        if fault.kind == "gone":
            raise self._stop(fault.message)
        raise RequestFailed(
            fault.message,
            attempts=attempt,
            seconds=time.monotonic() - started,
            lasting=fault.kind == "this",
        )

    async def _send(self, send: Callable[[], Awaitable[T]]) -> T | Fault:
        import json

        import openai

        try:
            async with asyncio.timeout(self._settings.request_timeout_seconds):
                reply = await send()
        except TimeoutError:
            seconds = self._settings.request_timeout_seconds
            return Fault("again", f"no reply within {seconds:g} seconds")
        except openai.APIStatusError as error:
            return status_fault(error)
        except openai.APIConnectionError as error:
            return connection_fault(error)
        except (openai.APIError, json.JSONDecodeError) as error:
            return Fault("again", f"a broken reply: {scrub(str(error))}")
        if isinstance(reply, str):
            return Fault("again", f"a reply that is no JSON: {scrub(reply)[:80]!r}")
        return reply

    def _pause(self, attempt: int, retry_after: float | None) -> float:
        """Return the seconds to wait: what the server asks for, else exponential with jitter."""
        jitter = random.random()
        if retry_after is not None:
            return float(min(retry_after, _MAX_RETRY_AFTER_SECONDS) + 0.1 * jitter)
        return float(min(self._settings.max_backoff_seconds, 0.5 * 2**attempt) * (0.5 + jitter / 2))

    def _stop(self, message: str) -> EndpointError:
        return EndpointError(f"{message} (at {self._base_url})", next_step(message))


class _FormRefused(Exception):
    """The server refuses the form of the request: its schema, or a parameter."""


async def _awaited(page: Awaitable[T]) -> T:
    return await page


def _read(completion: ChatCompletion, attempts: int, seconds: float) -> Completion:
    """Take the text and the price out of a reply; whatever is missing becomes a fault."""
    text, fault = "", None
    choices = getattr(completion, "choices", None)
    if not choices:
        fault = "the reply holds no choice"
    else:
        message = choices[0].message
        text = (message.content if message else "") or ""
        refusal = getattr(message, "refusal", None)
        if refusal:
            text, fault = str(refusal), f"the model refused: {scrub(str(refusal))[:120]}"
        elif choices[0].finish_reason == "length":
            fault = "the reply was cut off at the token limit"
        elif choices[0].finish_reason == "content_filter":
            fault = "the server's content filter stopped the reply"
    usage = getattr(completion, "usage", None)
    return Completion(
        text=text,
        fault=fault,
        attempts=attempts,
        seconds=seconds,
        tokens_in=getattr(usage, "prompt_tokens", None),
        tokens_out=getattr(usage, "completion_tokens", None),
    )

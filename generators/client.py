"""The one seam to LLMs: any server that speaks the OpenAI protocol, asked with patience."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

from memoirist.data.schema.errors import EndpointError
from memoirist.generators.completion import Completion, read_completion
from memoirist.generators.faults import Fault, next_step
from memoirist.generators.gate import Withheld
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.traffic import Send, Traffic, TrafficNow
from memoirist.generators.transport import Transport

__all__ = [
    "Client",
    "Completion",
    "Endpoint",
    "RequestFailed",
    "Structured",
    "Withheld",
    "base_url_of",
]

Structured = Literal["json_schema", "json_object", "text"]
Message = Mapping[str, str]
OPENAI_URL = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A server, the model that it serves, and what its replies can be held to."""

    base_url: str
    model: str
    structured: Structured
    token_limit_name: str = "max_tokens"  # noqa: S105 - the name of a field
    takes_temperature: bool = True


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
        self._transport = Transport(base_url)
        self._traffic = Traffic(settings)
        # The schema is kept beside its bytes, since its identity is the key.
        self._openings: dict[tuple[Endpoint, int], tuple[Mapping[str, Any], bytes]] = {}

    async def __aenter__(self) -> Self:
        """Open the connections."""
        await self._transport.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self._traffic.shut()
        await self._transport.close()

    @property
    def at_once(self) -> int:
        """Return how many requests to hand over at a time, so that no slot is ever idle.

        More than there are slots, because a refused request waits without one.
        """
        return 4 * self._settings.max_concurrency

    def ask_before_sending(self, may_send: Callable[[], bool]) -> None:
        """Ask `may_send` before every attempt; where it says no, `complete` raises Withheld."""
        self._traffic.may_send = may_send

    def tell_of_replies(self, hear: Callable[[dict[str, Any], float], None]) -> None:
        """Tell `hear` of every reply's body and seconds, in its own task, before all else."""
        self._traffic.on_reply = hear

    def traffic(self) -> TrafficNow:
        """Return what the requests are doing now."""
        return self._traffic.now()

    async def models(self) -> list[str]:
        """Return the names of the models that the server lists."""
        try:
            body, _, _ = await self._patiently(
                lambda seconds: self._transport.send("/models", None, seconds), patient=False
            )
        except RequestFailed as failed:
            raise self._stop(str(failed)) from None
        listed = body.get("data") or body.get("models")
        rows = listed if isinstance(listed, list) else ()
        named = [row.get("id") or row.get("name") for row in rows if isinstance(row, dict)]
        return [str(name) for name in named if name]

    def halt(self) -> None:
        """Let what is in flight finish and send nothing more; what waits meets Withheld."""
        self._traffic.shut()

    async def complete(
        self,
        messages: Sequence[Message],
        endpoint: Endpoint,
        schema: Mapping[str, Any],
    ) -> Completion:
        """Return the reply to `messages`; raise RequestFailed, or EndpointError to end the run.

        Raise Withheld where the run may send no more.
        """
        request = self._request(messages, self._opening(endpoint, schema))
        return read_completion(*await self._patiently(self._post(request)))

    async def accepts(self, endpoint: Endpoint, schema: Mapping[str, Any]) -> str | None:
        """Make one small call; return None, or the server's words when it refuses the form."""
        ask = [{"role": "user", "content": 'Reply with the JSON {"is_answer": false}.'}]
        opening = _encoded(self._parameters(endpoint, schema, 64))
        try:
            await self._patiently(self._post(self._request(ask, opening)), patient=False)
        except _FormRefused as refused:
            return str(refused)
        except RequestFailed as failed:
            raise self._stop(str(failed)) from None
        return None

    def _post(self, request: bytes) -> Send:
        return lambda seconds: self._transport.send("/chat/completions", request, seconds)

    def _opening(self, endpoint: Endpoint, schema: Mapping[str, Any]) -> bytes:
        """Return the part of a request that all have in common, encoded once."""
        key = (endpoint, id(schema))
        if key not in self._openings:
            most_tokens = self._settings.max_reply_tokens
            parameters = self._parameters(endpoint, schema, most_tokens)
            self._openings[key] = (schema, _encoded(parameters))
        return self._openings[key][1]

    @staticmethod
    def _request(messages: Sequence[Message], opening: bytes) -> bytes:
        return opening[:-1] + b', "messages": ' + _encoded([dict(one) for one in messages]) + b"}"

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

    async def _patiently(
        self, send: Send, *, patient: bool = True
    ) -> tuple[dict[str, Any], int, float]:
        """Send until there is a reply; return its body, the attempts and the seconds they took."""
        attempts, tries, failures, total = 0, 0, 0, 0.0
        while True:
            tries += 1
            got, seconds, n_requests = await self._traffic.attempt(send, tries)
            attempts += n_requests
            total += seconds
            if not isinstance(got, Fault):
                return got, attempts, total
            try:
                self._raise_what_ends_the_run(got, patient=patient)
            except EndpointError:
                self._traffic.shut()
                raise
            if patient and self._traffic.breaker.is_open:
                tries -= 1  # nothing succeeds for anybody: it is not this request's own failure
            if got.kind == "this" or tries >= self._settings.max_attempts:
                break
            failures += got.retry_after is None
            await self._traffic.rest(got, max(1, failures))
        if got.cause == "gone":
            raise self._stop(got.message)
        raise RequestFailed(
            got.message, attempts=attempts, seconds=total, lasting=got.kind == "this"
        )

    def _raise_what_ends_the_run(self, fault: Fault, *, patient: bool) -> None:
        if fault.kind == "stop" or (fault.cause == "gone" and not patient):
            raise self._stop(fault.message)
        if fault.kind == "schema":
            if not patient:
                raise _FormRefused(fault.message)
            raise self._stop(fault.message)
        hopeless = self._traffic.breaker.verdict()
        if hopeless is not None:
            raise self._stop(hopeless)
        asked_to_wait = fault.retry_after or 0.0
        if asked_to_wait > self._settings.circuit_stops_seconds:
            raise self._stop(f"{fault.message}; it asks to wait {asked_to_wait:,.0f} seconds")

    def _stop(self, message: str) -> EndpointError:
        return EndpointError(f"{message} (at {self._base_url})", next_step(message))


class _FormRefused(Exception):
    """The server refuses the form of the request: its schema, or a parameter."""


def _encoded(value: object) -> bytes:
    return json.dumps(value).encode()

"""Ask an LLM the same kind of thing about many subjects: the judge, the polisher, follow-ups."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from data.nouns import Request
from generators.client import Client, Endpoint, RequestFailed
from generators.replies import quoted
from generators.settings import InterviewSettings

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One thing to ask: `key` is the request's id, by which a reply is found again."""

    key: str
    subject_id: str
    messages: Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round(Generic[T]):
    """What is alike for all of them: `read` returns a value, or what is wrong with a reply."""

    purpose: str
    schema: Mapping[str, Any]
    read: Callable[[str], T | str]
    repair: Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Generic[T]):
    """What came back: a value, or None where `request.error` tells why not."""

    task: Task
    request: Request
    value: T | None


async def ask_all(
    tasks: Sequence[Task], kind: Round[T], settings: InterviewSettings, endpoint: Endpoint
) -> AsyncIterator[Answered[T]]:
    """Yield what came of each task as it arrives, `max_concurrency` of them in flight at most.

    An unusable reply is asked again `max_repairs` times with what was wrong. Raise EndpointError,
    after what had arrived, when the server refuses to go on.
    """
    waiting: Iterator[Task] = iter(tasks)
    arrived: asyncio.Queue[Answered[T] | Exception | None] = asyncio.Queue()
    n_workers = min(settings.max_concurrency, len(tasks))
    async with Client(settings, endpoint.base_url) as client:

        async def work() -> None:
            try:
                for task in waiting:
                    await arrived.put(await _ask(task, kind, (client, endpoint), settings))
            except Exception as error:  # noqa: BLE001 - whatever ends a worker reaches the reader
                await arrived.put(error)
            await arrived.put(None)

        workers = [asyncio.create_task(work()) for _ in range(n_workers)]
        try:
            while n_workers:
                got = await arrived.get()
                if isinstance(got, Exception):
                    raise got
                if got is None:
                    n_workers -= 1
                else:
                    yield got
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)


async def _ask(
    task: Task, kind: Round[T], line: tuple[Client, Endpoint], settings: InterviewSettings
) -> Answered[T]:
    """Ask until a reply can be read, at most `max_repairs` times more."""
    client, endpoint = line
    messages: list[Mapping[str, str]] = list(task.messages)
    request = Request(
        id=task.key,
        purpose=kind.purpose,
        model=endpoint.model,
        status="unusable",
        attempts=0,
        subject_id=task.subject_id,
        seconds=0.0,
    )
    for _ in range(settings.max_repairs + 1):
        try:
            got = await client.complete(messages, endpoint, kind.schema)
        except RequestFailed as failed:
            attempts = request.attempts + failed.attempts
            failure = replace(request, status="failed", attempts=attempts, error=str(failed))
            return Answered(task=task, request=failure, value=None)
        request = replace(
            request,
            attempts=request.attempts + got.attempts,
            seconds=round((request.seconds or 0.0) + got.seconds, 3),
            tokens_in=_sum(request.tokens_in, got.tokens_in),
            tokens_out=_sum(request.tokens_out, got.tokens_out),
            reply=got.text,
        )
        value = got.fault or kind.read(got.text)
        if not isinstance(value, str):
            return Answered(task=task, request=replace(request, status="ok"), value=value)
        request = replace(request, error=value)
        messages = list(task.messages)
        if got.text.strip():
            messages.append({"role": "assistant", "content": quoted(got.text)})
        messages.append({"role": "user", "content": kind.repair(value)})
    return Answered(task=task, request=request, value=None)


def _sum(first: int | None, second: int | None) -> int | None:
    return first if second is None else (first or 0) + second

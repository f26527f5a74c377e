"""Ask an LLM the same kind of thing about many subjects: the judge, the polisher, follow-ups."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from data.nouns import Request
from generators.budget import Budget, Spend
from generators.client import Client, Completion, Endpoint, RequestFailed
from generators.gate import Withheld
from generators.prices import estimate_tokens
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
    """What is alike for all of them: `read` returns a value, or what is wrong with a reply.

    `refuse` tells what is wrong with a value that could be read, as an answer to its task.
    """

    purpose: str
    schema: Mapping[str, Any]
    read: Callable[[str], T | str]
    repair: Callable[[str], str]
    refuse: Callable[[Task, T], str | None] | None = None

    def value(self, text: str, task: Task) -> T | str:
        """Return what a reply to a task says, or what is wrong with it."""
        value = self.read(text)
        if isinstance(value, str) or self.refuse is None:
            return value
        return self.refuse(task, value) or value


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Generic[T]):
    """What came back: a value, or None where `request.error` tells why not."""

    task: Task
    request: Request
    value: T | None


async def ask_all(
    tasks: Sequence[Task],
    kind: Round[T],
    settings: InterviewSettings,
    endpoint: Endpoint,
    budget: Budget,
) -> AsyncIterator[Answered[T]]:
    """Yield what came of each task as it arrives, `max_concurrency` of them in flight at most.

    An unusable reply is asked again `max_repairs` times with what was wrong. The limits of
    `settings` hold for the round: where one is met, the tasks left yield nothing and
    `budget.stopped` says so. Raise EndpointError, after what had arrived, when the server refuses
    to go on.
    """
    waiting: Iterator[Task] = iter(tasks)
    arrived: asyncio.Queue[Answered[T] | Exception | None] = asyncio.Queue()
    async with Client(settings, endpoint.base_url) as client:
        client.ask_before_sending(budget.may_send)
        line = _Line(client, endpoint, settings, budget)
        n_workers = min(client.at_once, len(tasks))

        async def work() -> None:
            try:
                for task in waiting:
                    answered = await _ask(task, kind, line)
                    if answered is None:
                        break
                    await arrived.put(answered)
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


@dataclass(frozen=True, slots=True)
class _Line:
    """The way to the server, and what it may cost."""

    client: Client
    endpoint: Endpoint
    settings: InterviewSettings
    budget: Budget

    async def complete(
        self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any]
    ) -> tuple[Completion, Spend] | None:
        """Send one request within the budget; return None where no room is left for it."""
        n_tokens = estimate_tokens(*(message["content"] for message in messages))
        worst = await self.budget.reserve(n_tokens)
        if worst is None:
            return None
        actual = Spend()
        try:
            got = await self.client.complete(messages, self.endpoint, schema)
            tokens_in = n_tokens if got.tokens_in is None else got.tokens_in
            tokens_out = estimate_tokens(got.text) if got.tokens_out is None else got.tokens_out
            actual = self.budget.spend(0, tokens_in, tokens_out)
        except Withheld:
            return None
        finally:
            self.budget.settle(worst, actual)
        return got, actual


async def _ask(task: Task, kind: Round[T], line: _Line) -> Answered[T] | None:
    """Ask until a reply can be read, at most `max_repairs` times more."""
    messages: list[Mapping[str, str]] = list(task.messages)
    request = Request(
        id=task.key,
        key=task.key,
        purpose=kind.purpose,
        model=line.endpoint.model,
        status="unusable",
        attempts=0,
        subject_id=task.subject_id,
        seconds=0.0,
        created_at=datetime.now(UTC),
    )
    for _ in range(line.settings.max_repairs + 1):
        try:
            sent = await line.complete(messages, kind.schema)
        except RequestFailed as failed:
            attempts = request.attempts + failed.attempts
            failure = replace(request, status="failed", attempts=attempts, error=str(failed))
            return Answered(task=task, request=failure, value=None)
        if sent is None:
            stopped = replace(request, status="failed", error=f"stopped: {line.budget.stopped}")
            return Answered(task=task, request=stopped, value=None) if request.attempts else None
        got, spent = sent
        request = _with(request, got, spent, priced=line.budget.price is not None)
        value = got.fault or kind.value(got.text, task)
        if not isinstance(value, str):
            return Answered(task=task, request=replace(request, status="ok"), value=value)
        request = replace(request, error=value)
        messages = list(task.messages)
        if got.text.strip():
            messages.append({"role": "assistant", "content": quoted(got.text)})
        messages.append({"role": "user", "content": kind.repair(value)})
    return Answered(task=task, request=request, value=None)


def _with(request: Request, got: Completion, spent: Spend, *, priced: bool) -> Request:
    """Return the request with another reply and its price."""
    return replace(
        request,
        attempts=request.attempts + got.attempts,
        seconds=round((request.seconds or 0.0) + got.seconds, 3),
        tokens_in=(request.tokens_in or 0) + spent.tokens_in,
        tokens_out=(request.tokens_out or 0) + spent.tokens_out,
        cost_usd=(request.cost_usd or 0.0) + spent.usd if priced else None,
        reply=got.text,
    )

"""The executor of LLM tasks: sends many items at once, and each again until its reply is usable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import replace
from itertools import chain, islice
from typing import Generic

from memoirist.data.schema.records import Request, content_id
from memoirist.generators.client.client import Client
from memoirist.generators.client.http_errors import RequestFailed, Withheld
from memoirist.generators.client.reply_causes import ReplyCause, cause_next_step, failure_cause
from memoirist.generators.client.responses import Completion
from memoirist.generators.client.session import Session
from memoirist.generators.tasks.base import ItemT, LLMTask, TaskResult, ValueT, limits_of
from memoirist.generators.tasks.reply_parser import quoted, strip_reasoning


async def send_items(
    items: Iterable[ItemT], task: LLMTask[ItemT, ValueT], session: Session
) -> AsyncGenerator[TaskResult, None]:
    """Yield the result of each item as it arrives, in any order.

    At most `max_concurrency` requests are in flight, and at most as many results wait, so a slow
    consumer slows the requests; more items are started, as a refused request waits without a slot.
    `items` is read lazily. After an unusable reply the item is sent again with the fault, up to
    `max_repairs` times. After `session.budget.stop` the requests in flight finish, and the items
    left yield nothing. Raise EndpointError, after the results so far, when the server refuses to
    go on. Closing the iterator cancels the requests in flight.
    """
    async with session.open() as client:
        session.client = client
        client.may_send = session.budget.may_send
        remaining = iter(items)
        results: asyncio.Queue[TaskResult | Exception | None]
        results = asyncio.Queue(session.settings.max_concurrency)

        async def work(first: ItemT) -> None:
            try:
                for item in chain((first,), remaining):
                    result = await _Exchange(item, task, session, client).run()
                    if result is None:
                        break
                    await results.put(result)
            except Exception as error:  # noqa: BLE001 - the consumer raises it
                await results.put(error)
            await results.put(None)

        workers = [asyncio.create_task(work(item)) for item in islice(remaining, client.at_once)]
        n_workers = len(workers)
        try:
            while n_workers:
                result = await results.get()
                if isinstance(result, Exception):
                    raise result
                if result is None:
                    n_workers -= 1
                else:
                    yield result
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            session.client = None


class _Exchange(Generic[ItemT, ValueT]):
    """The requests about one item, and the row that is stored about them."""

    def __init__(
        self, item: ItemT, task: LLMTask[ItemT, ValueT], session: Session, client: Client
    ) -> None:
        self.item, self.task, self.session, self.client = item, task, session, client
        self.request = Request(
            id=item.key,
            key=item.key,
            purpose=task.purpose,
            model=session.endpoint.model,
            status="ok",
            attempts=0,
            subject_id=item.subject_id,
            tokens_in=0,
            tokens_out=0,
            cost_usd=session.usd(0, 0),
            seconds=0.0,
            passage_hash=item.passage_hash,
            prompt_version=item.prompt_version,
            source_id=item.source_id,
            run_id=session.run_id,
            limits=limits_of(session.settings),
            estimated=False,
            created_at=session.now,
        )

    async def run(self) -> TaskResult | None:
        """Return the result of the item, or None where the run stopped before it."""
        fault, messages = "", list(self.item.messages)
        cause: ReplyCause = "unreadable"
        for _ in range(self.session.settings.max_repairs + 1):
            try:
                completion, spent = await self.session.complete(
                    self.client, messages, self.task.schema
                )
            except RequestFailed as failure:
                return self._failed(failure)
            except Withheld:
                return self._stopped() if self.request.attempts else None
            self._add(completion, spent.tokens_in, spent.tokens_out)
            value = completion.fault or self._read(completion.text)
            if not isinstance(value, str):
                return self.task.result(self.item, self.request, value)
            cause = completion.cause or _cause_of_text(completion)
            fault, messages = value, self._repair_messages(completion.text, value)
        return self._without_value("unusable", "unusable_reply", fault, cause)

    def _read(self, text: str) -> ValueT | str:
        value = self.task.read(text)
        if isinstance(value, str):
            return value
        return self.task.refuse(self.item, value) or value

    def _repair_messages(self, reply: str, fault: str) -> list[Mapping[str, str]]:
        *before, last = self.item.messages
        repair = self.item.repair(fault)
        if not strip_reasoning(reply):
            # Some chat templates refuse two messages of one role in a row.
            return [*before, {**last, "content": f"{last['content']}\n\n{repair}"}]
        answer = {"role": "assistant", "content": quoted(reply)}
        return [*before, last, answer, {"role": "user", "content": repair}]

    def _add(self, completion: Completion, tokens_in: int, tokens_out: int) -> None:
        """Add a reply and its price to the row."""
        row = self.request
        total_in = (row.tokens_in or 0) + tokens_in
        total_out = (row.tokens_out or 0) + tokens_out
        uncounted = completion.tokens_in is None or completion.tokens_out is None
        self.request = replace(
            row,
            attempts=row.attempts + completion.attempts,
            seconds=round((row.seconds or 0.0) + completion.seconds, 3),
            tokens_in=total_in,
            tokens_out=total_out,
            cost_usd=self.session.usd(total_in, total_out),
            estimated=row.estimated or uncounted,
            reply=completion.text,
        )

    def _failed(self, failure: RequestFailed) -> TaskResult:
        """Return the result of an item that got no reply in all its attempts."""
        attempts = self.request.attempts + failure.attempts
        seconds = round((self.request.seconds or 0.0) + failure.seconds, 3)
        limits = self.request.limits if failure.permanent else None
        self.request = replace(self.request, attempts=attempts, seconds=seconds, limits=limits)
        error = f"no reply in {attempts} attempts; the last error: {failure}"
        return self._without_value("failed", "request_failed", error, failure_cause(failure))

    def _stopped(self) -> TaskResult:
        self.request = replace(self.request, limits=None)
        error = f"the run was stopped: {self.session.budget.stopped}"
        return self._without_value("failed", "request_failed", error, "stopped")

    def _without_value(self, status: str, rule: str, error: str, cause: ReplyCause) -> TaskResult:
        request = replace(
            self.request,
            # A failed request keeps its row beside a later answer: it was paid for as well.
            id=content_id(self.item.key, self.session.run_id),
            status=status,
            rule=rule,
            error=error,
            cause=cause,
            next_step=cause_next_step(cause, self.session.settings),
        )
        return self.task.result(self.item, request, None)


def _cause_of_text(completion: Completion) -> ReplyCause:
    """Return why the text of a reply that came whole cannot be used."""
    if completion.thinks_in_vain:
        return "thoughts_only"
    return "unreadable" if completion.text.strip() else "empty"

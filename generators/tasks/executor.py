"""Send the items of a task: many at once, each again until its reply can be used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import replace
from itertools import chain, islice
from typing import Generic

from memoirist.data.schema.records import Request, content_id
from memoirist.generators.client.client import Client
from memoirist.generators.client.errors import RequestFailed, Withheld
from memoirist.generators.client.responses import Completion
from memoirist.generators.client.session import Session
from memoirist.generators.tasks.base import ItemT, LLMTask, TaskResult, ValueT
from memoirist.generators.tasks.cache_key import limits_of
from memoirist.generators.tasks.reply_parser import quoted

_LONGER = "name a --model with a longer context, or shorten passages.max_words"
_AGAIN = "run the same command again, with a smaller --max-concurrency"
_UNUSABLE = "name another --model, or raise interview.max_reply_tokens"


async def send_items(
    items: Iterable[ItemT], task: LLMTask[ItemT, ValueT], session: Session
) -> AsyncGenerator[TaskResult, None]:
    """Yield what came of each item as it arrives, in no promised order.

    At most `max_concurrency` requests are in flight, and no more results wait than that, so a slow
    reader slows the requests; more items are begun, as a refused request waits without a slot. An
    item is taken off `items` when its turn comes. An unusable reply is asked again `max_repairs`
    times with what was wrong. `session.budget.stop` lets what is in flight finish and sends nothing
    more: the items left yield nothing. Raise EndpointError, after what had arrived, when the
    server refuses to go on. Closing the iterator cancels the requests in flight.
    """
    async with session.open() as client:
        session.client = client
        client.may_send = session.budget.may_send
        waiting = iter(items)
        arrived: asyncio.Queue[TaskResult | Exception | None]
        arrived = asyncio.Queue(session.settings.max_concurrency)

        async def work(first: ItemT) -> None:
            try:
                for item in chain((first,), waiting):
                    result = await _Exchange(item, task, session, client).run()
                    if result is None:
                        break
                    await arrived.put(result)
            except Exception as error:  # noqa: BLE001 - whatever ends a worker reaches the reader
                await arrived.put(error)
            await arrived.put(None)

        workers = [asyncio.create_task(work(item)) for item in islice(waiting, client.at_once)]
        n_workers = len(workers)
        try:
            while n_workers:
                result = await arrived.get()
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
    """The requests about one item, with the row that they come to."""

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
        """Return what came of the item, or None where the run stopped before it."""
        fault, messages = "", list(self.item.messages)
        for _ in range(self.session.settings.max_repairs + 1):
            try:
                completion, spent = await self.session.complete(
                    self.client, messages, self.task.schema
                )
            except RequestFailed as failed:
                return self._failed(failed)
            except Withheld:
                return self._stopped() if self.request.attempts else None
            self._add(completion, spent.tokens_in, spent.tokens_out)
            value = completion.fault or self._read(completion.text)
            if not isinstance(value, str):
                return self.task.result(self.item, self.request, value)
            fault, messages = value, self._repair_messages(completion.text, value)
        return self._without_value("unusable", "unusable_reply", fault, _UNUSABLE)

    def _read(self, text: str) -> ValueT | str:
        value = self.task.read(text)
        if isinstance(value, str):
            return value
        return self.task.refuse(self.item, value) or value

    def _repair_messages(self, reply: str, fault: str) -> list[Mapping[str, str]]:
        messages = list(self.item.messages)
        if reply.strip():
            messages.append({"role": "assistant", "content": quoted(reply)})
        return [*messages, {"role": "user", "content": self.item.repair(fault)}]

    def _add(self, completion: Completion, tokens_in: int, tokens_out: int) -> None:
        """Add a reply and its price to the row."""
        before = self.request
        all_in = (before.tokens_in or 0) + tokens_in
        all_out = (before.tokens_out or 0) + tokens_out
        uncounted = completion.tokens_in is None or completion.tokens_out is None
        self.request = replace(
            before,
            attempts=before.attempts + completion.attempts,
            seconds=round((before.seconds or 0.0) + completion.seconds, 3),
            tokens_in=all_in,
            tokens_out=all_out,
            cost_usd=self.session.usd(all_in, all_out),
            estimated=before.estimated or uncounted,
            reply=completion.text,
        )

    def _failed(self, failed: RequestFailed) -> TaskResult:
        """Return what is kept of an item that got no reply in all its attempts."""
        attempts = self.request.attempts + failed.attempts
        seconds = round((self.request.seconds or 0.0) + failed.seconds, 3)
        limits = self.request.limits if failed.lasting else None
        self.request = replace(self.request, attempts=attempts, seconds=seconds, limits=limits)
        said = f"no reply in {attempts} attempts; the last one: {failed}"
        step = _LONGER if failed.lasting else _AGAIN
        return self._without_value("failed", "request_failed", said, step)

    def _stopped(self) -> TaskResult:
        self.request = replace(self.request, limits=None)
        said = f"the run was stopped: {self.session.budget.stopped}"
        return self._without_value("failed", "request_failed", said, "run the same command again")

    def _without_value(self, status: str, rule: str, error: str, next_step: str) -> TaskResult:
        request = replace(
            self.request,
            # What failed stays beside what is answered later: it was paid for as well.
            id=content_id(self.item.key, self.session.run_id),
            status=status,
            rule=rule,
            error=error,
            next_step=next_step,
        )
        return self.task.result(self.item, request, None)

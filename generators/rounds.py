"""Ask an LLM the same kind of thing about many subjects: questions, follow-ups, grades."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from itertools import chain, islice
from typing import TypeVar

from memoirist.generators.exchange import UNDER_WAY, Answered, Exchange, Round, Task, hear
from memoirist.generators.line import Line

__all__ = ["Answered", "Round", "Task", "ask_all"]

T = TypeVar("T")


async def ask_all(
    tasks: Iterable[Task], kind: Round[T], line: Line
) -> AsyncGenerator[Answered[T], None]:
    """Yield what came of each task as it arrives, in no promised order.

    At most `max_concurrency` requests are in flight, and no more answers wait than that, so a slow
    reader slows the requests; more tasks are begun, as a refused request waits without a slot. A
    task is taken off `tasks` when its turn comes. An unusable reply is asked again `max_repairs`
    times with what was wrong. `line.budget.stop` lets what is in flight finish and sends nothing
    more: the tasks left yield nothing. Raise EndpointError, after what had arrived, when the
    server refuses to go on. Closing the iterator cancels the requests in flight.
    """
    async with line.opened() as client:
        line.client = client
        client.ask_before_sending(line.budget.may_send)
        if line.journal is not None:
            client.tell_of_replies(hear)
        waiting = iter(tasks)
        arrived: asyncio.Queue[Answered[T] | Exception | None]
        arrived = asyncio.Queue(line.settings.max_concurrency)

        async def work(first: Task) -> None:
            try:
                for task in chain((first,), waiting):
                    exchange = Exchange(task, kind, line, client)
                    UNDER_WAY.set(exchange)
                    answered = await exchange.ask()
                    if answered is None:
                        break
                    await arrived.put(answered)
            except Exception as error:  # noqa: BLE001 - whatever ends a worker reaches the reader
                await arrived.put(error)
            await arrived.put(None)

        workers = [asyncio.create_task(work(task)) for task in islice(waiting, client.at_once)]
        n_workers = len(workers)
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
            line.client = None

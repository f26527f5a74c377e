"""Ask an LLM the same kind of thing about many subjects: questions, follow-ups, grades."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from itertools import chain, islice
from typing import TypeVar

from generators.client.session import Session
from generators.exchange import Answered, Exchange, Round, Task

__all__ = ["Answered", "Round", "Task", "ask_all"]

T = TypeVar("T")


async def ask_all(
    tasks: Iterable[Task], kind: Round[T], session: Session
) -> AsyncGenerator[Answered[T], None]:
    """Yield what came of each task as it arrives, in no promised order.

    At most `max_concurrency` requests are in flight, and no more answers wait than that, so a slow
    reader slows the requests; more tasks are begun, as a refused request waits without a slot. A
    task is taken off `tasks` when its turn comes. An unusable reply is asked again `max_repairs`
    times with what was wrong. `session.budget.stop` lets what is in flight finish and sends nothing
    more: the tasks left yield nothing. Raise EndpointError, after what had arrived, when the
    server refuses to go on. Closing the iterator cancels the requests in flight.
    """
    async with session.open() as client:
        session.client = client
        client.ask_before_sending(session.budget.may_send)
        waiting = iter(tasks)
        arrived: asyncio.Queue[Answered[T] | Exception | None]
        arrived = asyncio.Queue(session.settings.max_concurrency)

        async def work(first: Task) -> None:
            try:
                for task in chain((first,), waiting):
                    answered = await Exchange(task, kind, session, client).ask()
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
            session.client = None

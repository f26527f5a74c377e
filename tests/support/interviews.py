"""The interview without a workspace: probe a server, send the passages, hand over the results."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime

from memoirist.data.schema.records import Passage, Question
from memoirist.generators.client.probe import probe
from memoirist.generators.client.session import Budget, Session
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.tasks.base import TaskResult
from memoirist.generators.tasks.executor import send_items
from memoirist.generators.tasks.question import QuestionTask


async def interview(
    passages: Sequence[Passage], persona: str, settings: InterviewSettings, now: datetime
) -> AsyncGenerator[TaskResult, None]:
    """Yield what came of each passage, also where the run ends with an error."""
    if not passages:
        return
    endpoint = await probe(settings)
    session = Session(settings=settings, endpoint=endpoint, budget=Budget(settings), now=now)
    task = QuestionTask(persona, endpoint.model, settings)
    arrived: list[TaskResult] = []
    error: Exception | None = None
    try:
        async with aclosing(send_items(map(task.item, passages), task, session)) as results:
            async for result in results:
                arrived.append(result)
    except Exception as raised:  # noqa: BLE001 - raised again once what arrived is handed over
        error = raised
    for settled in task.settle(arrived):
        yield settled
    if error is not None:
        raise error


def questions(result: TaskResult) -> list[Question]:
    """Return the question of a result, if there is one."""
    return [row for row in result.rows if isinstance(row, Question)]

"""Send the tasks of a judge or a follow-up, and keep every reply that arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from data.nouns import Request
from flows.context import Context

if TYPE_CHECKING:
    from generators.client import Endpoint
    from generators.rounds import Round, Task
    from generators.settings import InterviewSettings


def kept_replies(context: Context, purpose: str) -> dict[str, dict[str, str | None]]:
    """Return what was answered for a purpose, by the request's id: status, reply and error."""
    rows = context.workspace.store.rows(
        "SELECT id, status, reply, error FROM requests"
        " WHERE purpose = ? AND status IN ('ok', 'unusable')",
        [purpose],
    )
    return {str(row["id"]): row for row in rows}


async def send(
    context: Context,
    tasks: Sequence[Task],
    kind: Round[Any],
    line: tuple[InterviewSettings, Endpoint],
) -> None:
    """Send the tasks within the run's limits; each reply is written, however the run ends."""
    from generators.budget import Budget
    from generators.prices import price_of
    from generators.rounds import ask_all

    settings, endpoint = line
    budget = Budget(settings, price_of(endpoint.model, settings.prices))
    flow = context.recipe.flow
    waiting: list[Request] = []
    loop = asyncio.get_running_loop()
    written = loop.time()

    def write() -> None:
        with context.workspace.store.writing() as tx:
            tx.upsert(waiting)
        waiting.clear()

    with context.report.progress(kind.purpose, "pairs") as advance:
        done = 0
        try:
            async for answered in ask_all(tasks, kind, settings, endpoint, budget):
                waiting.append(answered.request)
                done += 1
                advance(done, len(tasks), "")
                late = loop.time() - written > flow.batch_seconds / 2
                if len(waiting) >= flow.batch_rows or late:
                    write()
                    written = loop.time()
        finally:
            if waiting:
                write()
    if budget.stopped:
        context.report.note(f"{kind.purpose}: {budget.stopped}; run it again to go on")

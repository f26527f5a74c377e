"""The runner of LLM tasks: sends the items of one purpose and stores every reply.

For each purpose replies are written in small transactions as they arrive, Ctrl-C finishes the
requests in flight, and no answered item is sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from memoirist.data.schema.errors import RecipeError
from memoirist.flows.llm.endpoints import BatchTable, find_endpoint
from memoirist.flows.llm.reply_writer import ReplyWriter
from memoirist.flows.runtime.context import Context

if TYPE_CHECKING:
    from memoirist.generators.client.client import Endpoint
    from memoirist.generators.client.session import Session
    from memoirist.generators.settings import InterviewSettings
    from memoirist.generators.tasks.base import LLMTask, TaskResult

T = TypeVar("T")
KeptReply = dict[str, str | None]
# An answer is final; a failure is final under the settings that it failed with.
_CLOSED = "purpose = ? AND (status = 'ok' OR limits = ?)"


def closed_keys(context: Context, purpose: str, settings: InterviewSettings) -> set[str]:
    """Return the keys of items that need no further request with these settings."""
    from memoirist.generators.tasks.base import limits_of

    closed = context.workspace.store.fetch(
        f"SELECT key FROM requests WHERE {_CLOSED}", [purpose, limits_of(settings)]
    )
    return {key for (key,) in closed.rows}


def last_reply(context: Context, purpose: str, command: str) -> Callable[[str], KeptReply]:
    """Return a function that returns a key's last reply or failure, or why there is none."""
    # A success sorts after a failure under the same key, and replaces it.
    rows = context.workspace.store.rows(
        "SELECT key, status, reply, error, next_step FROM requests WHERE purpose = ?"
        " ORDER BY status = 'ok', created_at",
        [purpose],
    )
    replies: dict[str, KeptReply] = {str(row["key"]): row for row in rows}
    stopped = context.budget.stopped
    nothing: KeptReply = {
        "status": "failed",
        "reply": None,
        "error": f"the run was stopped: {stopped}" if stopped else "the server gave no reply",
        "next_step": f"run `memoirist {command}` again",
    }
    return lambda key: replies.get(key, nothing)


async def open_session(
    context: Context, settings: InterviewSettings, endpoint: Endpoint | None = None
) -> Session:
    """Return the session of a purpose within the run's budget.

    The server is probed unless its endpoint is stored. Raise RecipeError where `budget_usd` is set
    and the price of the model is unknown.
    """
    from memoirist.generators.client.session import Session

    session = Session(
        settings=settings,
        endpoint=endpoint or await find_endpoint(context, settings),
        budget=context.budget,
        now=context.now,
        run_id=context.run_id,
        batches=BatchTable(context.workspace.store),
    )
    model = session.endpoint.model
    if session.priced is None and settings.budget_usd is not None:
        raise RecipeError(
            f"interview.budget_usd is set, but the price of {model!r} is unknown",
            f"give it: --set 'interview.prices.\"{model}\"={{input=0.1, output=0.4}}',"
            " US dollars for a million tokens",
        )
    if session.priced is None:
        context.report.note(f"the price of {model!r} is unknown: only tokens are counted")
    return session


async def run_missing(
    context: Context,
    items: Sequence[Any],
    task: LLMTask[Any, Any],
    settings: InterviewSettings,
    endpoint: Endpoint | None = None,
) -> tuple[int, bool]:
    """Send the items without a kept reply; return their number and whether none is left to send."""
    closed = closed_keys(context, task.purpose, settings)
    due = list({item.key: item for item in items if item.key not in closed}.values())
    if due:
        await run_items(context, due, task, settings, endpoint)
        closed = closed_keys(context, task.purpose, settings)
    return len(due), all(item.key in closed for item in items)


async def run_items(
    context: Context,
    items: Sequence[Any],
    task: LLMTask[Any, Any],
    settings: InterviewSettings,
    endpoint: Endpoint | None = None,
) -> None:
    """Send the items of a task within the run's limits; store each reply, however the run ends.

    Raise KeyboardInterrupt after a Ctrl-C, once the requests in flight have ended.
    """
    from memoirist.generators.tasks.executor import send_items

    n_left = len(items)
    if not context.budget.stopped:
        session = await open_session(context, settings, endpoint)
        writer = ReplyWriter(context, session, len(items))
        await write_replies(writer, send_items(items, task, session), task.purpose, "pairs")
        n_left -= writer.n_done
        if writer.interrupted:
            raise KeyboardInterrupt
    if context.budget.stopped:
        context.report.warn(
            f"{context.budget.stopped}; {n_left:,} pairs are still without their {task.purpose}:"
            " raise the limit and run the same command again"
        )


async def write_replies(
    writer: ReplyWriter, results: AsyncGenerator[TaskResult, None], verb: str, unit: str
) -> None:
    """Write all results, with a progress line."""
    with writer.context.report.progress(verb, unit) as advance:
        async with aclosing(results):
            await writer.receive(results, advance)


def run_to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine; raise KeyboardInterrupt where a second Ctrl-C ended it."""
    try:
        return asyncio.run(work)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None

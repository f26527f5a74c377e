"""Send the tasks of one purpose, and keep every reply that arrives.

What holds for the interview holds for each: replies are noted as they arrive and written in small
transactions, Ctrl-C finishes what is in flight, and nothing that was answered is asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from memoirist.data.schema.errors import RecipeError
from memoirist.flows.batching import Book
from memoirist.flows.desk import Desk, Pace
from memoirist.flows.endpoints import remember, remembered
from memoirist.flows.journal import recover
from memoirist.flows.runtime.context import Context

if TYPE_CHECKING:
    from memoirist.generators.client import Endpoint
    from memoirist.generators.line import Line
    from memoirist.generators.rounds import Round, Task
    from memoirist.generators.settings import InterviewSettings


Kept = dict[str, str | None]
# An answer is kept for good; a failure as long as it would fail under the same settings again.
_CLOSED = "purpose = ? AND (status = 'ok' OR limits = ?)"


def recover_replies(context: Context) -> None:
    """Take up what a run that was killed has left in its journal."""
    recovered = recover(context.workspace.store, context.workspace.root)
    if recovered:
        context.report.note(f"{recovered:,} replies of a run that was stopped are kept")


def closed_keys(context: Context, purpose: str, settings: InterviewSettings) -> set[str]:
    """Return the keys under which nothing is to be asked again, under these settings."""
    from memoirist.generators.keys import limits_of

    closed = context.workspace.store.fetch(
        f"SELECT key FROM requests WHERE {_CLOSED}", [purpose, limits_of(settings)]
    )
    return {key for (key,) in closed.rows}


def kept_replies(context: Context, purpose: str, settings: InterviewSettings) -> dict[str, Kept]:
    """Return what has come for a purpose, by the key: status, reply, error and next_step.

    A key that is not among it is still to be asked.
    """
    from memoirist.generators.keys import limits_of

    recover_replies(context)
    # An answer comes last, over a failure under the same key.
    rows = context.workspace.store.rows(
        f"SELECT key, status, reply, error, next_step FROM requests WHERE {_CLOSED}"
        " ORDER BY status = 'ok', created_at",
        [purpose, limits_of(settings)],
    )
    return {str(row["key"]): row for row in rows}


def what_came(context: Context, purpose: str, command: str) -> Callable[[str], Kept]:
    """Return what tells of a key what came last, a passing failure too, or why nothing has."""
    rows = context.workspace.store.rows(
        "SELECT key, status, reply, error, next_step FROM requests WHERE purpose = ?"
        " ORDER BY status = 'ok', created_at",
        [purpose],
    )
    found: dict[str, Kept] = {str(row["key"]): row for row in rows}
    why = context.budget.stopped
    nothing: Kept = {
        "status": "failed",
        "reply": None,
        "error": f"the run was stopped: {why}" if why else "the server gave no reply",
        "next_step": f"run `memoirist {command}` again",
    }
    return lambda key: found.get(key, nothing)


async def open_line(
    context: Context, settings: InterviewSettings, endpoint: Endpoint | None = None
) -> Line:
    """Return the line over which a purpose is asked within the run's budget.

    The server is probed unless its endpoint is known already, by an earlier run too. Raise
    RecipeError where dollars are limited and the model's price is unknown.
    """
    from memoirist.generators.line import Line
    from memoirist.generators.probe import probe

    known = remembered(context, settings)
    if endpoint is None:
        endpoint = await probe(settings, known)
    if endpoint not in known:
        remember(context, endpoint)
    line = Line(
        settings=settings,
        endpoint=endpoint,
        budget=context.budget,
        now=context.now,
        run_id=context.run_id,
        book=Book(context.workspace.store),
    )
    model = line.endpoint.model
    if line.priced is None and settings.budget_usd is not None:
        raise RecipeError(
            f"interview.budget_usd is set, but the price of {model!r} is unknown",
            f"give it: --set 'interview.prices.\"{model}\"={{input=0.1, output=0.4}}',"
            " US dollars for a million tokens",
        )
    if line.priced is None:
        context.report.note(f"no price is known of {model!r}: tokens are counted alone")
    return line


async def send(
    context: Context,
    tasks: Sequence[Task],
    kind: Round[Any],
    line: tuple[InterviewSettings, Endpoint | None],
) -> None:
    """Send the tasks within the run's limits; each reply is kept, however the run ends.

    Raise KeyboardInterrupt after a Ctrl-C, once what was in flight is kept.
    """
    from memoirist.generators.rounds import ask_all

    if context.budget.stopped:
        _tell_stop(context, kind.purpose, len(tasks))
        return
    opened = await open_line(context, *line)
    desk = Desk(context, opened, len(tasks))
    with context.report.progress(kind.purpose, "pairs") as advance:
        pace = Pace(lambda done: advance(done, len(tasks), desk.told_now()))
        async with aclosing(ask_all(tasks, kind, opened)) as arrivals:
            await desk.receive(arrivals, pace)
    if desk.interrupted:
        raise KeyboardInterrupt
    if opened.budget.stopped:
        _tell_stop(context, kind.purpose, len(tasks) - desk.done)


def _tell_stop(context: Context, purpose: str, left: int) -> None:
    context.report.warn(
        f"{context.budget.stopped}; {left:,} pairs are still without their {purpose}: raise the"
        " limit and run the same command again"
    )

"""The runner of LLM tasks: finds the endpoint, sends the items of a purpose, stores every reply.

For each purpose replies are written in small transactions as they arrive, Ctrl-C finishes the
requests in flight, and no answered item is sent again.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from memoirist.data.schema.errors import EndpointError, RecipeError
from memoirist.data.schema.records import Batch, content_id
from memoirist.data.store.store import Store
from memoirist.data.store.transaction import statement
from memoirist.flows.runtime.context import Context

if TYPE_CHECKING:
    from memoirist.generators.client.endpoint import Endpoint
    from memoirist.generators.client.session import Session
    from memoirist.generators.settings import InterviewSettings
    from memoirist.generators.tasks.base import LLMTask, TaskResult

# A newer server with the same address and name may support more.
_MAX_AGE_DAYS = 30
_DELETE_ENDPOINT = "DELETE FROM endpoints WHERE id = ? AND model = ?"


def _known_endpoints(context: Context, settings: InterviewSettings) -> list[Endpoint]:
    """Return the stored endpoints of the settings' server, one for each of its models."""
    from memoirist.generators.client.client import base_url_of
    from memoirist.generators.client.endpoint import Endpoint

    store, base_url = context.workspace.store, base_url_of(settings)
    if not store.path.exists():
        return []
    rows = store.rows(
        "SELECT * EXCLUDE (id, probed_at) FROM endpoints"
        f" WHERE id = ? AND probed_at > now() - INTERVAL {_MAX_AGE_DAYS} DAY",
        [content_id("endpoint", base_url)],
    )
    return [Endpoint(base_url=base_url, **row) for row in rows]


async def find_endpoint(context: Context, settings: InterviewSettings) -> Endpoint:
    """Return the stored endpoint of the settings, else probe the server and store the result."""
    from memoirist.generators.client.probe import probe

    known = _known_endpoints(context, settings)
    endpoint = await probe(settings, known)
    if endpoint not in known:
        save_endpoint(context, endpoint)
    return endpoint


def save_endpoint(context: Context, endpoint: Endpoint) -> None:
    """Store what an endpoint wants for the next run, and report it where it is unusual."""
    row = asdict(endpoint)
    row["id"] = content_id("endpoint", row.pop("base_url"))
    with context.workspace.store.writing() as tx:
        tx.execute(_DELETE_ENDPOINT, [row["id"], endpoint.model])
        tx.execute(
            "INSERT INTO endpoints BY NAME SELECT now() AS probed_at,"
            f" {', '.join(f'? AS {name}' for name in row)}",
            list(row.values()),
        )
    if wants := endpoint.describe():
        context.report.note(f"{endpoint.model} needs: {wants}; this is remembered")


async def find_model(
    context: Context, settings: InterviewSettings, model: str | None
) -> tuple[str, Endpoint | None]:
    """Return the model to ask, and the endpoint of the server if only that names the model."""
    if model:
        return model, None
    endpoint = await find_endpoint(context, settings)
    return endpoint.model, endpoint


def delete_endpoint(context: Context, endpoint: Endpoint) -> None:
    """Delete a stored endpoint, so that the next run probes the server again."""
    with context.workspace.store.writing() as tx:
        tx.execute(_DELETE_ENDPOINT, [content_id("endpoint", endpoint.base_url), endpoint.model])


class BatchTable:
    """The table `batches` of a workspace, for the client of the Batch API."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def batches(self, base_url: str) -> Sequence[Batch]:
        """Return the batches at one address, the oldest first."""
        return self._store.nouns(Batch, "base_url = ? ORDER BY created_at, key", base_url)

    def save(self, batch: Batch) -> None:
        """Store a batch."""
        with self._store.writing() as tx:
            tx.upsert([batch])


_BACKLOG = 10  # batches that may wait for a slow disk, or a reader, before replies have to wait
# Progress for each reply would be too slow at 800 replies a second.
_PROGRESS_SECONDS = 0.2


class ReplyWriter:
    """Writes replies in batches, each within `flow.batch_seconds` of its arrival."""

    def __init__(
        self, context: Context, session: Session, n_due: int, task: LLMTask[Any, Any]
    ) -> None:
        self.context = context
        self.session = session
        self.task = task
        self._endpoint = session.endpoint  # as it is stored
        self.n_due = n_due
        self.n_done = self.n_refused = self.n_due_again = 0
        self.interrupted = False
        self._waiting: list[TaskResult] = []
        self._rules: Counter[str] = Counter()
        self._stored: list[TaskResult] = []
        self._writing = asyncio.Lock()
        self._settling = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._shown_at = 0.0

    async def receive(
        self, results: AsyncIterator[TaskResult], advance: Callable[[int, int, str], None]
    ) -> None:
        """Write every reply that arrives, also when the run ends with an error."""
        flow = self.context.recipe.flow
        # A write takes time as well, which the rest of `batch_seconds` is for.
        timers = [
            asyncio.create_task(self._write_regularly(0.75 * flow.batch_seconds)),
            asyncio.create_task(self._settle_regularly(flow.batch_seconds)),
        ]
        try:
            with self._interruptible():
                async for result in results:
                    self._waiting.append(result)
                    self.n_done += 1
                    now = time.monotonic()
                    if now - self._shown_at >= _PROGRESS_SECONDS:
                        self._shown_at = now
                        advance(self.n_done, self.n_due, self._progress())
                    if len(self._waiting) >= flow.batch_rows * _BACKLOG:
                        await self._write()
                    elif len(self._waiting) >= flow.batch_rows:
                        self._write_soon()
        except EndpointError:
            await asyncio.shield(self._write())
            delete_endpoint(self.context, self.session.endpoint)
            raise
        finally:
            for timer in timers:
                timer.cancel()
            await asyncio.shield(self._write())
            await asyncio.shield(self._settle())

    def _count(self, result: TaskResult) -> None:
        self.n_refused += not result.answered
        self.n_due_again += not result.answered and result.request.limits is None
        if result.request.rule is not None:
            self._rules[result.request.rule] += 1

    def _write_soon(self) -> None:
        """Write in the background, while replies go on arriving."""
        if self._task is not None and self._task.done():
            self._task.result()  # raises the error of a full disk
            self._task = None
        if self._task is None:
            self._task = asyncio.create_task(self._write())

    async def _write_regularly(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            self._write_soon()

    async def _settle_regularly(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            await asyncio.shield(self._settle())

    async def _write(self) -> None:
        """Write the waiting replies in a thread, while the requests go on.

        A reply is paid for, so it is stored before its questions are judged, which takes longer. A
        killed run leaves it without `judged`, and the choice of questions judges it then.
        """
        async with self._writing:
            batch, self._waiting = self._waiting, []
            if batch:
                rows = [r.rows if r.unsettled is None else (r.request,) for r in batch]
                try:
                    await asyncio.to_thread(self._upsert, rows)
                except BaseException:
                    self._waiting = batch + self._waiting  # written again at the end
                    raise
                self._stored += batch

    async def _settle(self) -> None:
        """Let the task work out the stored replies, many at once, and write what comes of them."""
        async with self._settling:
            batch, self._stored = self._stored, []
            if batch:
                try:
                    settled = await asyncio.to_thread(self.task.settle, batch)
                    changed = [
                        new.rows for old, new in zip(batch, settled, strict=True) if new is not old
                    ]
                    if changed:
                        await asyncio.to_thread(self._upsert, changed)
                except BaseException:
                    self._stored = batch + self._stored
                    raise
                for result in settled:
                    self._count(result)

    def _upsert(self, rows_of: Sequence[Sequence[object]]) -> None:
        by_kind: dict[type, list[object]] = {}
        for row in (row for rows in rows_of for row in rows):
            by_kind.setdefault(type(row), []).append(row)
        with self.context.workspace.store.writing() as tx:
            for rows in by_kind.values():
                tx.upsert(rows)
        endpoint = self.session.endpoint
        if endpoint != self._endpoint:
            self._endpoint = endpoint
            save_endpoint(self.context, endpoint)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Finish the requests in flight after the first Ctrl-C; stop at once after the second."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        loop.add_signal_handler(signal.SIGINT, self._interrupt, task)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    def _interrupt(self, task: asyncio.Task[Any] | None) -> None:
        client, report = self.session.client, self.context.report
        n = client.state().in_flight if client else 0
        if self.session.settings.mode == "batch" and not self.interrupted:
            report.note(
                f"Ctrl-C: {n:,} requests remain with the provider; the same command fetches them"
            )
            self.interrupted = True
        if self.interrupted and task is not None:
            task.cancel()
            return
        self.interrupted = True
        self.session.budget.interrupt()
        if client is not None:
            client.halt()  # requests that wait for Retry-After are not sent
        report.note(f"Ctrl-C: waiting for {n:,} requests in flight; press it again to stop at once")

    def summary(self) -> str:
        """Return the progress so far in words: answers, failures by rule, tokens and cost."""
        spent = self.session.spent
        failed = "".join(f", {n:,} {rule}" for rule, n in self._rules.most_common(3))
        cost = f", ${spent.usd:.4f}" if self.session.priced else ""
        return f"{self.n_done - self.n_refused:,} answered{failed}, {spent.tokens:,} tokens{cost}"

    def _progress(self) -> str:
        """Return the summary with the requests in flight and the faults of the server."""
        if self.session.client is None:
            return self.summary()
        state = self.session.client.state()
        faults = "".join(f", {n:,} {cause}" for cause, n in sorted(state.faults.items()))
        paused = ", paused: no request succeeds" if state.paused else ""
        return f"{self.summary()}, {state.in_flight:,} of {state.limit:,} in flight{faults}{paused}"


T = TypeVar("T")
KeptReply = dict[str, str | None]
# An answer is final. A failure is final under the settings that it failed with, unless the model
# has never given a usable reply: then it lies with the endpoint and not with the item.
_CLOSED = (
    "purpose = ? AND (status = 'ok' OR limits = ?"
    " AND model IN (SELECT model FROM requests WHERE status = 'ok'))"
)


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


_RESULTS = {
    "interview": "question",
    "follow_up": "follow-up question",
    "judge": "grade",
    "polish": "polished answer",
    "versus": "choice between two answers",
}


def report_causes(
    context: Context, purpose: str, keys: Sequence[str], *, quiet: bool = False
) -> EndpointError | None:
    """Report why items have no usable reply, a line for each cause with its count and next step.

    The lines are notes, which `quiet` leaves out, if any item has an answer. Else they are
    warnings; return the error then, None where nothing was asked. Whoever has asked deletes the
    endpoint, so that the next run probes the server again.
    """
    from memoirist.generators.client.reply_causes import cause_in_words

    store = context.workspace.store
    values = {"purpose": purpose, "keys": list(keys)}
    rows = store.rows(statement("reply_causes"), values)
    n_asked = sum(row["n"] for row in rows)
    is_won = any(row["answered"] and row["cause"] is None for row in rows)
    for row in rows:
        if row["cause"] is None or (is_won and (quiet or row["answered"])):
            continue
        cause = cause_in_words(row["cause"])
        line = f"{row['n']:,} of {n_asked:,}: {cause}; {row['next_step']}"
        (context.report.note if is_won else context.report.warn)(line)
    if is_won or not n_asked:
        return None
    return EndpointError(
        f"no {_RESULTS[purpose]}: none of {n_asked:,} requests got a usable reply",
        "follow the steps above and run the same command again: it sends only what is missing",
    )


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
            f"unknown price for model {model!r}, which interview.budget_usd needs",
            f"give it: --set 'interview.prices.\"{model}\"={{input=0.1, output=0.4}}',"
            " US dollars for a million tokens",
        )
    if session.priced is None:
        context.report.note(f"unknown price for model {model!r}: only tokens are counted")
    return session


def due_items(items: Sequence[Any], closed: set[str]) -> list[Any]:
    """Return the items to send: one for each key that is not `closed`.

    Temporary failures, and failures under other limits than the current ones, are due again.
    """
    return list({item.key: item for item in items if item.key not in closed}.values())


class Sent(NamedTuple):
    """The number of items that were due, and whether none is left to send.

    `error` is raised once the step has written its rows: no item at all has a usable reply.
    """

    n_due: int
    finished: bool
    error: EndpointError | None

    def raise_error(self) -> None:
        """Raise the error, if there is one."""
        if self.error is not None:
            raise self.error


async def run_missing(
    context: Context,
    items: Sequence[Any],
    task: LLMTask[Any, Any],
    settings: InterviewSettings,
    endpoint: Endpoint | None,
) -> Sent:
    """Send the items without a kept reply within the run's limits; each reply is stored.

    Raise KeyboardInterrupt after a Ctrl-C, once the requests in flight have ended.
    """
    from memoirist.generators.tasks.executor import send_items

    due = due_items(items, closed_keys(context, task.purpose, settings))
    if not due:
        return Sent(0, True, None)
    n_left = len(due)
    if not context.budget.stopped:
        session = await open_session(context, settings, endpoint)
        writer = ReplyWriter(context, session, n_left, task)
        await write_replies(writer, send_items(due, task, session), task.purpose, "pairs")
        n_left -= writer.n_done
        if writer.interrupted:
            raise KeyboardInterrupt
    if context.budget.stopped:
        context.report.warn(
            f"{context.budget.stopped}; {n_left:,} pairs are not done yet ({task.purpose}):"
            " raise the limit and run the same command again"
        )
    finished = not due_items(due, closed_keys(context, task.purpose, settings))
    error = report_causes(context, task.purpose, [item.key for item in items])
    if error is not None and n_left < len(due):
        delete_endpoint(context, session.endpoint)
    return Sent(len(due), finished, error)


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

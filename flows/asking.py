"""Ask: for every passage that still lacks its question, by a real LLM or the offline interviewer.

Replies are written as they arrive, in small transactions; a killed build repeats at most what
was in flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from data.nouns import Done, Passage, Rows
from flows.context import Context, fingerprint
from flows.splitting import persona_language

if TYPE_CHECKING:
    from generators.interview import Asked

# A source row is an exchange that an earlier dataset holds; it has its question.
_DUE = (
    "source_row IS NULL AND id NOT IN"
    " (SELECT subject_id FROM verdicts WHERE subject = 'passages' AND NOT keep"
    " AND step IN ('gate', 'dedupe'))"
    " AND id NOT IN (SELECT passage_id FROM asked_questions WHERE origin IN {origins})"
    " AND id NOT IN (SELECT subject_id FROM done WHERE step = 'ask' AND fingerprint = ?)"
    " ORDER BY (SELECT (added_at, id) FROM sources s WHERE s.id = source_id), document_id, ord"
)
_REAL = "('spoken', 'given', 'curated')"
_REAL_OR_GENERATED = "('spoken', 'given', 'curated', 'generated')"


def ask_questions(context: Context) -> None:
    """Ask what is not asked yet, with the endpoint where one is set and offline where none is."""
    from generators.client import endpoint_configured

    with context.timed() as seconds:
        if endpoint_configured(context.recipe.interview):
            # The replies are written while they arrive, so this task runs in the flow's process.
            told = context.call("ask", "by LLM", lambda: asyncio.run(_ask_llm(context)))
        else:
            told = _ask_offline(context)
    if told:
        context.report.step("ask", told, seconds())
    _tell_spoken(context)


def _tell_spoken(context: Context) -> None:
    if "split" not in context.changed:
        return
    rows = context.workspace.store.rows(
        "SELECT origin, count(*) AS n FROM questions WHERE origin IN ('spoken', 'given')"
        " GROUP BY origin ORDER BY origin"
    )
    if rows:
        told = ", ".join(f"{row['n']:,} {row['origin']}" for row in rows)
        context.report.note(f"questions that the sources themselves hold: {told}")


def _ask_offline(context: Context) -> str:
    from generators.offline import ask_offline
    from generators.templates import load_templates, offline_languages

    lang = persona_language(context)
    version = load_templates(lang).version if lang in offline_languages() else "none"
    mark = fingerprint("template", version)
    due = context.workspace.store.nouns(
        Passage, _DUE.format(origins=_REAL_OR_GENERATED), mark, own=True
    )
    if not due:
        return ""
    rows = context.call(
        "ask",
        f"{len(due)} passages offline",
        partial(ask_offline, due, lang, context.now, context.recipe.persona.name),
    )
    _write(context, due, rows, mark, due)
    context.count("ask", len(rows.questions))
    return (
        f"{len(rows.questions):,} questions by the offline interviewer, as no LLM endpoint is set"
        " (OPENAI_API_KEY or OPENAI_BASE_URL)"
    )


def _write(
    context: Context,
    asked: Sequence[Passage],
    rows: Rows,
    mark: str,
    final: Sequence[Passage],
) -> None:
    source_of = {passage.id: passage.source_id for passage in asked}
    ids = [passage.id for passage in asked]
    verdicts = [
        replace(v, step="ask", source_id=source_of.get(v.subject_id)) for v in rows.verdicts
    ]
    with context.workspace.store.writing() as tx:
        tx.execute(
            "DELETE FROM verdicts WHERE step = 'ask' AND list_contains(?, subject_id)", [ids]
        )
        tx.upsert(rows.questions)
        tx.upsert(verdicts)
        tx.upsert(rows.requests)
        tx.upsert([Done(subject_id=each.id, step="ask", fingerprint=mark) for each in final])


async def _ask_llm(context: Context) -> str:
    from flows.kinds import resolved_settings
    from generators.brief import prompts_version
    from generators.interview import interview
    from generators.probe import probe

    settings = resolved_settings(context)
    store = context.workspace.store
    version = prompts_version(str(settings.language), context.recipe.interview)
    # A finished interview needs no server: the model is the recipe's, or the one asked last.
    known = settings.model or store.value(
        "SELECT model FROM asked_questions WHERE origin = 'generated' ORDER BY rowid DESC LIMIT 1"
    )
    if known and not store.nouns(
        Passage, _DUE.format(origins=_REAL), _mark(known, version), own=True
    ):
        return ""
    endpoint = await probe(settings)
    mark = _mark(endpoint.model, version)
    due = store.nouns(Passage, _DUE.format(origins=_REAL), mark, own=True)
    if not due:
        return ""
    arrivals = interview(due, context.recipe.persona.name, settings, context.now, endpoint)
    desk = _Desk(context, due, mark)
    with context.report.progress("ask", "passages") as advance:
        await desk.receive(arrivals, lambda done: advance(done, len(due), desk.told()))
    context.count("ask", desk.questions)
    return f"{desk.told()} by {endpoint.model} at {endpoint.base_url}"


def _mark(model: str, version: str) -> str:
    return fingerprint("generated", model, version)


class _Desk:
    """Writes replies as they arrive, a batch at a time, and counts them."""

    def __init__(self, context: Context, due: Sequence[Passage], mark: str) -> None:
        self.context = context
        self.passages = {passage.id: passage for passage in due}
        self.mark = mark
        self.waiting: list[Asked] = []
        self.writing = asyncio.Lock()
        self.done = self.questions = self.refused = self.tokens = 0

    def told(self) -> str:
        """Describe what has come back."""
        refused = f", {self.refused:,} passages without one" if self.refused else ""
        return f"{self.questions:,} questions{refused}, {self.tokens:,} tokens"

    async def receive(self, arrivals: AsyncIterator[Asked], advance: Callable[[int], None]) -> None:
        """Take every reply; what has arrived is written however this ends."""
        clock = asyncio.create_task(self._each_interval())
        try:
            async for asked in arrivals:
                self.waiting.append(asked)
                self.done += 1
                self.questions += len(asked.questions)
                self.refused += not asked.questions
                request = asked.request
                self.tokens += (request.tokens_in or 0) + (request.tokens_out or 0)
                advance(self.done)
                if len(self.waiting) >= self.context.recipe.flow.batch_rows:
                    await self.write()
        finally:
            clock.cancel()
            await asyncio.shield(self.write())

    async def write(self) -> None:
        """Write what waits, in a thread, so that the requests in flight go on."""
        async with self.writing:
            batch, self.waiting = self.waiting, []
            if batch:
                await asyncio.to_thread(self._write, batch)

    async def _each_interval(self) -> None:
        while True:
            await asyncio.sleep(self.context.recipe.flow.batch_seconds)
            await self.write()

    def _write(self, batch: Sequence[Asked]) -> None:
        final = [self.passages[asked.passage_id] for asked in batch if asked.final]
        rows = Rows(
            questions=[q for asked in batch for q in asked.questions],
            verdicts=[v for asked in batch for v in asked.verdicts],
            requests=[asked.request for asked in batch],
        )
        _write(self.context, [self.passages[a.passage_id] for a in batch], rows, self.mark, final)

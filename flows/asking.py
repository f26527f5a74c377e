"""Ask: for every passage that still lacks its question, by a real LLM or the offline interviewer.

Replies are written as they arrive, in small transactions, and kept under a key: a killed build
repeats at most what was in flight, and nothing that was answered is asked again.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from data.choose import Chosen
from data.nouns import Done, Passage, Rows
from flows.choosing import choose_questions, told_lengths
from flows.context import Context, fingerprint
from flows.language import persona_language
from flows.llm.interview_settings import resolved_settings
from flows.llm.reply_writer import ReplyWriter
from flows.llm.runner import closed_keys, open_session, run_to_the_end, write_replies

if TYPE_CHECKING:
    from generators.client.session import Session
    from generators.tasks.cache_key import Query
    from generators.tasks.question import QuestionTask

# A source row is an exchange that an earlier dataset holds; it has its question.
_ELIGIBLE = (
    "source_row IS NULL AND id NOT IN"
    " (SELECT subject_id FROM verdicts WHERE subject = 'passages' AND NOT keep"
    " AND step IN ('gate', 'dedupe'))"
    " AND id NOT IN (SELECT passage_id FROM asked_questions WHERE origin IN {origins})"
)
_REAL = "('spoken', 'given', 'curated', 'disclosure')"
_NOT_DONE = " AND id NOT IN (SELECT subject_id FROM done WHERE step = 'ask' AND fingerprint = ?)"
_ORDER = "ORDER BY (SELECT (added_at, id) FROM sources s WHERE s.id = source_id), document_id, ord"
_REAL_OR_GENERATED = "('spoken', 'given', 'curated', 'disclosure', 'generated')"


def ask_questions(context: Context) -> None:
    """Ask what is not asked yet, with the endpoint where one is set and offline where none is."""
    from generators.client.client import endpoint_configured

    with context.timed() as seconds:
        if endpoint_configured(context.recipe.interview):
            # The replies are written while they arrive, so this task runs in the flow's process.
            told = context.call("ask", "by LLM", lambda: _ask_llm(context))
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


def due_offline(context: Context) -> list[Passage]:
    """Return the passages that the offline interviewer has still to ask about."""
    where = f"{_ELIGIBLE.format(origins=_REAL_OR_GENERATED)} {_NOT_DONE} {_ORDER}"
    mark = _offline_mark(persona_language(context))
    return context.workspace.store.nouns(Passage, where, mark, own=True)


def _offline_mark(lang: str) -> str:
    from generators.offline.templates import load_templates, offline_languages

    version = load_templates(lang).version if lang in offline_languages() else "none"
    return fingerprint("template", version)


def _ask_offline(context: Context) -> str:
    from generators.offline.interviewer import ask_offline

    lang = persona_language(context)
    mark, due = _offline_mark(lang), due_offline(context)
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


def eligible(context: Context) -> list[Passage]:
    """Return the passages that need a generated question, asked or not, in reading order."""
    return context.workspace.store.nouns(
        Passage, f"{_ELIGIBLE.format(origins=_REAL)} {_ORDER}", own=True
    )


def known_model(context: Context) -> str | None:
    """Return the model of the recipe, or the one that was asked last."""
    found = context.recipe.interview.model or context.workspace.store.value(
        "SELECT model FROM requests WHERE purpose = 'interview' ORDER BY created_at DESC LIMIT 1"
    )
    return str(found) if found else None


def due_queries(queries: Sequence[Query], closed: set[str]) -> list[Query]:
    """Return what is still to be asked: one query for each text whose key is not `closed`.

    A failure under other limits than today's, and one that may pass, is due again.
    """
    return list({query.key: query for query in queries if query.key not in closed}.values())


def _ask_llm(context: Context, most: int | None = None) -> str:
    """Ask what is due, at most `most` passages of it, and choose over all that came back."""
    from generators.tasks.cache_key import Queries

    passages, model = eligible(context), known_model(context)
    closed = closed_keys(context, "interview", context.recipe.interview)
    settings = resolved_settings(context)
    if not passages:
        return ""
    queries: list[Query] = []
    if model:
        of = Queries(settings, context.recipe.persona.name, model).of
        queries = [of(passage) for passage in passages]
    writer: ReplyWriter | None = None
    # A finished interview needs no server.
    if not queries or due_queries(queries, closed):
        session = run_to_the_end(open_session(context, settings))
        task = _task(context, session)
        queries = [task.queries.of(passage) for passage in passages]
        due = due_queries(queries, closed)
        chosen_due = due if most is None else _spread(due, most, settings.seed)
        writer = ReplyWriter(context, session, len(chosen_due))
        try:
            run_to_the_end(_ask(writer, task, [query.passage for query in chosen_due]))
        finally:
            chosen = choose_questions(context, queries, settings)
    else:
        chosen = choose_questions(context, queries, settings)
    if chosen is None and (writer is None or not writer.n_due):
        return ""
    context.count("ask", chosen.questions if chosen else 0)
    return _conclude(context, writer, chosen)


def ask_pilot(context: Context, most: int) -> None:
    """Ask about at most `most` passages, drawn by lot; the replies are kept like any other."""
    with context.timed() as seconds:
        told = _ask_llm(context, most)
    context.report.step("pilot", told or "everything is asked already; nothing was sent", seconds())


def _task(context: Context, session: Session) -> QuestionTask:
    from generators.tasks.question import QuestionTask

    persona, model = context.recipe.persona.name, session.endpoint.model
    return QuestionTask(persona, model, session.settings, context.recipe.curate)


async def _ask(writer: ReplyWriter, task: QuestionTask, passages: Sequence[Passage]) -> None:
    from generators.tasks.runner import send_items

    results = send_items(map(task.item, passages), task, writer.session)
    await write_replies(writer, results, "ask", "passages")


def _conclude(context: Context, writer: ReplyWriter | None, chosen: Chosen | None) -> str:
    """Say what is missing and return what came of it; raise KeyboardInterrupt after a Ctrl-C."""
    if chosen and chosen.opener_share > context.recipe.interview.opener_share + 0.005:
        context.report.note(
            f"{chosen.opener_share:.0%} of the questions open with {chosen.opener!r}, and their"
            " passages have no other question; another model or prompt may vary more"
        )
    told = f"{chosen.questions:,} questions" if chosen else "no new question"
    told += f" ({chosen.seconds:,} second ones)" if chosen and chosen.seconds else ""
    told += f", {told_lengths(chosen)}" if chosen and chosen.questions else ""
    if writer is None:
        return f"{told}, chosen anew among what came back; nothing was sent"
    endpoint, budget = writer.session.endpoint, writer.session.budget
    left = writer.n_due - writer.n_done
    if writer.interrupted:
        raise KeyboardInterrupt
    if budget.stopped:
        context.report.warn(
            f"{budget.stopped}; {left:,} passages are still to be asked: raise the limit and run"
            " `memoirist ask` again"
        )
    if writer.n_due_again:
        context.report.warn(
            f"{writer.n_due_again:,} passages got no reply: `memoirist ask` asks them again, and"
            " only them"
        )
    return f"{told}; {writer.summary()} by {endpoint.model} at {endpoint.base_url}"


def _spread(due: Sequence[Query], most: int, seed: int) -> list[Query]:
    """Return `most` of what is due, by lot over all sources."""
    return random.Random(f"pilot {seed}").sample(list(due), min(most, len(due)))

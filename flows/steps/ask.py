"""Ask a question for every passage without one, by an LLM or the offline interviewer.

Replies are committed in small transactions as they arrive, and kept under a key: a killed build
repeats at most the requests in flight, and no answered request is sent again.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from memoirist.data.composition.saved_exchanges import BY_HAND
from memoirist.data.curation.selection import Choice, Chosen, choose
from memoirist.data.schema.errors import EndpointError, RecipeError
from memoirist.data.schema.records import Candidate, Passage, Request, Source, Verdict
from memoirist.flows.runtime.context import Context, persona_language
from memoirist.flows.runtime.llm_runner import (
    ReplyWriter,
    closed_keys,
    delete_endpoint,
    due_items,
    open_session,
    report_causes,
    run_to_the_end,
    write_replies,
)
from memoirist.flows.runtime.report import counted
from memoirist.flows.steps.base import NOT_DROPPED, READING_ORDER, Step, fingerprint
from memoirist.generators.prompts.prompt_templates import LENGTH_SHARES
from memoirist.generators.prompts.source_kinds import KINDS, Kind, guess_kind
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.tasks.candidates import Query, ReplyScorer, rules_version

if TYPE_CHECKING:
    from memoirist.generators.tasks.question import QuestionTask


_MAX_LENGTH_DIFFERENCE = 0.1
_ELIGIBLE = (
    f"{NOT_DROPPED} AND id NOT IN (SELECT passage_id FROM asked_questions WHERE"
    " list_contains(?, origin))"
)
_REAL = ["spoken", "given", "curated", "disclosure"]
_REPLIES_HASH = (
    "SELECT (count(*), bit_xor(md5_number_lower(id || coalesce(judged, ''))))::VARCHAR"
    " FROM requests WHERE purpose = 'interview'"
)
_NOT_DONE = "id NOT IN (SELECT subject_id FROM done WHERE step = 'ask' AND fingerprint = ?)"


def ask_questions(context: Context) -> None:
    """Ask about all passages that are due, by the endpoint if one is set, else offline."""
    from memoirist.generators.client.client import endpoint_configured

    step = Step(context, "ask")
    if endpoint_configured(context.recipe.interview):
        # Only the flow's process writes, and replies are written as they arrive.
        message = step.call("by LLM", lambda: _ask_llm(context))
    else:
        message = _ask_offline(context)
    if message:
        step.report(message)
    _note_source_questions(context)


def _note_source_questions(context: Context) -> None:
    if "split" not in context.changed:
        return
    rows = context.workspace.store.rows(
        "SELECT origin, count(*) AS n FROM questions WHERE origin IN ('spoken', 'given')"
        " GROUP BY origin ORDER BY origin"
    )
    if rows:
        counts = ", ".join(f"{row['n']:,} {row['origin']}" for row in rows)
        context.report.note(f"questions from the sources themselves: {counts}")


def due_offline(context: Context) -> list[Passage]:
    """Return the passages that the offline interviewer has not asked about yet."""
    where = f"{_ELIGIBLE} AND {_NOT_DONE} ORDER BY {READING_ORDER}"
    values = [*_REAL, "generated"], _offline_state(persona_language(context))
    return context.workspace.store.nouns(Passage, where, *values, own=True)


def _offline_state(lang: str) -> str:
    from memoirist.generators.offline.interviewer import load_templates, offline_languages

    version = load_templates(lang).version if lang in offline_languages() else "none"
    return fingerprint("template", version)


def _ask_offline(context: Context) -> str:
    from memoirist.generators.offline.interviewer import ask_offline

    lang, due = persona_language(context), due_offline(context)
    if not due:
        return ""
    source_of = {passage.id: passage.source_id for passage in due}
    step = Step(context, "ask", list(source_of), _offline_state(lang))
    rows = step.call(
        f"{len(due)} passages offline",
        partial(ask_offline, due, lang, context.now, context.recipe.persona.name),
    )
    with step.writing() as tx:
        tx.execute(
            "DELETE FROM verdicts WHERE step = 'ask' AND list_contains(?, subject_id)",
            [step.subjects],
        )
        tx.upsert(rows.questions)
        tx.upsert(
            [replace(v, step="ask", source_id=source_of.get(v.subject_id)) for v in rows.verdicts]
        )
        tx.upsert(rows.requests)
    context.count("ask", len(rows.questions))
    return (
        f"{counted(len(rows.questions), 'question')} by the offline interviewer, because no LLM"
        " endpoint is set (--base-url, OPENAI_BASE_URL or OPENAI_API_KEY)"
    )


def eligible(context: Context) -> list[Passage]:
    """Return the passages without a real question in reading order, asked about or not."""
    where = f"{_ELIGIBLE} ORDER BY {READING_ORDER}"
    return context.workspace.store.nouns(Passage, where, _REAL, own=True)


def known_model(context: Context) -> str | None:
    """Return the model of the recipe, or the model of the last request."""
    model = context.recipe.interview.model or context.workspace.store.value(
        "SELECT model FROM requests WHERE purpose = 'interview' ORDER BY created_at DESC LIMIT 1"
    )
    return str(model) if model else None


def greedy_settings(context: Context, **changes: object) -> InterviewSettings:
    """Return the interview's settings with `changes`, and temperature 0 unless none is sent."""
    settings = context.recipe.interview
    temperature = None if settings.temperature is None else 0.0
    return settings.model_copy(update={"temperature": temperature, **changes})


def _ask_llm(context: Context, most: int | None = None) -> str:
    """Ask about the due passages, at most `most` of them, and select among all replies."""
    from memoirist.generators.tasks.question import QuestionTask

    passages, model = eligible(context), known_model(context)
    closed = closed_keys(context, "interview", context.recipe.interview)
    settings = resolved_settings(context)
    if not passages:
        return ""
    queries: list[Query] = []
    if model:
        query_of = QuestionTask(context.recipe.persona.name, model, settings).query
        queries = [query_of(passage) for passage in passages]
    writer: ReplyWriter | None = None
    # A finished interview needs no server.
    if not queries or due_items(queries, closed):
        session = run_to_the_end(open_session(context, settings))
        persona, model = context.recipe.persona.name, session.endpoint.model
        task = QuestionTask(persona, model, session.settings, context.recipe.curate)
        queries = [task.query(passage) for passage in passages]
        due = due_items(queries, closed)
        if most is not None:
            due = random.Random(f"pilot {settings.seed}").sample(due, min(most, len(due)))
        writer = ReplyWriter(context, session, len(due), task)
        try:
            run_to_the_end(_ask(writer, task, [query.passage for query in due]))
        finally:
            chosen = choose_questions(context, queries, settings)
    else:
        chosen = choose_questions(context, queries, settings)
    message = ""
    if chosen is not None or (writer is not None and writer.n_due):
        context.count("ask", chosen.questions if chosen else 0)
        message = _conclude(context, writer, chosen)
    keys = [query.key for query in queries]
    error = report_causes(context, "interview", keys, quiet=not message)
    if error is not None:
        if writer is not None:
            delete_endpoint(context, writer.session.endpoint)
        _raise_without_question(context, error, asked=writer is not None)
    return message


def _raise_without_question(context: Context, error: EndpointError, *, asked: bool) -> None:
    """Raise the error that no passage got a question, if that lies with the endpoint.

    Where all replies are usable, a build goes on with the questions that the sources hold, and
    rules may refuse what was asked before.
    """
    # Replies to an earlier prompt give questions too.
    (found,) = context.workspace.store.rows(
        "SELECT count(*) AS n, count(*) FILTER (origin = 'generated') AS n_generated,"
        " (SELECT count(*) FROM verdicts WHERE subject = 'passages'"
        " AND rule IN ('unusable_reply', 'request_failed')) AS n_failed FROM questions"
    )
    if not found["n_generated"] and (found["n_failed"] or (asked and not found["n"])):
        raise error


def ask_pilot(context: Context, most: int) -> None:
    """Ask about at most `most` random passages; the replies are kept like all others."""
    step = Step(context, "pilot")
    message = _ask_llm(context, most)
    step.report(message or "all passages have been asked about; nothing was sent")


async def _ask(writer: ReplyWriter, task: QuestionTask, passages: Sequence[Passage]) -> None:
    from memoirist.generators.tasks.executor import send_items

    results = send_items(map(task.item, passages), task, writer.session)
    await write_replies(writer, results, "ask", "passages")


def _conclude(context: Context, writer: ReplyWriter | None, chosen: Chosen | None) -> str:
    """Warn of missing replies and return the summary; raise KeyboardInterrupt after a Ctrl-C."""
    if chosen and chosen.opener_share > context.recipe.interview.opener_share + 0.005:
        context.report.note(
            f"{chosen.opener_share:.0%} of the questions begin with {chosen.opener!r}, and their"
            " passages have no other question; another model or prompt may give more variety"
        )
    message = counted(chosen.questions, "question") if chosen else "no new question"
    if chosen and chosen.seconds:
        seconds = "a second question" if chosen.seconds == 1 else "second questions"
        message += f" ({chosen.seconds:,} of them {seconds})"
    message += f", {_length_shares(chosen)}" if chosen and chosen.questions else ""
    if writer is None:
        return f"{message}, chosen again from stored replies; nothing was sent"
    endpoint, budget = writer.session.endpoint, writer.session.budget
    left = writer.n_due - writer.n_done
    if writer.interrupted:
        raise KeyboardInterrupt
    if budget.stopped:
        context.report.warn(
            f"{budget.stopped}; {counted(left, 'passage')} {'has' if left == 1 else 'have'} no"
            " question yet: raise the limit and run `memoirist ask` again"
        )
    if writer.n_due_again:
        context.report.warn(
            f"{counted(writer.n_due_again, 'passage')} got no reply: `memoirist ask` asks again"
            " about nothing else"
        )
    return f"{message}; {writer.summary()} by {endpoint.model} at {endpoint.base_url}"


def choose_questions(
    context: Context, queries: Sequence[Query], settings: InterviewSettings
) -> Chosen | None:
    """Choose the questions among the replies on all passages; return None if nothing has changed.

    Replies that were filtered by other rules are filtered again first; nothing is sent.
    """
    store = context.workspace.store
    choice = Choice(
        seed=settings.seed,
        second_share=settings.second_share,
        opener_share=settings.opener_share,
        length_shares=LENGTH_SHARES,
    )
    rules = rules_version(context.recipe.curate)
    inputs = [*(f"{query.passage.id} {query.key}" for query in queries), rules, choice]
    state = fingerprint(*inputs, store.value(_REPLIES_HASH))
    step = Step(context, "choose", fingerprint=state, verb="ask")
    if step.is_done:
        return None
    judged = _judge_again(context, queries, rules)
    with step.writing() as tx:
        tx.upsert([request for request, _ in judged])
        tx.upsert([candidate for _, candidates in judged for candidate in candidates])
        chosen = choose(tx, _columns(queries), choice, context.now)
        step.fingerprint = fingerprint(*inputs, tx.fetch(_REPLIES_HASH)[0][0])
    return chosen


def _judge_again(
    context: Context, queries: Sequence[Query], rules: str
) -> list[tuple[Request, Sequence[Candidate]]]:
    """Filter the questions of replies that were filtered by other rules."""
    stale = context.workspace.store.nouns(
        Request, "purpose = 'interview' AND status = 'ok' AND judged IS DISTINCT FROM ?", rules
    )
    query_of = {query.key: query for query in queries} if stale else {}
    scorer = ReplyScorer(context.recipe.persona.name, context.recipe.curate)
    return scorer.score_again(
        [(request, query_of[request.key]) for request in stale if request.key in query_of]
    )


def _columns(queries: Sequence[Query]) -> dict[str, list[object]]:
    return {
        "passage_id": [query.passage.id for query in queries],
        "key": [query.key for query in queries],
        "passage_hash": [query.passage_hash for query in queries],
        "source_id": [query.passage.source_id for query in queries],
    }


def _length_shares(chosen: Chosen) -> str:
    """Return the shares of the questions' lengths, and the target shares if they differ much."""
    shares = [n / max(1, chosen.questions) for n in chosen.lengths]
    actual, target = (
        "/".join(f"{share:.0%}"[:-1] for share in values) for values in (shares, LENGTH_SHARES)
    )
    message = f"lengths: {actual} % short/middle/long"
    if max(abs(a - b) for a, b in zip(shares, LENGTH_SHARES, strict=True)) > _MAX_LENGTH_DIFFERENCE:
        message += f" (wanted {target}, but no better questions came back)"
    return message


_TEXTS = (
    "SELECT text FROM cut_passages WHERE source_id = ? AND source_row IS NULL"
    " ORDER BY document_id, ord LIMIT 3000"
)


def resolved_settings(context: Context, *, keep: bool = True) -> InterviewSettings:
    """Return the interview's settings with the language and the kind of every source by its id.

    `interview.kinds` comes first, then `interview.kind`. A guessed kind is stored as a verdict on
    the source, so that new chapters do not change it. With `keep` False nothing is written. Raise
    RecipeError for a name in `interview.kinds` that matches no source.
    """
    settings, store = context.recipe.interview, context.workspace.store
    sources = store.nouns(Source, "true ORDER BY added_at, id")
    configured = _configured_kinds(settings, sources)
    kinds, new_verdicts = dict(configured), list[Verdict]()
    if settings.kind == "auto":
        stored = {
            row["subject_id"]: row["rule"].removeprefix("asked_as_")
            for row in store.rows("SELECT subject_id, rule FROM verdicts WHERE step = 'kind'")
        }
        for source in sources:
            if source.id in configured or source.kind == "dataset" or source.format in BY_HAND:
                continue  # these have their own questions
            if stored.get(source.id) in KINDS:
                kinds[source.id] = stored[source.id]
            elif texts := [str(row["text"]) for row in store.rows(_TEXTS, [source.id])]:
                verdict, kinds[source.id] = _guess(context, source, texts)
                new_verdicts.append(verdict)
    lang = settings.language or persona_language(context)
    if new_verdicts and keep:
        with store.writing() as tx:
            tx.upsert(new_verdicts)
    return settings.model_copy(update={"kinds": kinds, "language": lang})


def _guess(context: Context, source: Source, texts: list[str]) -> tuple[Verdict, Kind]:
    title = source.title or Path(source.location).stem
    kind, reason = guess_kind(source.kind, title, texts, persona_language(context))
    context.report.note(f"{title} is treated as {kind}: {reason}")
    verdict = Verdict(
        subject_id=source.id,
        subject="sources",
        rule=f"asked_as_{kind}",
        keep=True,
        reason=reason,
        created_at=context.now,
        next_step="set another kind in interview.kinds if this one is wrong",
    )
    return replace(verdict, step="kind", source_id=source.id), kind


def _configured_kinds(settings: InterviewSettings, sources: list[Source]) -> dict[str, Kind]:
    kinds: dict[str, Kind] = {}
    for name, kind in settings.kinds.items():
        source_ids = [source.id for source in sources if _matches(name, source)]
        if not source_ids:
            names = ", ".join(repr(Path(source.location).name) for source in sources[:8])
            raise RecipeError(
                f"interview.kinds names {name!r}, which is not a source", f"choose one of {names}"
            )
        kinds |= dict.fromkeys(source_ids, kind)
    return kinds


def _matches(name: str, source: Source) -> bool:
    file = Path(source.location).name
    exact = name in {source.id, source.location, file, source.title}
    return exact or fnmatch(source.location, name) or fnmatch(file, name)

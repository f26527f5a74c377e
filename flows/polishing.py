"""Polish: have an LLM mend the answers that have a question; each passage is paid for once.

What is mended is read from the kept replies by today's bounds, so that another bound, or verbatim
answers again, asks for nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from data.nouns import Done, Passage, Verdict
from flows.asking import eligible, known_model
from flows.context import Context, fingerprint
from flows.llm.endpoints import find_endpoint
from flows.llm.runner import KeptReply, kept_replies, last_reply, run_items, run_to_the_end

if TYPE_CHECKING:
    from generators.settings import InterviewSettings
    from generators.tasks.rewrite import Outcome, RewriteItem, RewriteTask

# The passages that `curate` pairs: real questions, written ones and templates alike.
_ASKED = (
    "source_row IS NULL AND id NOT IN"
    " (SELECT subject_id FROM verdicts WHERE subject = 'passages' AND NOT keep"
    " AND step IN ('gate', 'dedupe'))"
    " AND source_id IN (SELECT id FROM sources WHERE withdrawn_at IS NULL)"
    # What the user saved in a talk, and what discloses the AI, stays as it is.
    " AND id IN (SELECT passage_id FROM asked_questions WHERE"
    " origin NOT IN ('curated', 'disclosure') AND (origin <> 'generated' OR nth IS NOT NULL))"
    " ORDER BY id"
)
_DONE = (
    "SELECT (SELECT count(*) FROM done WHERE step = 'polish')"
    " + (SELECT count(*) FROM verdicts WHERE step = 'polish')"
)
# A reply holds a whole passage, of up to 500 words.
_LEAST_REPLY_TOKENS = 2048


def polish_answers(context: Context) -> None:
    """Mend the answers where `interview.answers` is polished, and take them back where not."""
    if context.recipe.interview.answers == "verbatim":
        if context.workspace.store.value(_DONE):
            _write(context, [], [], None)
            context.count("polish", 1)
        return
    with context.timed() as seconds:
        told = context.call("polish", "by LLM", lambda: run_to_the_end(_polish(context)))
    if told:
        context.report.step("polish", told, seconds())


def polished_answers(context: Context) -> dict[str, str]:
    """Return the polished answers by passage; none where answers are verbatim."""
    if context.recipe.interview.answers == "verbatim":
        return {}
    rows = context.workspace.store.rows("SELECT passage_id, text FROM polished ORDER BY ALL")
    return {str(row["passage_id"]): str(row["text"]) for row in rows}


def planned_polish(context: Context) -> list[RewriteItem]:
    """Return what polishing asks for: about the passages with a question, and with one to come."""
    from generators.tasks.rewrite import RewriteTask

    task = RewriteTask(polish_settings(context), known_model(context) or "")
    passages = {each.id: each for each in (*_passages(context), *eligible(context))}
    return [task.item(each) for each in passages.values()]


def polish_settings(context: Context) -> InterviewSettings:
    """Return the interview's settings with no chance in the replies, and room for a passage."""
    settings = context.recipe.interview
    room = max(settings.max_reply_tokens, _LEAST_REPLY_TOKENS)
    cold = None if settings.temperature is None else 0.0
    return settings.model_copy(update={"temperature": cold, "max_reply_tokens": room})


def _passages(context: Context) -> list[Passage]:
    return context.workspace.store.nouns(Passage, _ASKED, own=True)


async def _polish(context: Context) -> str:
    from generators.tasks.rewrite import RewriteTask
    from generators.tasks.rewrite_checks import BOUNDS_VERSION

    passages = _passages(context)
    if not passages:
        return ""
    settings, model = polish_settings(context), known_model(context)
    endpoint = None if model else await find_endpoint(context, settings)
    task = RewriteTask(settings, model or (endpoint.model if endpoint else ""))
    items = [task.item(passage) for passage in passages]
    keys = [f"{item.subject_id} {item.key}" for item in items]
    mark = fingerprint(*keys, settings.polish_max_change, BOUNDS_VERSION)
    if context.is_done("*", "polish", mark):
        return ""
    known = kept_replies(context, "polish", settings)
    due = list({item.key: item for item in items if item.key not in known}.values())
    if due:
        await run_items(context, due, task, settings, endpoint)
        known = kept_replies(context, "polish", settings)
    reply_of = last_reply(context, "polish", "curate")
    outcomes = [_outcome(reply_of(item.key), task, item) for item in items]
    rows = [
        [item.subject_id, outcome.text, outcome.change, item.key]
        for item, outcome in zip(items, outcomes, strict=True)
        if outcome.text is not None
    ]
    verdicts = [_verdict(context, p, o) for p, o in zip(passages, outcomes, strict=True)]
    finished = all(item.key in known for item in items)
    _write(context, rows, [v for v in verdicts if v], mark if finished else None)
    context.count("polish", len(rows))
    return _told(outcomes, len(due), task.model)


def _outcome(row: KeptReply, task: RewriteTask, item: RewriteItem) -> Outcome:
    """Hold a kept reply against today's bounds, a refused one too: they may be wider now."""
    from generators.tasks.rewrite import Outcome, read_mended

    mended = read_mended(row["reply"] or "")
    if isinstance(mended, str):
        return Outcome(fault=row["error"] or mended)
    return task.outcome(mended, item)


def _verdict(context: Context, passage: Passage, outcome: Outcome) -> Verdict | None:
    """Return what is told of an answer, None where nothing had to be mended."""
    if outcome.text is None and outcome.fault is None:
        return None
    if outcome.text is not None:
        rule, step = "polished", "nothing: its passage stands in `verbatim`"
        reason = f"{outcome.change:.1%} of the words were mended"
    else:
        rule, step = "not_polished", "nothing, or see interview.polish_max_change"
        reason = f"it stays verbatim: {outcome.fault}"
    return Verdict(
        subject_id=passage.id,
        subject="passages",
        rule=rule,
        keep=True,
        score=outcome.change,
        reason=reason,
        created_at=context.now,
        next_step=step,
        step="polish",
        source_id=passage.source_id,
    )


def _write(
    context: Context,
    rows: Sequence[Sequence[object]],
    verdicts: Sequence[Verdict],
    mark: str | None,
) -> None:
    """Write the polished answers in place of earlier ones; without a mark, it is not finished."""
    with context.workspace.store.writing() as tx:
        tx.execute("DELETE FROM polished")
        tx.execute("DELETE FROM verdicts WHERE step = 'polish'")
        tx.execute("DELETE FROM done WHERE step = 'polish'")
        if rows:
            names = ("passage_id", "text", "change", "request_id")
            tx.temporary("mended", dict(zip(names, zip(*rows, strict=True), strict=True)))
            tx.execute("INSERT INTO polished BY NAME FROM mended")
        tx.upsert(verdicts)
        if mark is not None:
            tx.upsert([Done(subject_id="*", step="polish", fingerprint=mark)])


def _told(outcomes: Sequence[Outcome], n_asked: int, model: str) -> str:
    n = Counter(
        "mended" if each.text is not None else "refused" if each.fault else "sound"
        for each in outcomes
    )
    stays = f", {n['refused']:,} stay verbatim, as verdicts tell why" if n["refused"] else ""
    return (
        f"{n['mended']:,} of {len(outcomes):,} answers mended by {model}, {n['sound']:,} needed"
        f" nothing{stays} ({n_asked:,} asked now)"
    )

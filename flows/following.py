"""Join neighbouring passages of a chapter by a question that leads from one to the next.

What is joined is a draw by seed over the kept pairs; each question is paid for once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from data.follow import FollowUp, neighbours
from data.nouns import Pair, Verdict
from flows.asking import known_model
from flows.context import Context
from flows.llm.endpoints import find_endpoint
from flows.llm.runner import KeptReply, kept_replies, last_reply, run_items, run_to_the_end
from flows.splitting import persona_language

if TYPE_CHECKING:
    from generators.tasks.follow_up import FollowUpTask

# What `compose` leaves out of a dataset is joined all the same: its draw must not depend on that.
KEPT_PAIRS = (
    "origin = 'generated' AND id NOT IN (SELECT subject_id FROM verdicts"
    " WHERE subject = 'pairs' AND NOT keep AND step IN ('curate', 'judge', 'grade'))"
    " AND source_id IN (SELECT id FROM sources WHERE withdrawn_at IS NULL) ORDER BY id"
)


def follow_pairs(context: Context) -> None:
    """Ask for the follow-ups of `interview.follow_up_share`, and write what `compose` joins."""
    store, settings = context.workspace.store, context.recipe.interview
    if not settings.follow_up_share:
        if store.value("SELECT count(*) FROM follow_ups"):
            _rewrite(context, [], [])
            context.count("follow", 1)
        return
    with context.timed() as seconds:
        told = context.call("follow", "by LLM", lambda: run_to_the_end(_follow(context)))
    if told:
        context.report.step("follow", told, seconds())


async def _follow(context: Context) -> str:
    from generators.tasks.follow_up import FollowUpTask

    settings = context.recipe.interview
    pairs = context.workspace.store.nouns(Pair, KEPT_PAIRS, own=True)
    found = follow_neighbours(context, pairs)
    if not found:
        _rewrite(context, [], [])
        return ""
    model = known_model(context)
    endpoint = None if model else await find_endpoint(context, settings)
    named = model or (endpoint.model if endpoint else "")
    lang = settings.language or persona_language(context)
    task = FollowUpTask.load(lang, context.recipe.persona.name, named, settings)
    known = kept_replies(context, "follow_up", context.recipe.interview)
    items = [task.item(before, later) for before, later in found]
    due = [item for item in items if item.key not in known]
    if due:
        await run_items(context, due, task, settings, endpoint)
    return _write(context, found, task, len(due))


def follow_neighbours(context: Context, pairs: list[Pair]) -> list[tuple[Pair, Pair]]:
    """Return those among the pairs that may be joined, as far as `compose` lets them."""
    rows = context.workspace.store.rows("SELECT id, ord FROM cut_passages WHERE source_row IS NULL")
    places = {str(row["id"]): int(row["ord"]) for row in rows}
    settings = context.recipe.interview
    reach = context.recipe.compose.reach(settings.follow_up_turns)
    return neighbours(pairs, places, settings.follow_up_share, settings.seed, reach)


def _write(
    context: Context, found: list[tuple[Pair, Pair]], task: FollowUpTask, n_asked: int
) -> str:
    """Write the follow-ups in place of earlier ones, and a verdict where there is none."""
    came = last_reply(context, "follow_up", "curate")
    rows: list[tuple[str, str, str, str, str, int]] = []
    threads: dict[str, tuple[str, int]] = {}
    verdicts: list[Verdict] = []
    for before, later in found:
        key = task.item(before, later).key
        question, reason = _question(context, came(key), task, (before, later))
        if question:
            thread, place = threads.get(before.id, (before.thread_id, before.ord))
            threads[later.id] = thread, place + 1
            rows.append((later.id, before.id, question, key, thread, place + 1))
        else:
            verdicts.append(_alone(context, later, reason))
    earlier = context.workspace.store.rows("SELECT * FROM follow_ups ORDER BY pair_id")
    if [tuple(row.values()) for row in earlier] == sorted(rows) and not n_asked:
        return ""
    _rewrite(context, rows, verdicts)
    context.count("follow", len(rows))
    n = len({thread for thread, _ in threads.values()})
    return (
        f"{len(rows):,} of {len(found):,} neighbours joined into {n:,} conversations"
        f" ({n_asked:,} asked now)"
    )


def _rewrite(
    context: Context, rows: Sequence[Sequence[object]], verdicts: Sequence[Verdict]
) -> None:
    """Write the follow-ups and their verdicts in place of earlier ones."""
    with context.workspace.store.writing() as tx:
        tx.execute("DELETE FROM follow_ups")
        for row in rows:
            tx.execute("INSERT INTO follow_ups VALUES (?, ?, ?, ?, ?, ?)", list(row))
        tx.execute("DELETE FROM verdicts WHERE step = 'follow'")
        tx.upsert(verdicts)


def _question(
    context: Context,
    row: KeptReply,
    task: FollowUpTask,
    two: tuple[Pair, Pair],
) -> tuple[str | None, str]:
    """Return the follow-up of a kept reply, or None and why there is none."""
    from generators.tasks.reply_parser import parse_reply

    reply = parse_reply(row["reply"] or "") if row["status"] == "ok" else str(row["error"])
    if isinstance(reply, str):
        return None, f"there is no reply to use: {reply}"
    if not reply.is_answer:
        return None, "the model says that it does not go on from the passage before"
    question = task.best(reply, two[1], task.item(*two), context.recipe.curate.rejects)
    return question, "the rules refuse every question"


def _alone(context: Context, pair: Pair, reason: str) -> Verdict:
    return Verdict(
        subject_id=pair.id,
        subject="pairs",
        rule="stands_alone",
        keep=True,
        reason=f"{reason}; it keeps its own question",
        created_at=context.now,
        next_step="nothing",
        step="follow",
        source_id=pair.source_id,
    )


def follow_ups(context: Context) -> dict[str, FollowUp]:
    """Return the follow-ups by the pair that they ask for."""
    rows = context.workspace.store.rows("SELECT pair_id, before_id, question FROM follow_ups")
    return {str(row["pair_id"]): FollowUp(**row) for row in rows}

"""Join neighbouring passages of a chapter by a question that leads from one to the next.

What is joined is a draw by seed over the kept pairs; each question is paid for once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memoirist.data.composition import conversations
from memoirist.data.composition.conversations import FollowUp
from memoirist.data.schema.records import Pair, Verdict
from memoirist.flows.desk import to_the_end
from memoirist.flows.endpoints import remembered
from memoirist.flows.rounds import Kept, kept_replies, send, what_came
from memoirist.flows.runtime.context import Context, persona_language
from memoirist.flows.steps.ask import known_model
from memoirist.flows.steps.base import Step, fingerprint, remove_rows

if TYPE_CHECKING:
    from memoirist.generators.follow import FollowPrompt


# What `compose` leaves out of a dataset is joined all the same: its draw must not depend on that.
KEPT_PAIRS = (
    "origin = 'generated' AND id NOT IN (SELECT subject_id FROM verdicts"
    " WHERE subject = 'pairs' AND NOT keep AND step IN ('curate', 'judge', 'grade'))"
    " AND source_id IN (SELECT id FROM sources WHERE withdrawn_at IS NULL) ORDER BY id"
)


def follow_pairs(context: Context) -> None:
    """Ask for the follow-ups of `interview.follow_up_share`, and write what `compose` joins."""
    if not context.recipe.interview.follow_up_share:
        remove_rows(context, "follow", "follow", "follow_ups")
        return
    context.call("follow", "by LLM", lambda: to_the_end(_follow(context)))


async def _follow(context: Context) -> None:
    from memoirist.generators.follow import open_follow_prompt
    from memoirist.generators.keys import limits_of
    from memoirist.generators.probe import probe

    settings = context.recipe.interview
    pairs = context.workspace.store.nouns(Pair, KEPT_PAIRS, own=True)
    neighbours = follow_neighbours(context, pairs)
    if not neighbours:
        remove_rows(context, "follow", "follow", "follow_ups")
        return
    model = known_model(context)
    endpoint = None if model else await probe(settings, remembered(context, settings))
    named = model or (endpoint.model if endpoint else "")
    lang = settings.language or persona_language(context)
    prompt = open_follow_prompt(lang, context.recipe.persona.name, named, settings)
    tasks = [prompt.task(before, later) for before, later in neighbours]
    inputs = [
        (before.id, before.thread_id, before.ord, later.id, task.key)
        for (before, later), task in zip(neighbours, tasks, strict=True)
    ]
    state = fingerprint(*inputs, context.recipe.curate.rejects, limits_of(settings))
    step = Step(context, "follow", fingerprint=state)
    if step.is_done:
        return
    known = kept_replies(context, "follow_up", context.recipe.interview)
    due = [task for task in tasks if task.key not in known]
    if due:
        await send(context, due, prompt.round(), (settings, endpoint))
        known = kept_replies(context, "follow_up", context.recipe.interview)
    _write(step, neighbours, prompt, len(due), finished=all(task.key in known for task in tasks))


def follow_neighbours(context: Context, pairs: list[Pair]) -> list[tuple[Pair, Pair]]:
    """Return those among the pairs that may be joined, as far as `compose` lets them."""
    rows = context.workspace.store.rows("SELECT id, ord FROM cut_passages WHERE source_row IS NULL")
    places = {str(row["id"]): int(row["ord"]) for row in rows}
    settings = context.recipe.interview
    reach = context.recipe.compose.reach(settings.follow_up_turns)
    return conversations.neighbours(pairs, places, settings.follow_up_share, settings.seed, reach)


def _write(
    step: Step,
    neighbours: list[tuple[Pair, Pair]],
    prompt: FollowPrompt,
    n_sent: int,
    *,
    finished: bool,
) -> None:
    """Write the follow-ups in place of earlier ones, and a verdict where there is none."""
    came = what_came(step.context, "follow_up", "curate")
    rows: list[tuple[str, str, str, str, str, int]] = []
    threads: dict[str, tuple[str, int]] = {}
    verdicts: list[Verdict] = []
    for before, later in neighbours:
        task = prompt.task(before, later)
        question, reason = _question(step.context, came(task.key), prompt, (before, later))
        if question:
            thread, place = threads.get(before.id, (before.thread_id, before.ord))
            threads[later.id] = thread, place + 1
            rows.append((later.id, before.id, question, task.key, thread, place + 1))
        else:
            verdicts.append(_not_joined(step.context, later, reason))
    with step.writing(finished=finished) as tx:
        tx.execute("DELETE FROM follow_ups")
        for row in rows:
            tx.execute("INSERT INTO follow_ups VALUES (?, ?, ?, ?, ?, ?)", row)
        step.replace_verdicts(tx, verdicts, {later.id: later.source_id for _, later in neighbours})
    n_threads = len({thread for thread, _ in threads.values()})
    step.finish(
        len(rows),
        f"{len(rows):,} of {len(neighbours):,} neighbours joined into {n_threads:,} conversations"
        f" ({n_sent:,} asked now)",
    )


def _question(
    context: Context,
    row: Kept,
    prompt: FollowPrompt,
    pairs: tuple[Pair, Pair],
) -> tuple[str | None, str]:
    """Return the follow-up of a kept reply, or None and why there is none."""
    from memoirist.generators.replies import parse_reply

    reply = parse_reply(row["reply"] or "") if row["status"] == "ok" else str(row["error"])
    if isinstance(reply, str):
        return None, f"there is no reply to use: {reply}"
    if not reply.is_answer:
        return None, "the model says that it does not go on from the passage before"
    question = prompt.best(reply, pairs[1], prompt.task(*pairs), context.recipe.curate.rejects)
    return question, "the rules refuse every question"


def _not_joined(context: Context, pair: Pair, reason: str) -> Verdict:
    return Verdict(
        subject_id=pair.id,
        subject="pairs",
        rule="stands_alone",
        keep=True,
        reason=f"{reason}; it keeps its own question",
        created_at=context.now,
        next_step="nothing",
    )


def follow_ups(context: Context) -> dict[str, FollowUp]:
    """Return the follow-ups by the pair that they ask for."""
    rows = context.workspace.store.rows("SELECT pair_id, before_id, question FROM follow_ups")
    return {str(row["pair_id"]): FollowUp(**row) for row in rows}

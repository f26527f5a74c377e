"""Join neighbouring passages of a chapter by a question that leads from one to the next.

A seed draws the neighbours among the kept pairs; each question is paid for once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memoirist.data.composition import conversations
from memoirist.data.composition.conversations import FollowUp
from memoirist.data.schema.records import Fault, Pair, Verdict
from memoirist.flows.runtime.context import Context, persona_language
from memoirist.flows.runtime.llm_runner import (
    Sent,
    find_model,
    last_reply,
    run_missing,
    run_to_the_end,
)
from memoirist.flows.steps.ask import known_model
from memoirist.flows.steps.base import NOT_REJECTED, NOT_WITHDRAWN, Step, fingerprint, remove_rows

if TYPE_CHECKING:
    from memoirist.generators.tasks.base import TaskItem
    from memoirist.generators.tasks.question import FollowUpTask
    from memoirist.generators.tasks.reply_parser import Reply


# Includes the pairs that `compose` leaves out of a dataset: the draw must not depend on them.
KEPT_PAIRS = f"origin = 'generated' AND {NOT_REJECTED} AND {NOT_WITHDRAWN} ORDER BY id"


def follow_pairs(context: Context) -> None:
    """Ask for the follow-ups of `interview.follow_up_share`, and write them for `compose`."""
    if not context.recipe.interview.follow_up_share:
        remove_rows(context, "follow", "follow", "follow_ups")
        return
    context.call("follow", "by LLM", lambda: run_to_the_end(_follow(context)))


async def _follow(context: Context) -> None:
    from memoirist.generators.tasks.base import limits_of
    from memoirist.generators.tasks.question import FollowUpTask

    settings = context.recipe.interview
    pairs = context.workspace.store.nouns(Pair, KEPT_PAIRS, own=True)
    neighbours = follow_neighbours(context, pairs)
    if not neighbours:
        remove_rows(context, "follow", "follow", "follow_ups")
        return
    model, endpoint = await find_model(context, settings, known_model(context))
    lang = settings.language or persona_language(context)
    task = FollowUpTask.load(lang, context.recipe.persona.name, model, settings)
    items = [task.item(before, later) for before, later in neighbours]
    inputs = [
        (before.id, before.thread_id, before.ord, later.id, item.key)
        for (before, later), item in zip(neighbours, items, strict=True)
    ]
    state = fingerprint(*inputs, context.recipe.curate.rejects, limits_of(settings))
    step = Step(context, "follow", fingerprint=state)
    if step.is_done:
        return
    sent = await run_missing(context, items, task, settings, endpoint)
    _write(step, neighbours, task, sent)
    sent.raise_error()


def follow_neighbours(context: Context, pairs: list[Pair]) -> list[tuple[Pair, Pair]]:
    """Return the neighbours to join, within the limits of `compose`."""
    rows = context.workspace.store.rows("SELECT id, ord FROM cut_passages WHERE source_row IS NULL")
    positions = {str(row["id"]): int(row["ord"]) for row in rows}
    settings = context.recipe.interview
    limits = context.recipe.compose
    turns = min(settings.follow_up_turns, limits.max_exchanges)
    limits = limits.model_copy(update={"max_exchanges": turns})
    return conversations.neighbours(
        pairs, positions, settings.follow_up_share, settings.seed, limits
    )


def _write(step: Step, neighbours: list[tuple[Pair, Pair]], task: FollowUpTask, sent: Sent) -> None:
    """Replace the follow-ups, and write a verdict for each neighbour without one."""
    rows: list[tuple[str, str, str, str, str, int]] = []
    threads: dict[str, tuple[str, int]] = {}
    verdicts: list[Verdict] = []
    questions = _questions(step.context, neighbours, task)
    for (before, later), (question, reason) in zip(neighbours, questions, strict=True):
        if question:
            key = task.item(before, later).key
            thread, position = threads.get(before.id, (before.thread_id, before.ord))
            threads[later.id] = thread, position + 1
            rows.append((later.id, before.id, question, key, thread, position + 1))
        else:
            fault = Fault("stands_alone", f"{reason}; it keeps its own question", "nothing")
            verdicts.append(fault.verdict("pairs", later.id, step.context.now, keep=True))
    with step.writing(finished=sent.finished) as tx:
        tx.execute("DELETE FROM follow_ups")
        for row in rows:
            tx.execute("INSERT INTO follow_ups VALUES (?, ?, ?, ?, ?, ?)", row)
        step.replace_verdicts(tx, verdicts, {later.id: later.source_id for _, later in neighbours})
    n_threads = len({thread for thread, _ in threads.values()})
    step.finish(
        len(rows),
        f"{len(rows):,} of {len(neighbours):,} neighbours joined into {n_threads:,} conversations"
        f" ({sent.n_due:,} asked now)",
    )


def _questions(
    context: Context, neighbours: list[tuple[Pair, Pair]], task: FollowUpTask
) -> list[tuple[str | None, str]]:
    """Return the follow-up of each kept reply, or None and the reason."""
    from memoirist.generators.tasks.reply_parser import parse_reply

    reply_of = last_reply(context, "follow_up", "curate")
    results: list[tuple[str | None, str]] = []
    usable: list[tuple[int, tuple[Reply, Pair, TaskItem]]] = []
    for place, (before, later) in enumerate(neighbours):
        item = task.item(before, later)
        row = reply_of(item.key)
        reply = parse_reply(row["reply"] or "") if row["status"] == "ok" else str(row["error"])
        if isinstance(reply, str):
            results.append((None, f"there is no usable reply: {reply}"))
        elif not reply.is_answer:
            results.append((None, "the model says that it does not continue the passage before"))
        else:
            results.append((None, "the rules reject every question"))
            usable.append((place, (reply, later, item)))
    best = task.best([reply for _, reply in usable], context.recipe.curate)
    for (place, _), question in zip(usable, best, strict=True):
        if question is not None:
            results[place] = question, ""
    return results


def follow_ups(context: Context) -> dict[str, FollowUp]:
    """Return the follow-ups by the id of the second pair."""
    rows = context.workspace.store.rows("SELECT pair_id, before_id, question FROM follow_ups")
    return {str(row["pair_id"]): FollowUp(**row) for row in rows}

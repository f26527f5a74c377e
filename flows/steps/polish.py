"""Polish the answers that have a question by an LLM; each passage is paid for once.

The step reads the kept replies under the current bounds: other bounds, or a return to verbatim
answers, send no request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from memoirist.data.schema.records import Fault, Passage, Verdict
from memoirist.flows.runtime.context import Context
from memoirist.flows.runtime.llm_runner import (
    KeptReply,
    find_model,
    last_reply,
    run_missing,
    run_to_the_end,
)
from memoirist.flows.steps.ask import eligible, greedy_settings, known_model
from memoirist.flows.steps.base import NOT_DROPPED, NOT_WITHDRAWN, Step, fingerprint, remove_rows

if TYPE_CHECKING:
    from memoirist.generators.settings import InterviewSettings
    from memoirist.generators.tasks.rewrite import Outcome, RewriteItem, RewriteTask


# The passages that `curate` pairs with a real, generated or template question. Exchanges saved in
# chat and the disclosure of the AI are not polished.
_ASKED = (
    f"{NOT_DROPPED} AND {NOT_WITHDRAWN} AND id IN (SELECT passage_id FROM asked_questions WHERE"
    " origin NOT IN ('curated', 'disclosure') AND (origin <> 'generated' OR nth IS NOT NULL))"
    " ORDER BY id"
)
# A reply holds a whole passage of up to 500 words.
_MIN_REPLY_TOKENS = 2048


def polish_answers(context: Context) -> None:
    """Polish the answers if `interview.answers` asks for it, else remove polished answers."""
    if context.recipe.interview.answers == "verbatim":
        remove_rows(context, "polish", "polish", "polished")
        return
    context.call("polish", "by LLM", lambda: run_to_the_end(_polish(context)))


def polished_answers(context: Context) -> dict[str, str]:
    """Return the polished answers by passage; none if answers are verbatim."""
    if context.recipe.interview.answers == "verbatim":
        return {}
    rows = context.workspace.store.rows("SELECT passage_id, text FROM polished ORDER BY ALL")
    return {str(row["passage_id"]): str(row["text"]) for row in rows}


def planned_polish(context: Context) -> list[RewriteItem]:
    """Return the items to polish: passages with a question, and passages that will get one."""
    from memoirist.generators.tasks.rewrite import RewriteTask

    task = RewriteTask(polish_settings(context), known_model(context) or "")
    passages = {row.id: row for row in (*_passages(context), *eligible(context))}
    return [task.item(passage) for passage in passages.values()]


def polish_settings(context: Context) -> InterviewSettings:
    """Return the settings of greedy replies that have room for a passage."""
    room = max(context.recipe.interview.max_reply_tokens, _MIN_REPLY_TOKENS)
    return greedy_settings(context, max_reply_tokens=room)


def _passages(context: Context) -> list[Passage]:
    return context.workspace.store.nouns(Passage, _ASKED, own=True)


async def _polish(context: Context) -> None:
    from memoirist.generators.tasks.rewrite import BOUNDS_VERSION, RewriteTask

    passages = _passages(context)
    if not passages:
        return
    settings = polish_settings(context)
    model, endpoint = await find_model(context, settings, known_model(context))
    task = RewriteTask(settings, model)
    items = [task.item(passage) for passage in passages]
    inputs = [f"{item.subject_id} {item.key}" for item in items]
    state = fingerprint(*inputs, settings.polish_max_change, BOUNDS_VERSION)
    step = Step(context, "polish", fingerprint=state)
    if step.is_done:
        return
    sent = await run_missing(context, items, task, settings, endpoint)
    reply_of = last_reply(context, "polish", "curate")
    outcomes = [_outcome(reply_of(item.key), task, item) for item in items]
    rows = [
        (item.subject_id, outcome.text, outcome.change, item.key)
        for item, outcome in zip(items, outcomes, strict=True)
        if outcome.text is not None
    ]
    verdicts = map(partial(_verdict, context.now), passages, outcomes)
    with step.writing(finished=sent.finished) as tx:
        tx.execute("DELETE FROM polished")
        if rows:
            names = ("passage_id", "text", "change", "request_id")
            tx.temporary("mended", dict(zip(names, zip(*rows, strict=True), strict=True)))
            tx.execute("INSERT INTO polished BY NAME FROM mended")
        step.replace_verdicts(
            tx, [v for v in verdicts if v], {passage.id: passage.source_id for passage in passages}
        )
    step.finish(len(rows), _summary(outcomes, sent.n_due, task.model))
    sent.raise_error()


def _outcome(row: KeptReply, task: RewriteTask, item: RewriteItem) -> Outcome:
    """Check a kept reply, even a refused one, against the current bounds: they may be wider."""
    from memoirist.generators.tasks.rewrite import Outcome, read_mended

    mended = read_mended(row["reply"] or "")
    if isinstance(mended, str):
        return Outcome(fault=row["error"] or mended)
    return task.outcome(mended, item)


def _verdict(now: datetime, passage: Passage, outcome: Outcome) -> Verdict | None:
    """Return the verdict on an answer; None if nothing was to polish."""
    if outcome.text is not None:
        rule, next_step = "polished", "nothing: the original is in the column `verbatim`"
        reason = f"{outcome.change:.1%} of the words were mended"
    elif outcome.fault is not None:
        rule, next_step = "not_polished", "nothing; the limit is interview.polish_max_change"
        reason = f"it stays verbatim: {outcome.fault}"
    else:
        return None
    fault = Fault(rule, reason, next_step, outcome.change)
    return fault.verdict("passages", passage.id, now, keep=True)


def _summary(outcomes: Sequence[Outcome], n_sent: int, model: str) -> str:
    counts = Counter(
        "mended" if outcome.text is not None else "refused" if outcome.fault else "sound"
        for outcome in outcomes
    )
    refused = counts["refused"]
    stays = f", {refused:,} stay verbatim (their verdicts give the reasons)" if refused else ""
    return (
        f"{counts['mended']:,} of {len(outcomes):,} answers mended by {model},"
        f" {counts['sound']:,} needed nothing{stays} ({n_sent:,} asked now)"
    )

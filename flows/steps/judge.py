"""Judge the pairs that curation kept by an LLM's grades; each pair is paid for once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from memoirist.data.curation import duplicates
from memoirist.data.schema.records import Fault, Pair, Verdict
from memoirist.flows.runtime.context import Context, persona_language
from memoirist.flows.runtime.llm_runner import (
    find_model,
    last_reply,
    run_missing,
    run_to_the_end,
)
from memoirist.flows.steps.ask import greedy_settings
from memoirist.flows.steps.base import NOT_WITHDRAWN, Step, fingerprint

if TYPE_CHECKING:
    from memoirist.generators.settings import InterviewSettings
    from memoirist.generators.tasks.judgement import Grades, GradeTask


# Pairs with a real question need no judge: people really said them.
JUDGED_PAIRS = (
    "origin IN ('generated', 'template') AND id NOT IN (SELECT subject_id FROM verdicts"
    " WHERE subject = 'pairs' AND NOT keep AND step IN ('curate', 'dedupe'))"
    f" AND {NOT_WITHDRAWN} ORDER BY id"
)


def judge_pairs(context: Context) -> None:
    """Grade every kept pair with a generated or template question, if `curate.judge` asks for it.

    A pair with too low grades gets verdicts that drop it. The next best of its near duplicates
    comes back and is judged as well.
    """
    if context.recipe.curate.judge:
        context.call("judge", "by LLM", lambda: run_to_the_end(_judge(context)))


async def _judge(context: Context) -> None:
    from memoirist.generators.tasks.base import limits_of
    from memoirist.generators.tasks.judgement import GradeTask

    store, curate = context.workspace.store, context.recipe.curate
    settings = judge_settings(context)
    lang = persona_language(context)
    model = settings.model or store.value(
        "SELECT model FROM requests WHERE purpose = 'judge' ORDER BY rowid DESC LIMIT 1"
    )
    model, endpoint = await find_model(context, settings, model)
    task = GradeTask.load(lang, model, settings)
    rules = (task.prompt.version, task.model, curate.model_dump_json(), limits_of(settings))
    n_sent, sent = 0, None
    verdicts: list[Verdict] = []
    frame = Step(context, "grade", verb="judge")
    while (sent is None or sent.finished) and (pairs := store.nouns(Pair, JUDGED_PAIRS, own=True)):
        state = fingerprint(*(pair.id for pair in pairs), *rules)
        step = Step(context, "grade", fingerprint=state, verb="judge")
        if step.is_done:
            break
        items = [task.item(pair) for pair in pairs]
        sent = await run_missing(context, items, task, settings, endpoint)
        n_sent += sent.n_due
        verdicts = _verdicts(context, pairs, task)
        with step.writing(finished=sent.finished) as tx:
            step.replace_verdicts(tx, verdicts, {pair.id: pair.source_id for pair in pairs})
            duplicates.drop_pairs(tx, curate.duplicates, context.now)
    if verdicts:
        n_judged = sum(verdict.rule == "judge" for verdict in verdicts)
        frame.finish(n_judged, _summary(verdicts, n_judged, n_sent, task.model))
    if sent is not None:
        sent.raise_error()


def judge_settings(context: Context) -> InterviewSettings:
    """Return the settings of greedy replies by the judge's model."""
    model = context.recipe.curate.judge_model or context.recipe.interview.model
    return greedy_settings(context, model=model)


def _verdicts(context: Context, pairs: Sequence[Pair], task: GradeTask) -> list[Verdict]:
    """Return five verdicts for each judged pair: the overall one, and one for each grade."""
    from memoirist.generators.tasks.judgement import read_grades

    reply_of = last_reply(context, "judge", "curate")
    verdicts: list[Verdict] = []
    for pair in pairs:
        row = reply_of(task.item(pair).key)
        grades = read_grades(row["reply"] or "") if row["status"] == "ok" else str(row["error"])
        if isinstance(grades, str):
            fault = Fault("not_judged", grades, "nothing")
            verdict = fault.verdict("pairs", pair.id, context.now, keep=True)
            verdicts.append(replace(verdict, next_step=row["next_step"]))
        else:
            verdicts += _graded(context, pair, grades)
    return verdicts


def _graded(context: Context, pair: Pair, grades: Grades) -> list[Verdict]:
    from memoirist.generators.tasks.judgement import CRITERIA

    settings, now = context.recipe.curate, context.now
    by_criterion = list(zip(CRITERIA, grades.values, grades.reasons, strict=True))
    listed = ", ".join(f"{name} {value}" for name, value, _ in by_criterion)
    keep = grades.keep(settings.judge_min_grade, settings.judge_min_mean)
    next_step = (
        "nothing"
        if keep
        else "ask again with another model, or lower curate.judge_min_grade or judge_min_mean"
    )
    reason = f"{listed}, mean {grades.mean:.2f}"
    overall = Fault("judge", reason, next_step, round(grades.mean, 2))
    parts = [
        Fault(f"judge_{name}", reason or "no reason given", "nothing", float(value)).verdict(
            "pairs", pair.id, now, keep=value >= settings.judge_min_grade
        )
        for name, value, reason in by_criterion
    ]
    return [overall.verdict("pairs", pair.id, now, keep=keep), *parts]


def _summary(verdicts: Sequence[Verdict], n_judged: int, n_sent: int, model: str) -> str:
    n_kept = sum(verdict.rule == "judge" and verdict.keep for verdict in verdicts)
    n_failed = sum(verdict.rule == "not_judged" for verdict in verdicts)
    failed = f", {n_failed:,} could not be judged and stay" if n_failed else ""
    return f"{n_kept:,} of {n_judged:,} pairs kept by {model} ({n_sent:,} asked now){failed}"

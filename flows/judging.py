"""Judge: have an LLM grade the pairs that curation kept; each pair is paid for once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from data.curate import CurateSettings
from data.nouns import Done, Pair, Verdict
from flows.context import Context, fingerprint
from flows.llm.endpoints import find_endpoint
from flows.llm.runner import kept_replies, last_reply, run_items, run_to_the_end
from flows.splitting import persona_language

if TYPE_CHECKING:
    from generators.client.client import Endpoint
    from generators.settings import InterviewSettings
    from generators.tasks.grade import Grades, GradeTask

# Pairs with a real question need no judge: they are what people said.
JUDGED_PAIRS = (
    "origin IN ('generated', 'template') AND id NOT IN (SELECT subject_id FROM verdicts"
    " WHERE subject = 'pairs' AND NOT keep AND step = 'curate')"
    " AND source_id IN (SELECT id FROM sources WHERE withdrawn_at IS NULL) ORDER BY id"
)


def judge_pairs(context: Context) -> None:
    """Grade every kept pair with a written question, where `curate.judge` asks for it.

    A pair whose grades are too low gets verdicts that drop it. Without the setting, earlier
    grades no longer count; the replies stay, and are not paid for again.
    """
    store = context.workspace.store
    if not context.recipe.curate.judge:
        if store.value("SELECT count(*) FROM verdicts WHERE step = 'grade'"):
            with store.writing() as tx:
                tx.execute("DELETE FROM verdicts WHERE step = 'grade'")
                tx.execute("DELETE FROM done WHERE step = 'grade'")
            context.count("judge", 1)
        return
    with context.timed() as seconds:
        told = context.call("judge", "by LLM", lambda: run_to_the_end(_judge(context)))
    if told:
        context.report.step("judge", told, seconds())


async def _judge(context: Context) -> str:
    from generators.tasks.cache_key import limits_of
    from generators.tasks.grade import GradeTask

    store, curate = context.workspace.store, context.recipe.curate
    settings = judge_settings(context)
    pairs = store.nouns(Pair, JUDGED_PAIRS, own=True)
    lang = persona_language(context)
    model = settings.model or store.value(
        "SELECT model FROM requests WHERE purpose = 'judge' ORDER BY rowid DESC LIMIT 1"
    )
    endpoint = None if model else await find_endpoint(context, settings)
    task = GradeTask.load(lang, model or _named(endpoint), settings)
    rules = curate.model_dump_json()
    mark = fingerprint(
        *(pair.id for pair in pairs), task.prompt.version, task.model, rules, limits_of(settings)
    )
    if not pairs or context.is_done("*", "grade", mark):
        return ""
    known = kept_replies(context, "judge", settings)
    items = [task.item(pair) for pair in pairs]
    due = [item for item in items if item.key not in known]
    if due:
        await run_items(context, due, task, settings, endpoint)
        known = kept_replies(context, "judge", settings)
    verdicts = _verdicts(context, pairs, task)
    finished = all(item.key in known for item in items)
    with store.writing() as tx:
        tx.execute("DELETE FROM verdicts WHERE step = 'grade'")
        tx.upsert(verdicts)
        if finished:
            tx.upsert([Done(subject_id="*", step="grade", fingerprint=mark)])
    return _told(context, verdicts, len(due), task.model)


def judge_settings(context: Context) -> InterviewSettings:
    """Return the interview's settings with the judge's model, and no chance in its grades."""
    settings = context.recipe.interview
    return settings.model_copy(
        update={
            "model": context.recipe.curate.judge_model or settings.model,
            "temperature": None if settings.temperature is None else 0.0,
        }
    )


def _named(endpoint: Endpoint | None) -> str:
    return endpoint.model if endpoint is not None else ""


def _verdicts(context: Context, pairs: Sequence[Pair], task: GradeTask) -> list[Verdict]:
    """Return five verdicts for each judged pair: one for each grade, and one on the whole."""
    from generators.tasks.grade import read_grades

    came = last_reply(context, "judge", "curate")
    found: list[Verdict] = []
    for pair in pairs:
        row = came(task.item(pair).key)
        grades = read_grades(row["reply"] or "") if row["status"] == "ok" else str(row["error"])
        if isinstance(grades, str):
            base = _verdict(context, pair, "not_judged", grades, keep=True)
            found.append(replace(base, next_step=row["next_step"]))
        else:
            found += _graded(context, pair, grades, context.recipe.curate)
    return found


def _graded(
    context: Context, pair: Pair, grades: Grades, settings: CurateSettings
) -> list[Verdict]:
    from generators.tasks.grade import CRITERIA

    told = list(zip(CRITERIA, grades.values, grades.reasons, strict=True))
    whole = ", ".join(f"{name} {value}" for name, value, _ in told)
    keep = grades.keep(settings.judge_min_grade, settings.judge_min_mean)
    whole_verdict = _verdict(context, pair, "judge", f"{whole}, mean {grades.mean:.2f}", keep=keep)
    each = [
        replace(
            _verdict(context, pair, f"judge_{name}", reason or "no reason given", keep=True),
            keep=value >= settings.judge_min_grade,
            score=float(value),
        )
        for name, value, reason in told
    ]
    return [replace(whole_verdict, score=round(grades.mean, 2)), *each]


def _verdict(context: Context, pair: Pair, rule: str, reason: str, *, keep: bool) -> Verdict:
    return Verdict(
        subject_id=pair.id,
        subject="pairs",
        rule=rule,
        keep=keep,
        reason=reason,
        created_at=context.now,
        next_step="nothing" if keep else "ask again with another model, or see curate.judge_min_*",
        step="grade",
        source_id=pair.source_id,
    )


def _told(context: Context, verdicts: Sequence[Verdict], n_asked: int, model: str) -> str:
    judged = [v for v in verdicts if v.rule == "judge"]
    dropped = sum(not v.keep for v in judged)
    context.count("judge", len(judged))
    failed = sum(v.rule == "not_judged" for v in verdicts)
    more = f", {failed:,} could not be judged and stay" if failed else ""
    return (
        f"{len(judged) - dropped:,} of {len(judged):,} pairs kept by {model}"
        f" ({n_asked:,} asked now){more}"
    )

"""Pair questions with passages and judge the pairs: rejects, duplicates and the soft score."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from memoirist.data.composition.saved_exchanges import TRAIN_ONLY
from memoirist.data.curation.pair_score import score
from memoirist.data.curation.question_filters import RejectSettings, reject_question, reject_spoken
from memoirist.data.passages.quality_filters import GateSettings
from memoirist.data.schema.records import Origin, Pair, Passage, Question, Verdict, content_id
from memoirist.data.text.words import normalise

# A real question is better than a generated one, and that is better than a template.
_RANK: dict[Origin, int] = {
    "curated": 0,
    "disclosure": 0,
    "spoken": 1,
    "given": 1,
    "generated": 2,
    "template": 3,
}


class CurateSettings(BaseModel):
    """What may become a pair."""

    model_config = ConfigDict(extra="forbid")

    gates: GateSettings = Field(default_factory=GateSettings, description="Gates of passages.")
    rejects: RejectSettings = Field(
        default_factory=RejectSettings, description="Hard rejects of questions."
    )
    min_score: float = Field(
        0.55, ge=0, le=1, description="A pair with a lower soft score is dropped."
    )
    judge: bool = Field(
        default=False, description="Have an LLM grade every pair with a written question."
    )
    judge_model: str | None = Field(
        None, description="The judge's model at the interview's endpoint; unset: the interviewer."
    )
    judge_min_grade: int = Field(
        3, ge=1, le=5, description="The least of the judge's four grades from 1 to 5."
    )
    judge_min_mean: float = Field(4.0, ge=1, le=5, description="The least mean of the four grades.")


def pair(
    passages: Sequence[Passage],
    questions: Sequence[Question],
    polished: Mapping[str, str] | None = None,
) -> list[Pair]:
    """Return the pairs of each passage that has a question, from the best origin it has.

    `polished` has the answers by passage that take the place of the passages' own texts.

    Passages come in reading order; the order within a thread is theirs. Questions come oldest
    first: of one origin the newest is taken, as it is by the model and prompt chosen last. A
    second question that was chosen makes a pair, and a conversation, of its own.
    """
    texts = polished or {}
    asked: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        asked[question.passage_id].append(question)
    pairs: list[Pair] = []
    for passage in passages:
        mine = asked[passage.id]
        firsts = [question for question in mine if question.nth != 2]
        if not firsts:
            continue
        first = min(reversed(firsts), key=lambda q: _RANK[q.origin])
        text = texts.get(passage.id)
        pairs.append(_pair(passage, first, text))
        if first.origin == "generated":
            pairs += [_pair(passage, each, text) for each in mine if each.nth == 2]
    return pairs


def _pair(passage: Passage, question: Question, polished: str | None) -> Pair:
    second = question.nth == 2
    joined = passage.thread_id is not None and not second
    # With another answer it is another pair: a dataset may hold the one before.
    ids = (passage.id, question.id) if polished is None else (passage.id, question.id, polished)
    return Pair(
        id=content_id(*ids),
        source_id=passage.source_id,
        passage_id=passage.id,
        question_id=question.id,
        group_id=passage.group_id,
        thread_id=question.id if second else passage.thread_id or passage.id,
        ord=passage.ord if joined else 0,
        question=question.text,
        answer=passage.text if polished is None else polished,
        origin=question.origin,
        system=passage.system,
        verbatim=None if polished is None else passage.text,
    )


def judge(
    pairs: Sequence[Pair], lang: str, settings: CurateSettings, now: datetime
) -> tuple[list[Pair], list[Verdict]]:
    """Return the pairs with their scores, and one drop for each pair that a rule refuses."""
    scored: list[Pair] = []
    verdicts: list[Verdict] = []
    winners: dict[tuple[str, str], str] = {}
    for each in pairs:
        value = score(each.question, each.answer, lang, settings.rejects)
        scored.append(replace(each, score=value))
        fault = _reject(each, lang, settings)
        winner = winners.setdefault((normalise(each.question), normalise(each.answer)), each.id)
        if winner != each.id:
            fault = ("duplicate", f"the same question and answer stand in pair {winner}")
        elif fault is None and _is_made(each) and value < settings.min_score:
            fault = ("low_score", f"soft score {value} below {settings.min_score}")
        if fault is not None:
            verdicts.append(_drop(each, fault, value, winner, now))
    return scored, verdicts


def _is_made(each: Pair) -> bool:
    return each.origin in {"generated", "template"}


def _reject(each: Pair, lang: str, settings: CurateSettings) -> tuple[str, str] | None:
    # The user has read every word of what was saved in a talk; every prompt is neutralised anyway.
    if each.origin in TRAIN_ONLY:
        return None
    # A host's or a user's own words are what the model will meet: only safety counts there.
    if not _is_made(each):
        return reject_spoken(each.question)
    return reject_question(each.question, each.answer, lang, settings.rejects)


def _drop(each: Pair, fault: tuple[str, str], value: float, winner: str, now: datetime) -> Verdict:
    rule, reason = fault
    return Verdict(
        subject_id=each.id,
        subject="pairs",
        rule=rule,
        keep=False,
        reason=reason,
        score=value,
        beaten_by=winner if winner != each.id else None,
        created_at=now,
        next_step="nothing" if rule == "duplicate" else "ask again with another model or prompt",
    )

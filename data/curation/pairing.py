"""Pair questions with passages; the settings of the rules that judge the pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from memoirist.data.curation.duplicates import DuplicateSettings
from memoirist.data.passages.quality_filters import GateSettings
from memoirist.data.schema.records import (
    Origin,
    Pair,
    Passage,
    Question,
    content_id,
)

# Real questions come first, then generated ones, then templates.
_RANK: dict[Origin, int] = {
    "curated": 0,
    "disclosure": 0,
    "spoken": 1,
    "given": 1,
    "generated": 2,
    "template": 3,
}


class RejectSettings(BaseModel):
    """The limits of the rules that reject a question."""

    model_config = ConfigDict(extra="forbid")

    min_words: int = Field(3, ge=1, description="Fewest words of a generated question.")
    max_words: int = Field(60, ge=5, description="Most words of a question.")
    max_question_marks: int = Field(3, ge=1, description="Most question marks in one question.")
    max_shared_run: int = Field(5, ge=1, description="Most words in a row shared with the answer.")
    max_leak: float = Field(
        0.15, ge=0, le=1, description="Largest share of the answer's content stems in the question."
    )


class CurateSettings(BaseModel):
    """What may become a pair."""

    model_config = ConfigDict(extra="forbid")

    gates: GateSettings = Field(default_factory=GateSettings, description="Gates for passages.")
    rejects: RejectSettings = Field(
        default_factory=RejectSettings, description="Rules that reject questions."
    )
    duplicates: DuplicateSettings = Field(
        default_factory=lambda: DuplicateSettings.model_validate({}),
        description="Limits for near duplicates.",
    )
    min_score: float = Field(
        0.5,
        ge=0,
        le=1,
        description="A pair with a written question is dropped if its `quality` (table pair_scores)"
        " is lower.",
    )
    semantic: bool = Field(
        default=True,
        description="Use a small local model of English sentences, where one is installed, for the"
        " score and for answers that mean the same.",
    )
    judge: bool = Field(
        default=False, description="Have an LLM grade every pair with a written question."
    )
    judge_model: str | None = Field(
        None, description="The judge's model at the interview's endpoint; unset: interview.model."
    )
    judge_min_grade: int = Field(
        3, ge=1, le=5, description="Least value of each of the judge's four grades, 1 to 5."
    )
    judge_min_mean: float = Field(4.0, ge=1, le=5, description="Least mean of the four grades.")


def pair(
    passages: Sequence[Passage],
    questions: Sequence[Question],
    polished: Mapping[str, str] | None = None,
) -> list[Pair]:
    """Return the pairs of each passage that has a question, by the best origin of its questions.

    `polished` has the answers by passage that replace the passages' own texts.

    Passages come in reading order, which is also the order within a thread. Questions come oldest
    first: of one origin the newest is taken, which the current model and prompt made. A second
    question makes a pair and a conversation of its own.
    """
    by_passage: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        by_passage[question.passage_id].append(question)
    pairs: list[Pair] = []
    for passage in passages:
        firsts = [question for question in by_passage[passage.id] if question.nth != 2]
        if not firsts:
            continue
        first = min(reversed(firsts), key=lambda q: _RANK[q.origin])
        answer = (polished or {}).get(passage.id)
        pairs.append(_pair(passage, first, answer))
        if first.origin == "generated":
            seconds = [question for question in by_passage[passage.id] if question.nth == 2]
            pairs += [_pair(passage, question, answer) for question in seconds]
    return pairs


def _pair(passage: Passage, question: Question, polished: str | None) -> Pair:
    second = question.nth == 2
    joined = passage.thread_id is not None and not second
    # A polished answer gives another id, because a dataset may hold the pair with the old answer.
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

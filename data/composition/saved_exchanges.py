"""Make the rows of exchanges that the user saves in a chat, as they are or edited."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from memoirist.data.schema.records import (
    Document,
    Fault,
    Origin,
    Passage,
    Question,
    Source,
    Verdict,
    content_id,
)
from memoirist.data.text.language_detection import detect_language
from memoirist.data.text.words import count_words

FORMAT = "chat"
# Sources without a file and without filters, because a person has read every word.
BY_HAND = (FORMAT, "disclosure")
# Saved exchanges and disclosures are only trained on, because held-out text must be the person's.
TRAIN_ONLY: tuple[Origin, ...] = ("curated", "disclosure")

# How an answer ended: by the end token, at the limit of tokens or context, by the guard against
# repetition, or by the user.
Ended = Literal["end", "limit", "context", "circles", "stopped"]
_CUT: dict[Ended, str] = {
    "limit": "was cut off at the token limit of {n}",
    "context": "was cut off because the model's context was full",
    "circles": "kept repeating itself and was stopped",
    "stopped": "was stopped",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A question and its answer; `answered_by` is the run of the model.

    `edited` is True where the user changed the answer.
    """

    question: str
    answer: str
    persona: str = ""
    answered_by: str | None = None
    edited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """The rows of one saved exchange."""

    source: Source
    document: Document
    passage: Passage
    question: Question
    verdict: Verdict


def cut(ended: Ended, n_tokens: int) -> str | None:
    """Return why an answer is incomplete, as a verb, or None where it is complete.

    `n_tokens` is the limit of an answer.
    """
    return _CUT[ended].format(n=n_tokens) if ended in _CUT else None


def save(exchange: Exchange, place: int, now: datetime) -> Saved:
    """Return the rows of an exchange; the same words give the same ids.

    `place` is its number among the saved ones. Its question has the origin `curated`.
    """
    source = Source(
        id=content_id(FORMAT),
        kind="text",
        format=FORMAT,
        location=f"memoirist://{FORMAT}",
        sha256=content_id(FORMAT, exchange.persona),
        added_at=now,
        title="saved in chat",
        author=exchange.persona or None,
        rights="own-work",
        rights_basis="saved by the user of this workspace",
    )
    document = Document(
        id=content_id(source.id, "saved"),
        source_id=source.id,
        title="saved in chat",
        lang=detect_language(exchange.answer),
    )
    kind = "chat, edited" if exchange.edited else "chat"
    passage, question = exchange_rows(document, place, exchange, kind, "curated")
    words = " with your own words" if exchange.edited else ""
    fault = Fault(
        "saved_in_chat",
        f"you saved this exchange{words}",
        "nothing: it goes into the next dataset",
    )
    verdict = fault.verdict("passages", passage.id, now, keep=True)
    verdict = replace(verdict, step="save", source_id=source.id)
    return Saved(
        source=source, document=document, passage=passage, question=question, verdict=verdict
    )


def exchange_rows(
    document: Document, place: int, exchange: Exchange, kind: str, origin: Origin
) -> tuple[Passage, Question]:
    """Return the passage and the question of an exchange, the `place`-th of its document."""
    passage = Passage(
        id=content_id(document.id, exchange.question, exchange.answer),
        source_id=document.source_id,
        document_id=document.id,
        ord=place,
        group_id=document.id,
        text=exchange.answer,
        n_words=count_words(exchange.answer),
        speaker=exchange.persona or None,
    )
    question = Question(
        id=content_id(passage.id, exchange.question),
        passage_id=passage.id,
        text=exchange.question,
        type=kind,
        origin=origin,
        model=exchange.answered_by,
    )
    return passage, question


def replaced(passage_id: str, saved: Saved, now: datetime) -> Verdict:
    """Return the verdict on a saved passage that the user replaced."""
    fault = Fault(
        "replaced",
        "you saved better words for the same exchange",
        "nothing: the better words are kept",
        beaten_by=saved.passage.id,
    )
    # A drop of the step `gate` is excluded from pairing and asking.
    verdict = fault.verdict("passages", passage_id, now)
    return replace(verdict, step="gate", source_id=saved.source.id)

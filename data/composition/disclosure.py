"""The persona's prompt, and the exchanges that teach it to say that it is an AI.

A tuned model forgets what its system prompt asks of it, so a small share of what it is trained on
is the disclosure itself. These pairs have the origin `disclosure` and a source of their own; they
are trained on and never held out.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

from memoirist.data.schema.records import (
    Document,
    Pair,
    Passage,
    Question,
    Source,
    Verdict,
    content_id,
)
from memoirist.data.text.words import count_words

FORMAT = "disclosure"
_FOLDER = Path(__file__).parent / "disclosure_texts"
_FALLBACK = "en"


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a persona says of itself in one language; {name} stands for its name.

    `asks` are regular expressions of what it is asked with, `opening` begins the answer then.
    """

    system: str
    fewshot: str
    opening: str
    asks: Sequence[str]
    questions: Sequence[str]
    answers: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """The rows of some disclosing exchanges, as they are stored."""

    source: Source
    document: Document
    passages: Sequence[Passage]
    questions: Sequence[Question]
    pairs: Sequence[Pair]
    verdicts: Sequence[Verdict]


def languages() -> list[str]:
    """Return the languages that a persona can disclose itself in."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


@cache
def words_of(lang: str) -> Words:
    """Return the words in a language, the English ones where it has none."""
    path = _FOLDER / f"{lang}.toml"
    if not path.is_file():
        path = _FOLDER / f"{_FALLBACK}.toml"
    return Words(**tomllib.loads(path.read_text("utf-8")))


def exchanges(name: str, lang: str, wanted: int) -> list[tuple[str, str]]:
    """Return up to `wanted` questions with the answer of an AI persona of `name`.

    Every question comes once before one comes again with another answer; fewer come back where
    the language has no more.
    """
    told = words_of(lang)
    n = len(told.questions)
    found = []
    for place in range(min(wanted, n * len(told.answers))):
        # One answer on in every round: no question meets the same answer twice.
        answer = told.answers[(place + place // n) % len(told.answers)]
        question = told.questions[place % n]
        if (pair := (_filled(question, name), _filled(answer, name))) not in found:
            found.append(pair)
    return found


def disclose(name: str, lang: str, wanted: int, now: datetime) -> Disclosure | None:
    """Return the rows of `wanted` disclosing exchanges, None for none or without a name."""
    if wanted < 1 or not name:
        return None
    source = Source(
        id=content_id(FORMAT),
        kind="text",
        format=FORMAT,
        location=f"memoirist://{FORMAT}",
        sha256=content_id(FORMAT, name, lang),
        added_at=now,
        title="disclosure, comes with Memoirist",
        rights="licence:Apache-2.0",
        rights_basis="written for Memoirist",
        living=False,
    )
    document = Document(
        id=content_id(source.id, lang), source_id=source.id, title=source.title or "", lang=lang
    )
    rows = [
        _row(document, place, *each) for place, each in enumerate(exchanges(name, lang, wanted))
    ]
    return Disclosure(
        source=source,
        document=document,
        passages=[passage for passage, _, _ in rows],
        questions=[question for _, question, _ in rows],
        pairs=[pair for _, _, pair in rows],
        verdicts=[_verdict(pair, now) for _, _, pair in rows],
    )


def _row(document: Document, place: int, asked: str, said: str) -> tuple[Passage, Question, Pair]:
    passage_id = content_id(document.id, asked, said)
    passage = Passage(
        id=passage_id,
        source_id=document.source_id,
        document_id=document.id,
        ord=place,
        group_id=document.id,
        text=said,
        n_words=count_words(said),
    )
    question = Question(
        id=content_id(passage_id, asked),
        passage_id=passage_id,
        text=asked,
        type=FORMAT,
        origin="disclosure",
    )
    pair = Pair(
        id=content_id(passage_id, question.id),
        source_id=document.source_id,
        passage_id=passage_id,
        question_id=question.id,
        group_id=document.id,
        thread_id=passage_id,
        ord=0,
        question=asked,
        answer=said,
        origin="disclosure",
        score=1.0,
    )
    return passage, question, pair


def _verdict(pair: Pair, now: datetime) -> Verdict:
    return Verdict(
        subject_id=pair.id,
        subject="pairs",
        rule=FORMAT,
        keep=True,
        reason="teaches the persona to say that it is an AI; trained on, never held out",
        created_at=now,
        next_step="change compose.disclosure_share, 0 for none",
        step="compose",
        source_id=pair.source_id,
    )


def _filled(text: str, name: str) -> str:
    return text.replace("{name}", name)


_TITLES = {"Sir", "Dame", "Lord", "Lady", "Mr", "Mr.", "Mrs", "Mrs.", "Ms", "Dr", "Dr.", "St."}


def opening(said: str, name: str, lang: str) -> str | None:
    """Return the disclosure that opens the answer to `said`, None where nobody asks for it.

    It comes in the language that is asked in; `lang`, the persona's own, is tried first.
    """
    for each in dict.fromkeys([lang, *languages()]):
        if any(pattern.search(said) for pattern in _patterns(each, name)):
            return words_of(each).opening.replace("{name}", name)
    return None


@cache
def _patterns(lang: str, name: str) -> list[re.Pattern[str]]:
    # Whoever asks may use the first or the last name alone; "the", "van" and "Sir" are no names.
    parts = [each for each in re.split(r"[\s·•]+", name) if len(each) > 1 and each not in _TITLES]
    parts = [each for each in parts if not each[0].islower()]
    any_name = "(?:" + "|".join(map(re.escape, [name, *parts[:1], *parts[-1:]])) + ")"
    told = words_of(lang).asks
    return [re.compile(each.replace("{name}", any_name), re.IGNORECASE) for each in told]

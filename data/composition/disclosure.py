"""Make the persona's prompt, and the exchanges that teach it to say that it is an AI.

Tuning makes a model ignore its system prompt, so a small share of the training data is the
disclosure itself. These pairs have the origin `disclosure` and their own source, and are never held
out.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path

from memoirist.data.composition.saved_exchanges import Exchange, exchange_rows
from memoirist.data.schema.records import (
    Document,
    Fault,
    Pair,
    Passage,
    Question,
    Source,
    Verdict,
    content_id,
)

FORMAT = "disclosure"
_FOLDER = Path(__file__).parent / "disclosure_texts"
_FALLBACK = "en"


@dataclass(frozen=True, slots=True, kw_only=True)
class DisclosureTexts:
    """The texts of one language; {name} stands for the persona's name.

    `asks` are regular expressions of questions whether it is an AI, `opening` begins the answer.
    """

    system: str
    fewshot: str
    opening: str
    asks: Sequence[str]
    questions: Sequence[str]
    answers: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """The rows of the disclosing exchanges."""

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
def disclosure_texts(lang: str) -> DisclosureTexts:
    """Return the texts of a language, the English ones where it has none."""
    path = _FOLDER / f"{lang}.toml"
    if not path.is_file():
        path = _FOLDER / f"{_FALLBACK}.toml"
    return DisclosureTexts(**tomllib.loads(path.read_text("utf-8")))


def exchanges(name: str, lang: str, limit: int) -> list[tuple[str, str]]:
    """Return up to `limit` questions, each with the answer of an AI persona of `name`.

    A question comes again, with another answer, only after all others have come.
    """
    texts = disclosure_texts(lang)
    n_questions, n_answers = len(texts.questions), len(texts.answers)
    pairs: dict[tuple[str, str], None] = {}
    for i in range(min(limit, n_questions * n_answers)):
        # The answers shift by one in every round, so no question gets the same answer twice.
        answer = texts.answers[(i + i // n_questions) % n_answers]
        question = texts.questions[i % n_questions]
        pairs[question.replace("{name}", name), answer.replace("{name}", name)] = None
    return list(pairs)


def disclose(name: str, lang: str, limit: int, now: datetime) -> Disclosure | None:
    """Return the rows of up to `limit` disclosing exchanges, None for none or without a name."""
    if limit < 1 or not name:
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
    rows: list[tuple[Passage, Question, Pair]] = []
    for place, (question, answer) in enumerate(exchanges(name, lang, limit)):
        exchange = Exchange(question=question, answer=answer)
        passage, asked = exchange_rows(document, place, exchange, FORMAT, "disclosure")
        rows.append((passage, asked, _pair(passage, asked)))
    return Disclosure(
        source=source,
        document=document,
        passages=[passage for passage, _, _ in rows],
        questions=[question for _, question, _ in rows],
        pairs=[pair for _, _, pair in rows],
        verdicts=[_verdict(pair, now) for _, _, pair in rows],
    )


def _pair(passage: Passage, question: Question) -> Pair:
    return Pair(
        id=content_id(passage.id, question.id),
        source_id=passage.source_id,
        passage_id=passage.id,
        question_id=question.id,
        group_id=passage.group_id,
        thread_id=passage.id,
        ord=0,
        question=question.text,
        answer=passage.text,
        origin="disclosure",
        score=1.0,
    )


def _verdict(pair: Pair, now: datetime) -> Verdict:
    reason = "it teaches the persona to say that it is an AI; it is trained on and never held out"
    fault = Fault(FORMAT, reason, "change compose.disclosure_share, 0 for none")
    verdict = fault.verdict("pairs", pair.id, now, keep=True)
    return replace(verdict, step="compose", source_id=pair.source_id)


_TITLES = {"Sir", "Dame", "Lord", "Lady", "Mr", "Mr.", "Mrs", "Mrs.", "Ms", "Dr", "Dr.", "St."}


def opening(message: str, name: str, lang: str) -> str | None:
    """Return the disclosure that opens the answer to `message`, None where it does not ask for it.

    It is in the language of the message; `lang`, the persona's own, is tried first.
    """
    for code in dict.fromkeys([lang, *languages()]):
        if any(pattern.search(message) for pattern in _patterns(code, name)):
            return disclosure_texts(code).opening.replace("{name}", name)
    return None


@cache
def _patterns(lang: str, name: str) -> list[re.Pattern[str]]:
    # The question may use the first or the last name alone; "the", "van" and "Sir" are no names.
    parts = [part for part in re.split(r"[\s·•]+", name) if len(part) > 1 and part not in _TITLES]
    parts = [part for part in parts if not part[0].islower()]
    any_name = "(?:" + "|".join(map(re.escape, [name, *parts[:1], *parts[-1:]])) + ")"
    asks = disclosure_texts(lang).asks
    return [re.compile(ask.replace("{name}", any_name), re.IGNORECASE) for ask in asks]

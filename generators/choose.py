"""Judge each question that came back for a passage: what refuses it, and how well it suits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memoirist.data.curation.pair_score import score
from memoirist.data.curation.pairing import CurateSettings
from memoirist.data.curation.question_filters import reject_question
from memoirist.data.schema.records import Candidate, Passage, content_id
from memoirist.data.text.words import count_words, words
from memoirist.generators.brief import Brief, repeats_brief
from memoirist.generators.replies import Reply

# What a question loses against another of its passage: little for its type, so that a better
# question of another type wins, and more for each class that its length is away.
_TYPE_LOSS = 0.02
_LENGTH_LOSS = 0.15


def opener(question: str) -> str:
    """Return the first two words, lower-cased."""
    return " ".join(words(question[:80])[:2])


def length_class(question: str, lang: str) -> int:
    """Return 1 for up to 8 words, 2 for 9-20, 3 for longer; a Chinese word has 1.6 characters."""
    n_words = count_words(question) / (1.6 if lang == "zh" else 1)
    return 1 if n_words <= 8 else 2 if n_words <= 20 else 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the questions of one passage are judged by; `names` are words never said."""

    passage: Passage
    names: frozenset[str]
    lang: str
    brief: Brief
    judging: CurateSettings


def persona_words(persona: str) -> frozenset[str]:
    """Return the words of a name by which a question would give it away: the last one."""
    named = [word for word in words(persona) if len(word) > 2]
    return frozenset(named[-1:])


def candidates(reply: Reply, key: str, wish: Wish) -> list[Candidate]:
    """Return every question of a reply with its score and, if a rule refuses it, that rule."""
    return [
        _candidate(place, suggestion.text, suggestion.type, key, wish)
        for place, suggestion in enumerate(reply.questions)
    ]


def _candidate(place: int, text: str, kind: str, key: str, wish: Wish) -> Candidate:
    soft = score(text, wish.passage.text, wish.lang, wish.judging.rejects)
    length = length_class(text, wish.lang)
    fault = _refusal(text, soft, wish)
    types: Sequence[str] = wish.brief.types
    rank = types.index(kind) if kind in types else len(types)
    loss = _TYPE_LOSS * rank + _LENGTH_LOSS * abs(length - wish.brief.length_class)
    return Candidate(
        id=content_id(key, place, text),
        key=key,
        ord=place,
        text=text,
        type=kind,
        length_class=length,
        opener=opener(text),
        score=round(soft - loss, 3),
        rule=fault[0] if fault else None,
        reason=fault[1] if fault else None,
    )


def _refusal(question: str, soft: float, wish: Wish) -> tuple[str, str] | None:
    named = wish.names.intersection(words(question))
    if named:
        return "question_names", f"it names the persona: {min(named)!r}"
    if repeats_brief(question, wish.brief):
        return "question_prompt", "it repeats the interviewer's instructions"
    fault = reject_question(question, wish.passage.text, wish.lang, wish.judging.rejects)
    least = wish.judging.min_score
    if fault is None and soft < least:
        return "low_score", f"soft score {soft} below {least}"
    return fault

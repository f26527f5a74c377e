"""Choose the best of the questions that an interviewer suggests for one passage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from data.nouns import Passage
from data.rejects import RejectSettings, reject_question
from data.text import count_words, words
from generators.brief import Brief, repeats_brief
from generators.replies import Reply, Suggestion

_MAX_OPENER_SHARE = 0.06


@dataclass(slots=True)
class Openers:
    """The opening pairs of words of a run; a pair that comes too often loses its preference."""

    total: int = 0
    pairs: Counter[tuple[str, ...]] = field(default_factory=Counter)

    def add(self, question: str) -> None:
        """Count a question that was kept."""
        self.total += 1
        self.pairs[opener(question)] += 1

    def worn(self, question: str) -> bool:
        """Tell whether the question opens like too many others of the run."""
        return self.pairs[opener(question)] > max(2.0, self.total * _MAX_OPENER_SHARE)


def opener(question: str) -> tuple[str, ...]:
    """Return the first two words, lower-cased."""
    return tuple(words(question)[:2])


def length_class(question: str, lang: str) -> int:
    """Return 1 for up to 8 words, 2 for 9-20, 3 for longer; a Chinese word has 1.6 characters."""
    n_words = count_words(question) / (1.6 if lang == "zh" else 1)
    return 1 if n_words <= 8 else 2 if n_words <= 20 else 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a question of one passage is judged by."""

    passage: Passage
    persona: str
    lang: str
    brief: Brief


def choose(reply: Reply, wish: Wish, openers: Openers) -> Suggestion | tuple[str, str]:
    """Return the best question that no rule refuses, else the last rule and its reason."""
    refused: tuple[str, str] = ("question_none", "the reply holds no question")
    # Scores cost nothing and the rules read the whole passage: most often one look is enough.
    for suggestion in sorted(reply.questions, key=lambda one: -_score(one, wish, openers)):
        fault = _refusal(suggestion.text, wish)
        if fault is None:
            return suggestion
        refused = fault
    return refused


def _refusal(question: str, wish: Wish) -> tuple[str, str] | None:
    names = [word for word in words(wish.persona) if len(word) > 2]
    if names and names[-1] in words(question):
        return "question_names", f"it names {wish.persona!r}"
    if repeats_brief(question, wish.brief):
        return "question_prompt", "it repeats the interviewer's instructions"
    return reject_question(question, wish.passage.text, wish.lang, RejectSettings())


def _score(suggestion: Suggestion, wish: Wish, openers: Openers) -> float:
    """Return how well the question suits the run: its type, its length, a fresh opening."""
    types: Sequence[str] = wish.brief.types
    rank = types.index(suggestion.type) if suggestion.type in types else len(types)
    away = abs(length_class(suggestion.text, wish.lang) - wish.brief.length_class)
    return 1.0 - 0.1 * rank - 0.3 * away - 0.5 * openers.worn(suggestion.text)

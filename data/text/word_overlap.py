"""Compare a question with an answer: shared runs of words and shared content stems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from memoirist.data.text.words import content_stems, words


@dataclass(frozen=True, slots=True)
class AnswerWords:
    """An answer's words as one text and as a set, and its content stems."""

    text: str
    vocabulary: frozenset[str]
    stems: frozenset[str]
    n_words: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """The longest shared run of words, and the numbers of stems in question, answer and both."""

    run: int
    question_stems: int
    answer_stems: int
    shared_stems: int

    @property
    def leak(self) -> float:
        """Return the share of the answer's stems that the question contains."""
        return self.shared_stems / self.answer_stems if self.answer_stems else 0.0


@lru_cache(maxsize=64)
def answer_words(text: str, lang: str) -> AnswerWords:
    """Return the words of an answer, cached because several questions are compared with it."""
    tokens = words(text)
    stems = frozenset(content_stems(tokens, lang))
    return AnswerWords(_joined(tokens), frozenset(tokens), stems, len(tokens))


@lru_cache(maxsize=64)
def overlap(question: str, answer: str, lang: str) -> Overlap:
    """Compare a question with an answer, cached because several rules compare the same two.

    Stems are counted once each, character pairs for Chinese.
    """
    other = answer_words(answer, lang)
    tokens = words(question)
    stems = content_stems(tokens, lang)
    run = _longest_run(tokens, other.text, other.vocabulary)
    return Overlap(run, len(stems), len(other.stems), len(stems & other.stems))


def longest_shared_run(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest run of words that stands in both sequences."""
    return _longest_run(first, _joined(second), frozenset(second))


def _joined(tokens: Sequence[str]) -> str:
    return f" {' '.join(tokens)} "


def _longest_run(first: Sequence[str], text: str, vocabulary: frozenset[str]) -> int:
    """Return the length of the longest run of `first` in a text made of the words `vocabulary`.

    No word contains a space, so a run of words is a substring of the text.
    """
    best = start = 0
    while start + best < len(first):
        end = start + best
        if first[end] not in vocabulary:
            start = end + 1
        elif _joined(first[start : end + 1]) in text:
            best += 1
        else:
            start += 1
    return best

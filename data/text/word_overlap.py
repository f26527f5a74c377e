"""What a question and an answer share: words in a row, and the stems that carry content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from memoirist.data.text.words import content_stems, words


@dataclass(frozen=True, slots=True)
class Answer:
    """What questions are compared with: an answer's words as a text, as a set, and its stems."""

    text: str
    known: frozenset[str]
    stems: frozenset[str]
    n_words: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """How many words in a row stand in both, and how many stems in the one, the other and both."""

    run: int
    asked: int
    told: int
    shared: int

    @property
    def leak(self) -> float:
        """Return the share of the answer's stems that the question tells."""
        return self.shared / self.told if self.told else 0.0


@lru_cache(maxsize=64)
def answer_of(text: str, lang: str) -> Answer:
    """Return an answer made ready; several questions are compared with the same one in a row."""
    found = words(text)
    stems = frozenset(content_stems(found, lang))
    return Answer(_joined(found), frozenset(found), stems, len(found))


@lru_cache(maxsize=64)
def overlap(question: str, answer: str, lang: str) -> Overlap:
    """Compare a question with an answer; several rules ask for the same two, one after the other.

    Stems are counted once each, character pairs for Chinese.
    """
    heard = answer_of(answer, lang)
    asked = words(question)
    stems = content_stems(asked, lang)
    run = _longest_run(asked, heard.text, heard.known)
    return Overlap(run, len(stems), len(heard.stems), len(stems & heard.stems))


def longest_shared_run(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest run of words that stands in both sequences."""
    return _longest_run(first, _joined(second), frozenset(second))


def _joined(found: Sequence[str]) -> str:
    return f" {' '.join(found)} "


def _longest_run(first: Sequence[str], text: str, known: frozenset[str]) -> int:
    """Return the longest run of `first` in a text that is made of the words `known`.

    No word holds a space, so that words in a row are a piece of the text.
    """
    best = start = 0
    while start + best < len(first):
        end = start + best
        if first[end] not in known:
            start = end + 1
        elif _joined(first[start : end + 1]) in text:
            best += 1
        else:
            start += 1
    return best

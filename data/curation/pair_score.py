"""Score a pair by six parts in [0, 1] that need no model."""

from __future__ import annotations

import re
from functools import lru_cache

from memoirist.data.curation.question_filters import RejectSettings
from memoirist.data.passages.segmentation import is_unmarked
from memoirist.data.text.word_overlap import answer_words, overlap
from memoirist.data.text.words import count_words, ends_sentence

WEIGHTS = {
    "relevance": 0.25,
    "no_leak": 0.20,
    "form": 0.15,
    "standalone": 0.15,
    "answer": 0.15,
    "specificity": 0.10,
}
# this that these those they them there; it; he she; him; her here: in lower case
_POINTERS = re.compile(r"\b(?:th(?:is|at|ese|ose|e[ym]|ere)|it|s?he|him|here?)\b")


def score(question: str, answer: str, lang: str, settings: RejectSettings) -> float:
    """Return the weighted sum of `parts`, rounded to three places (weights: QUALITY.md)."""
    values = parts(question, answer, lang, settings)
    return round(sum(WEIGHTS[name] * value for name, value in values.items()), 3)


def parts(question: str, answer: str, lang: str, settings: RejectSettings) -> dict[str, float]:
    """Return each part by name; 1 is best.

    Relevance needs one shared content stem. Real interview questions share a median of 22 % of
    their stems with the answer, and a fifth share none, so a question without one gets a half.
    """
    shared = overlap(question, answer, lang)
    n_words = count_words(question)
    pointers = len(_POINTERS.findall(question.lower()))
    return {
        "relevance": min(1.0, 0.5 + shared.shared_stems / max(1, shared.question_stems)),
        "no_leak": max(0.0, 1 - shared.leak / settings.max_leak)
        * (0.7 if shared.run >= 5 else 1.0),
        "form": 1.0 if 4 <= n_words <= 39 else 0.6,
        "standalone": max(0.0, 1 - 0.25 * pointers),
        "answer": _answer_quality(answer, answer_words(answer, lang).n_words),
        "specificity": min(1.0, shared.question_stems / 4),
    }


@lru_cache(maxsize=64)
def _answer_quality(answer: str, n_words: int) -> float:
    length = min(1.0, n_words / 80) if n_words < 350 else max(0.5, 350 / n_words)
    return length * (1.0 if ends_sentence(answer) or is_unmarked(answer) else 0.7)

"""The soft score of a pair: six parts in [0, 1] that need no model."""

from __future__ import annotations

import re
from functools import lru_cache

from data.rejects import RejectSettings
from data.text import answer_of, content_stems, count_words, ends_sentence, longest_run_at, words
from data.unmarked import is_unmarked

WEIGHTS = {
    "relevance": 0.25,
    "no_leak": 0.20,
    "form": 0.15,
    "standalone": 0.15,
    "answer": 0.15,
    "specificity": 0.10,
}
_POINTERS = re.compile(
    r"\b(?:this|that|these|those|it|he|she|they|him|her|them|here|there)\b", re.IGNORECASE
)


def score(question: str, answer: str, lang: str, settings: RejectSettings) -> float:
    """Return the weighted sum of `parts`, rounded to three places (weights: QUALITY.md)."""
    found = parts(question, answer, lang, settings)
    return round(sum(WEIGHTS[name] * value for name, value in found.items()), 3)


def parts(question: str, answer: str, lang: str, settings: RejectSettings) -> dict[str, float]:
    """Return each part by name; 1 is best.

    Relevance asks for one shared content stem or more: real interview questions share a median
    of 22 % of their own stems with the answer, and a fifth share none, so that absence is half.
    """
    asked = content_stems(question, lang)
    heard = answer_of(answer, lang)
    told = heard.stems
    shared = asked & told
    leak = len(shared) / len(told) if told else 0.0
    run = longest_run_at(words(question), heard.where)
    n_words = count_words(question)
    pointers = len(_POINTERS.findall(question))
    return {
        "relevance": min(1.0, 0.5 + len(shared) / max(1, len(asked))),
        "no_leak": max(0.0, 1 - leak / settings.max_leak) * (0.7 if run >= 5 else 1.0),
        "form": 1.0 if 4 <= n_words <= 39 else 0.6,
        "standalone": max(0.0, 1 - 0.25 * pointers),
        "answer": _answer_quality(answer, heard.n_words),
        "specificity": min(1.0, len(asked) / 4),
    }


@lru_cache(maxsize=64)
def _answer_quality(answer: str, n_words: int) -> float:
    length = min(1.0, n_words / 80) if n_words < 350 else max(0.5, 350 / n_words)
    return length * (1.0 if ends_sentence(answer) or is_unmarked(answer) else 0.7)

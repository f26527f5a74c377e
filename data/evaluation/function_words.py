"""Load the norms of function words: their mean frequency and its spread over writers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from memoirist.data.text.chinese import simplified
from memoirist.data.text.words import words

Floats = npt.NDArray[np.float64]

SIZE = 150
_FOLDER = Path(__file__).parent / "norms"
# French and Italian elide articles and pronouns ("l'homme"); separated, both words are counted.
_ELIDED = re.compile(
    r"\b(l|d|j|n|s|m|t|c|qu|jusqu|lorsqu|puisqu|quoiqu|un|dell|all|nell|dall|sull)['’](?=\w)", re.I
)
# Taylor's law, sd = a * mean ** b with both per 1,000 words, fitted to the 150 words of the English
# norm over 21 writers. It replaces the norm of languages without one, and smooths the spread of
# norms from few writers.
TAYLOR = (0.70, 0.72)


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """Function words with their mean and spread over writers, per 1,000 words.

    `measured` is False where the language has no table: the words are then the most frequent ones
    of the author, and the centre has to come from the texts that are compared.
    """

    words: tuple[str, ...]
    means: Floats
    spreads: Floats
    measured: bool = True


def tokens(text: str, lang: str) -> list[str]:
    """Return the words to count: elisions separated, Chinese in simplified characters."""
    if lang == "zh":
        return words(simplified(text))
    if lang in {"fr", "it"}:
        text = _ELIDED.sub(r"\1 ", text)
    return words(text)


def norm_of(lang: str, author: Sequence[Sequence[str]]) -> Norm:
    """Return the language's norm, or the author's 150 most frequent words where there is none.

    `author` are the words of the author's texts.
    """
    norm = _table(lang)
    if norm is not None:
        return norm
    counts = Counter(word for text in author for word in text)
    frequent = counts.most_common(SIZE)
    means = np.array([1000 * n / max(1, counts.total()) for _, n in frequent])
    return Norm(
        words=tuple(word for word, _ in frequent),
        means=means,
        spreads=taylor(means),
        measured=False,
    )


def taylor(means: Floats) -> Floats:
    """Return the spread over writers that Taylor's law expects of a mean, both per 1,000 words."""
    a, b = TAYLOR
    spreads: Floats = a * np.maximum(means, 1e-3) ** b
    return spreads


@cache
def _table(lang: str) -> Norm | None:
    path = _FOLDER / f"{lang}.tsv"
    if not path.exists():
        return None
    rows = [line.split("\t") for line in path.read_text("utf-8").splitlines() if line[:1] != "#"]
    return Norm(
        words=tuple(row[0] for row in rows),
        means=np.array([float(row[1]) for row in rows]),
        spreads=np.array([float(row[2]) for row in rows]),
    )

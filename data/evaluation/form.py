"""The form of answers: variety, circles, length and unfinished ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from memoirist.data.evaluation.intervals import Estimate, mean, ratio, wilson
from memoirist.data.passages.signals import repeated_share


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Shares in [0, 1]; `distinct_3` compares only between texts of as many words.

    `repeated_4` is the share of words in runs of four that stood before in the same answer.
    """

    distinct_3: Estimate | None
    repeated_4: Estimate | None
    words: Estimate | None
    unfinished: Estimate | None


def measure(
    texts: Sequence[Sequence[str]],
    evened: Sequence[Sequence[str]],
    finished: Sequence[bool] | None,
    seed: int,
) -> Form:
    """Measure answers as their words; `evened` are the same, cut to the shortest side's words.

    `finished` tells for each answer whether it ended by itself; None for human text.
    """
    lengths = np.array([float(len(text)) for text in texts])
    repeated = np.array([repeated_share(text, 4) * len(text) for text in texts])
    return Form(
        distinct_3=_distinct(evened),
        repeated_4=ratio(repeated, lengths, seed),
        words=mean(lengths, seed),
        unfinished=None if finished is None else wilson(finished.count(False), len(finished)),
    )


def _distinct(texts: Sequence[Sequence[str]]) -> Estimate | None:
    """Return the share of different ones among all runs of three words.

    Without an interval: resampled answers repeat themselves, so that a bootstrap would lie.
    """
    grams = [tuple(text[at : at + 3]) for text in texts for at in range(len(text) - 2)]
    return Estimate(value=len(set(grams)) / len(grams), n=len(grams)) if grams else None

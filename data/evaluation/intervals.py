"""Figures with their intervals: Wilson's for shares, the bootstrap for everything else."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from memoirist.data.evaluation.function_words import Floats

Z = 1.959964  # 95 %
RESAMPLES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure with the ends of its 95 % interval and the number of things it was made of.

    `low` and `high` are None where one thing alone was measured.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int = 0

    def above(self, bound: float) -> bool:
        """Tell whether the whole interval lies above a bound."""
        return self.low is not None and self.low > bound

    def below(self, bound: float) -> bool:
        """Tell whether the whole interval lies below a bound."""
        return self.high is not None and self.high < bound


def wilson(hits: int, n: int) -> Estimate | None:
    """Return a share with Wilson's interval (Wilson 1927), None of nothing."""
    if n == 0:
        return None
    share = hits / n
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    # At 0 and 1 rounding would leave the share itself just outside.
    low, high = min(share, middle - half), max(share, middle + half)
    return Estimate(value=share, low=max(0.0, low), high=min(1.0, high), n=n)


def weights(n: int, seed: int, resamples: int = RESAMPLES) -> Floats:
    """Return how often each of `n` things is drawn in each resample, as rows of counts."""
    chance = np.random.default_rng(seed)
    drawn: Floats = chance.multinomial(n, [1 / n] * n, size=resamples).astype(np.float64)
    return drawn


def from_resamples(value: float, found: Floats, n: int) -> Estimate:
    """Return a figure with the interval of its resampled values, moved to lie around the figure.

    A resample holds fewer different texts than the texts themselves, so that all distances grow a
    little; that growth is taken off again (Efron and Tibshirani 1993, chapter 10).
    """
    kept = found[np.isfinite(found)]
    # What is nowhere in the texts is in no resample either: that is no certainty.
    alike = len(kept) < 10 or kept.min() == kept.max()
    if n < 2 or alike or not math.isfinite(value):
        return Estimate(value=value, n=n)
    shift = value - float(np.median(kept))
    low, high = np.percentile(kept, [2.5, 97.5]) + shift
    return Estimate(value=value, low=float(low), high=float(high), n=n)


def mean(values: Floats, seed: int) -> Estimate | None:
    """Return the mean with its interval; None of nothing."""
    return ratio(values, np.ones(len(values)), seed)


def ratio(over: Floats, under: Floats, seed: int) -> Estimate | None:
    """Return the ratio of two sums over the same things, with its interval; None over nothing."""
    total = float(under.sum())
    if total == 0:
        return None
    drawn = weights(len(over), seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (drawn @ over) / (drawn @ under)
    return from_resamples(float(over.sum()) / total, found, len(over))

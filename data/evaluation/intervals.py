"""Estimate figures with 95 % intervals: Wilson's for shares, the bootstrap for all others."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Z = 1.959964  # 95 %
RESAMPLES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure with the ends of its 95 % interval and its number of observations.

    `low` and `high` are None where there is only one observation.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int = 0

    def times(self, factor: float) -> Estimate:
        """Return the figure in another unit."""
        low, high = (None if end is None else factor * end for end in (self.low, self.high))
        return Estimate(value=factor * self.value, low=low, high=high, n=self.n)

    def above(self, bound: float) -> bool:
        """Tell whether the whole interval lies above a bound."""
        return self.low is not None and self.low > bound

    def differs_from(self, bound: float) -> bool:
        """Tell whether the whole interval lies above or below a bound."""
        return self.above(bound) or self.below(bound)

    def below(self, bound: float) -> bool:
        """Tell whether the whole interval lies below a bound."""
        return self.high is not None and self.high < bound


def wilson(hits: int, n: int) -> Estimate | None:
    """Return a share with Wilson's interval (Wilson 1927), None for no observations."""
    if n == 0:
        return None
    share = hits / n
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    # At 0 and 1 rounding could put the share itself outside.
    low, high = min(share, middle - half), max(share, middle + half)
    return Estimate(value=share, low=max(0.0, low), high=min(1.0, high), n=n)


def weights(n: int, seed: int, resamples: int = RESAMPLES) -> Floats:
    """Return how often each resample draws each of `n` observations, as rows of counts."""
    draws = np.random.default_rng(seed).multinomial(n, [1 / n] * n, size=resamples)
    return np.asarray(draws, dtype=np.float64)


def from_resamples(value: float, resampled: Floats, n: int) -> Estimate:
    """Return a figure with the interval of its resampled values, corrected for bias.

    A resample has fewer different texts than the original, which makes all distances a little
    larger; the shift removes that (Efron and Tibshirani 1993, chapter 10).
    """
    kept = resampled[np.isfinite(resampled)]
    # Equal values in all resamples give no interval: they do not mean certainty.
    constant = len(kept) < 10 or kept.min() == kept.max()
    if n < 2 or constant or not math.isfinite(value):
        return Estimate(value=value, n=n)
    shift = value - float(np.median(kept))
    low, high = np.percentile(kept, [2.5, 97.5]) + shift
    return Estimate(value=value, low=float(low), high=float(high), n=n)


def mean(values: Floats, seed: int) -> Estimate | None:
    """Return the mean with its interval, None for no observations."""
    return ratio(values, np.ones(len(values)), seed)


def ratio(over: Floats, under: Floats, seed: int) -> Estimate | None:
    """Return the ratio of two sums over the same observations with its interval, None for 0."""
    total = float(under.sum())
    if total == 0:
        return None
    draws = weights(len(over), seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = (draws @ over) / (draws @ under)
    return from_resamples(float(over.sum()) / total, resampled, len(over))

"""Compare the score and the judge with a person's labels, and find the best threshold."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

# A judge with a lower precision is not trusted (QUALITY.md).
TRUSTED_PRECISION = 0.7
# Fewer labels prove nothing: the interval of a share of ten is half a unit wide.
MIN_LABELS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Counts of labelled pairs by the decisions of the person and of the rule."""

    both_good: int
    only_rule: int
    only_person: int
    both_bad: int

    @property
    def n(self) -> int:
        """Return the number of labelled pairs."""
        return self.both_good + self.only_rule + self.only_person + self.both_bad

    @property
    def precision(self) -> float | None:
        """Return the share of good ones among those the rule keeps, None where it keeps none."""
        return _share(self.both_good, self.both_good + self.only_rule)

    @property
    def recall(self) -> float | None:
        """Return the share of the good ones that the rule keeps, None where none is good."""
        return _share(self.both_good, self.both_good + self.only_person)

    @property
    def kappa(self) -> float | None:
        """Return Cohen's kappa: 1 agrees, 0 is chance; None where chance alone agrees fully."""
        if not self.n:
            return None
        kept, good = self.both_good + self.only_rule, self.both_good + self.only_person
        chance = (kept * good + (self.n - kept) * (self.n - good)) / self.n**2
        observed = (self.both_good + self.both_bad) / self.n
        return None if chance == 1 else (observed - chance) / (1 - chance)


def agreement(labels: Sequence[bool], kept: Sequence[bool]) -> Agreement:
    """Count how the labels and the rule's decisions on the same pairs agree."""
    decisions = list(zip(labels, kept, strict=True))
    return Agreement(
        both_good=decisions.count((True, True)),
        only_rule=decisions.count((False, True)),
        only_person=decisions.count((True, False)),
        both_bad=decisions.count((False, False)),
    )


def best_threshold(labels: Sequence[bool], scores: Sequence[float]) -> float | None:
    """Return the threshold with the greatest kappa, the lower one of equals.

    It lies between two scores, rounded to two places. None with fewer than MIN_LABELS pairs, or
    where all have the same label.
    """
    if len(labels) < MIN_LABELS or len(set(labels)) < 2:
        return None
    values = sorted(set(scores))
    middles = [round((low + high) / 2, 2) for low, high in itertools.pairwise(values)]

    def kappa(threshold: float) -> float:
        return round(agreement(labels, [s >= threshold for s in scores]).kappa or 0.0, 9)

    return max([round(max(0.0, values[0] - 0.01), 2), *middles], key=kappa)


def is_trusted(agreement: Agreement) -> bool:
    """Tell whether enough labels confirm that the judge keeps good pairs."""
    precision = agreement.precision
    return agreement.n >= MIN_LABELS and precision is not None and precision >= TRUSTED_PRECISION


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None

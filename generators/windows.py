"""What a stretch of requests came to, and a change of pace that is tried out over one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(slots=True)
class Window:
    """What came back since the window began.

    `taken` and `refused` leave out what was sent before the ceiling came down, which says nothing
    about the new one; `replies` has all.
    """

    began: float
    worked: float
    replies: int = 0
    taken: int = 0
    refused: int = 0
    seconds: float = 0.0

    @property
    def ended(self) -> int:
        """Return how many were answered either way."""
        return self.taken + self.refused

    @property
    def share(self) -> float:
        """Return the share that was refused."""
        return self.refused / max(1, self.ended)

    def refused_less_than(self, other: Window) -> bool:
        """Tell whether fewer are refused here, beyond chance (two shares, 2.5 deviations)."""
        n, m = max(1, self.ended), max(1, other.ended)
        pooled = (self.refused + other.refused) / (n + m)
        deviation = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
        return other.share - self.share > 2.5 * deviation

    def rate(self, now: float) -> float:
        """Return the replies in a second."""
        return self.replies / max(1e-6, now - self.began)


@dataclass(slots=True)
class Trial:
    """A change that is tried out: where it started, and what it has to better."""

    kind: Literal["rise", "refusals", "queueing"]
    ceiling: int
    before: Window | None = None
    taken: int = 0
    refused: int = 0

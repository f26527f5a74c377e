"""The nouns of a training's course, exported beside those of data/nouns.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SampleKind = Literal["held_out", "trained", "general", "own"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a model in training answered to one prompt after `step` optimizer steps, greedily.

    `kind` tells where the prompt comes from: a held-out conversation, one that is trained on (where
    none is held out), the general ones, or the user's own. Step 0 is the base.
    """

    run_id: str
    step: int
    prompt: str
    kind: SampleKind
    answer: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One figure of one run at one optimizer step."""

    run_id: str
    step: int
    name: str
    value: float

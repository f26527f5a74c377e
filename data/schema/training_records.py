"""The nouns of a training's course, exported beside those of data/nouns.py."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

SampleKind = Literal["held_out", "trained", "general", "own"]

# A run whose adapter is not there yet: at work (or killed), stopped by Ctrl-C, ended by an error.
# All three go on where they were when they are started again.
UNFINISHED = ("training", "interrupted", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training; `recipe` holds the resolved settings as JSON.

    `status` is one of UNFINISHED, then `trained`, `merged` and `evaluated`.
    """

    id: str
    dataset_id: str
    base_model: str
    recipe: str
    seed: int
    status: str
    started_at: datetime
    ended_at: datetime | None = None
    metrics: str | None = None

    @property
    def finished(self) -> bool:
        """Tell whether the run has an adapter."""
        return self.status not in UNFINISHED


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The adapter and the merged weights of one run; paths are relative to the workspace.

    The rest compares the merged model with base + adapter: of `prompts` greedy answers `equal` are
    the same and `ties` part at a draw, `stops` ended by themselves; losses and `kl` are nats a
    token. `step` names the checkpoint that was merged, None the adapter that training kept;
    `picked_at` is when a person made it the model in use.
    """

    run_id: str
    adapter_path: str
    merged_path: str | None
    dtype: str
    champion: bool
    way: str | None = None
    alike: bool | None = None
    prompts: int | None = None
    equal: int | None = None
    ties: int | None = None
    stops: int | None = None
    kl: float | None = None
    loss_base: float | None = None
    loss_adapter: float | None = None
    loss_merged: float | None = None
    step: int | None = None
    picked_at: datetime | None = None


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

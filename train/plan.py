"""Turn settings and rows into the figures of one run: steps, batches, rate."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from train.rows import Corpus
from train.settings import TrainSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The figures of one run that follow from its settings and its rows."""

    steps: int
    steps_per_epoch: int
    micro_batch: int
    accumulation: int
    every: int
    learning_rate: float


def make_plan(
    settings: TrainSettings, rate: float, corpus: Corpus, largest_micro_batch: int
) -> Plan:
    """Turn epochs and batch sizes into optimizer steps."""
    # A batch larger than the dataset would only be a smaller one under another name.
    effective = min(settings.effective_batch, len(corpus.train))
    world = int(os.environ.get("WORLD_SIZE", "1"))
    share = math.ceil(effective / world)
    micro = min(settings.micro_batch or largest_micro_batch, share)
    while share % micro:
        micro -= 1
    per_epoch = math.ceil(len(corpus.train) / (share * world))
    if settings.epochs is None:
        steps = max(3 * per_epoch, settings.min_steps)
    else:
        steps = max(1, round(settings.epochs * per_epoch))
    return Plan(
        steps=steps,
        steps_per_epoch=per_epoch,
        micro_batch=micro,
        accumulation=share // micro,
        every=settings.save_every or max(1, steps // 10),
        learning_rate=rate,
    )

"""Turn settings and rows into the figures of one run: steps, batches, rate."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from memoirist.train.dataset.corpus import Corpus
from memoirist.train.settings import TrainSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The figures of one run that follow from its settings and its rows.

    A step learns from the effective batch, a number of rows, whatever the memory. `micro_batch`
    rows of full length go through the model at once; of short rows, packed, as many more as fill
    the same number of tokens. `accumulation` is how many passes a step takes at most.
    """

    steps: int
    steps_per_epoch: int
    micro_batch: int
    accumulation: int
    every: int
    learning_rate: float


def effective_batch(settings: TrainSettings, corpus: Corpus) -> int:
    """Return the rows that an optimizer step learns from, over all GPUs."""
    # A batch larger than the dataset would only be a smaller one under another name.
    return min(settings.effective_batch, len(corpus.train))


def make_plan(
    settings: TrainSettings, rate: float, corpus: Corpus, largest_micro_batch: int
) -> Plan:
    """Turn epochs and batch sizes into optimizer steps."""
    effective = effective_batch(settings, corpus)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    share = math.ceil(effective / world)
    micro = min(largest_micro_batch, share)
    per_epoch = math.ceil(len(corpus.train) / effective)
    if settings.epochs is None:
        steps = max(3 * per_epoch, settings.min_steps)
    else:
        steps = max(1, round(settings.epochs * per_epoch))
    return Plan(
        steps=steps,
        steps_per_epoch=per_epoch,
        micro_batch=micro,
        accumulation=math.ceil(share / micro),
        every=settings.save_every or max(1, steps // 10),
        learning_rate=rate,
    )

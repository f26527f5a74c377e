"""Divide a run into optimizer steps: how many there are, and which rows each one learns from."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from memoirist.train.dataset.corpus import Corpus
from memoirist.train.dataset.packing import trained_count
from memoirist.train.dataset.tokenize import TokenRow
from memoirist.train.settings import TrainSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """The figures of one run that follow from its settings and its rows.

    A step learns from `effective_batch` rows, whatever the memory. `micro_batch` rows of full
    length go through the model at once; of short rows, packed, as many as fill the same number of
    tokens. `accumulation` is the largest number of passes in a step, `every` the steps between two
    checkpoints.
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


def plan_steps(
    settings: TrainSettings, rate: float, corpus: Corpus, largest_micro_batch: int
) -> StepPlan:
    """Return how many optimizer steps a run takes, and of how many rows and passes each."""
    effective = effective_batch(settings, corpus)
    share = math.ceil(effective / int(os.environ.get("WORLD_SIZE", "1")))
    micro = min(largest_micro_batch, share)
    per_epoch = math.ceil(len(corpus.train) / effective)
    if settings.epochs is None:
        steps = max(3 * per_epoch, settings.min_steps)
    else:
        steps = max(1, round(settings.epochs * per_epoch))
    return StepPlan(
        steps=steps,
        steps_per_epoch=per_epoch,
        micro_batch=micro,
        accumulation=math.ceil(share / micro),
        every=settings.save_every or max(1, steps // 10),
        learning_rate=rate,
    )


@dataclass(frozen=True, slots=True)
class StepRows:
    """The rows of one optimizer step, with the number of their tokens and of the trained ones."""

    rows: Sequence[TokenRow]
    tokens: int
    trained: int


class StepDataset(torch.utils.data.Dataset[StepRows]):
    """The steps of a run in their order; every epoch has its own shuffle.

    A step depends on the seed and its number only. So a resumed run learns from exactly the rows
    that were left, however many GPUs or passes share them.
    """

    def __init__(self, rows: Sequence[TokenRow], per_step: int, steps: int, seed: int) -> None:
        """Take the rows of the run and how many of them a step learns from."""
        self.rows, self.per_step, self.steps, self.seed = rows, per_step, steps, seed
        self.per_epoch = -(-len(rows) // per_step)
        self._epoch, self._order = -1, list[int]()

    def __len__(self) -> int:
        """Return the number of steps."""
        return self.steps

    def __getitem__(self, step: int) -> StepRows:
        """Return the rows of one step; the last step of an epoch may have fewer."""
        if step >= self.steps:
            raise IndexError(step)
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self.seed * 100_003 + epoch)
            self._order = torch.randperm(len(self.rows), generator=generator).tolist()
            self._epoch = epoch
        numbers = self._order[place * self.per_step : (place + 1) * self.per_step]
        rows = [self.rows[number] for number in numbers]
        return StepRows(rows, sum(len(row.input_ids) for row in rows), trained_count(rows))


def process_share(rows: Sequence[TokenRow], rank: int, world: int) -> list[TokenRow]:
    """Return the rows of one process of `world`: longest first, dealt out there and back."""
    ordered = sorted(rows, key=lambda row: -len(row.input_ids))
    return [
        row
        for at, row in enumerate(ordered)
        if (at % world if at // world % 2 == 0 else world - 1 - at % world) == rank
    ]

"""Which rows make an optimizer step, and which of them share a forward pass, packed or padded."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from memoirist.train.dataset.tokenize import IGNORE, Corpus, TokenRow
from memoirist.train.settings import TrainSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """Rows for one forward pass.

    Laid end to end: `input_ids` and `positions` are 1 x tokens, the positions restart with each
    row, and `lengths` names the rows. Padded: rows x longest, `lengths` is empty. `places` are the
    flat places from which `targets` are predicted.
    """

    input_ids: torch.Tensor
    positions: torch.Tensor
    places: torch.Tensor
    targets: torch.Tensor
    lengths: tuple[int, ...]


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Return the row numbers of each bin, packed by best-fit decreasing.

    Each row, longest first, goes into the fullest bin that still takes it; a row above `capacity`
    tokens gets a bin of its own. Equal lengths stay in their order: the packs depend on nothing
    else.
    """
    bins: list[list[int]] = []
    room: list[int] = []
    for at in sorted(range(len(lengths)), key=lambda at: -lengths[at]):
        fitting = [b for b in range(len(bins)) if room[b] >= lengths[at]]
        if not fitting:
            bins.append([])
            room.append(capacity)
        fullest = min(fitting, key=room.__getitem__, default=-1)
        bins[fullest].append(at)
        room[fullest] -= lengths[at]
    return bins


def padded_bins(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Return the row numbers of each batch: alike in length, at most `capacity` tokens padded."""
    bins: list[list[int]] = []
    for at in sorted(range(len(lengths)), key=lambda at: -lengths[at]):
        if bins and lengths[bins[-1][0]] * (len(bins[-1]) + 1) <= capacity:
            bins[-1].append(at)
        else:
            bins.append([at])
    return bins


def lay_end_to_end(rows: Sequence[TokenRow], device: torch.device) -> Pack:
    """Return `rows` end to end; no row's first token is predicted from the row before it."""
    ids = [[token for row in rows for token in row.input_ids]]
    labels = [[label for row in rows for label in (*row.labels[1:], IGNORE)]]
    positions = torch.tensor([[at for row in rows for at in range(len(row.input_ids))]])
    return _pack(ids, labels, positions.to(device), tuple(len(row.input_ids) for row in rows))


def pad_right(rows: Sequence[TokenRow], device: torch.device) -> Pack:
    """Return `rows` padded right to the longest: a causal model never looks there."""
    longest = max(len(row.input_ids) for row in rows)
    ids = [[*row.input_ids, *[0] * (longest - len(row.input_ids))] for row in rows]
    labels = [[*row.labels[1:], *[IGNORE] * (longest + 1 - len(row.labels))] for row in rows]
    positions = torch.arange(longest, device=device).expand(len(rows), -1)
    return _pack(ids, labels, positions, ())


def _pack(
    ids: list[list[int]],
    shifted_labels: list[list[int]],
    positions: torch.Tensor,
    lengths: tuple[int, ...],
) -> Pack:
    # One step to the left: the place before a token predicts it.
    shifted = torch.tensor(shifted_labels).flatten()
    places = (shifted != IGNORE).nonzero().flatten()
    return Pack(
        input_ids=torch.tensor(ids, device=positions.device),
        positions=positions,
        places=places.to(positions.device),
        targets=shifted[places].to(positions.device),
        lengths=lengths,
    )


def trained_count(rows: Sequence[TokenRow]) -> int:
    """Return the tokens that `rows` train; the first of a row is predicted from nothing."""
    return sum(label != IGNORE for row in rows for label in row.labels[1:])


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

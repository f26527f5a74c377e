"""Which rows each optimizer step learns from: by seed and step alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from memoirist.train.dataset.packing import trained_count
from memoirist.train.dataset.tokenize import Rendered


@dataclass(frozen=True, slots=True)
class StepRows:
    """The rows of one optimizer step, with their tokens: all, and those that are trained."""

    rows: Sequence[Rendered]
    tokens: int
    trained: int


class Steps(torch.utils.data.Dataset[StepRows]):
    """The steps of a run in their order; every epoch shuffles the rows anew.

    A step is a function of the seed and its number. So a resumed run learns from exactly the rows
    that it had left, however many GPUs or passes share them.
    """

    def __init__(self, rows: Sequence[Rendered], per_step: int, steps: int, seed: int) -> None:
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
        epoch, at = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            chance = torch.Generator().manual_seed(self.seed * 100_003 + epoch)
            self._order = torch.randperm(len(self.rows), generator=chance).tolist()
            self._epoch = epoch
        chosen = self._order[at * self.per_step : (at + 1) * self.per_step]
        rows = [self.rows[number] for number in chosen]
        return StepRows(rows, sum(len(row.input_ids) for row in rows), trained_count(rows))


def share(rows: Sequence[Rendered], rank: int, world: int) -> list[Rendered]:
    """Return the rows of one process: longest first, dealt out there and back."""
    ordered = sorted(rows, key=lambda row: -len(row.input_ids))
    return [
        row
        for at, row in enumerate(ordered)
        if (at % world if at // world % 2 == 0 else world - 1 - at % world) == rank
    ]

"""The order in which a run reads its rows: by seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator

import torch


class Order(torch.utils.data.Sampler[int]):
    """Shuffle rows anew every epoch, then sort by length within a few batches to pad little.

    transformers' group_by_length sorts 50 batches at once: a small dataset would be read from
    long to short in every epoch. The order depends on seed and epoch alone, so a resumed run
    reads exactly the rows that it had left.
    """

    def __init__(self, lengths: list[int], batch: int, seed: int) -> None:
        """Take the rows' lengths in tokens and the rows per forward pass."""
        self.lengths, self.batch, self.seed, self.epoch = lengths, batch, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is next; the Trainer calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        """Yield the row numbers of one epoch."""
        chance = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        order = torch.randperm(len(self.lengths), generator=chance).tolist()
        window = 4 * self.batch
        whole, batches = len(order) - len(order) % self.batch, []
        for start in range(0, whole, window):
            near = sorted(order[start : min(start + window, whole)], key=self.lengths.__getitem__)
            batches += [near[at : at + self.batch] for at in range(0, len(near), self.batch)]
        for at in torch.randperm(len(batches), generator=chance).tolist():
            yield from batches[at]
        yield from order[whole:]

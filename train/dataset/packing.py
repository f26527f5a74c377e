"""Pack rows end to end: which rows share a forward pass, and the tensors that the model gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from memoirist.train.dataset.tokenize import IGNORE, TokenRow


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

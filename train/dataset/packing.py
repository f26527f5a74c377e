"""Lay rows end to end: which rows share a forward pass, and what the model is given of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from memoirist.train.dataset.tokenize import IGNORE, Rendered


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
        if fitting:
            chosen = min(fitting, key=room.__getitem__)
            bins[chosen].append(at)
            room[chosen] -= lengths[at]
        else:
            bins.append([at])
            room.append(capacity - lengths[at])
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


def lay(rows: Sequence[Rendered], device: torch.device) -> Pack:
    """Return `rows` end to end; no row's first token is predicted from the row before it."""
    ids, labels, positions = list[int](), list[int](), list[int]()
    for row in rows:
        ids += row.input_ids
        labels += [IGNORE, *row.labels[1:]]
        positions += range(len(row.input_ids))
    # One step to the left: the place before a token predicts it.
    shifted = torch.tensor([*labels[1:], IGNORE])
    places = (shifted != IGNORE).nonzero().flatten()
    return Pack(
        input_ids=torch.tensor([ids], device=device),
        positions=torch.tensor([positions], device=device),
        places=places.to(device),
        targets=shifted[places].to(device),
        lengths=tuple(len(row.input_ids) for row in rows),
    )


def pad_right(rows: Sequence[Rendered], device: torch.device) -> Pack:
    """Return `rows` padded right to the longest: a causal model never looks there."""
    longest = max(len(row.input_ids) for row in rows)
    ids = [[*row.input_ids, *[0] * (longest - len(row.input_ids))] for row in rows]
    labels = [[*row.labels[1:], *[IGNORE] * (longest + 1 - len(row.labels))] for row in rows]
    shifted = torch.tensor(labels).flatten()
    places = (shifted != IGNORE).nonzero().flatten()
    return Pack(
        input_ids=torch.tensor(ids, device=device),
        positions=torch.arange(longest, device=device).expand(len(rows), -1),
        places=places.to(device),
        targets=shifted[places].to(device),
        lengths=(),
    )


def trained_count(rows: Sequence[Rendered]) -> int:
    """Return the tokens that `rows` train; the first of a row is predicted from nothing."""
    return sum(label != IGNORE for row in rows for label in row.labels[1:])

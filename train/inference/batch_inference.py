"""The loss of each row by itself, from which intervals are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy

from memoirist.train.dataset.tokenize import IGNORE, Rendered
from memoirist.train.model.model_loader import (
    LOGIT_BUDGET,
    TOKEN_BUDGET,
    batches_of,
    keeps_logits,
    pad,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class RowLoss:
    """Nats summed over the labelled tokens of one conversation, and the number of these."""

    total: float = 0.0
    tokens: int = 0

    def __add__(self, other: RowLoss) -> RowLoss:
        """Return the loss of two rows together."""
        return RowLoss(total=self.total + other.total, tokens=self.tokens + other.tokens)

    @property
    def mean(self) -> float:
        """Return nats per token, NaN for no token."""
        return self.total / self.tokens if self.tokens else float("nan")


def losses_of(model: PreTrainedModel, rows: Sequence[Rendered]) -> list[RowLoss]:
    """Return the loss of each row, in their order, in batches of bounded memory."""
    found: dict[int, RowLoss] = {}
    budget = min(TOKEN_BUDGET, LOGIT_BUDGET // model.get_input_embeddings().weight.shape[0])
    with torch.inference_mode():
        for batch in batches_of(sorted(rows, key=lambda row: len(row.input_ids)), budget):
            ids, labels = pad(batch, model.device)
            counts = (labels[:, 1:] != IGNORE).sum(dim=1).tolist()
            totals = _totals(model, ids, labels) if sum(counts) else [0.0] * len(batch)
            for row, total, count in zip(batch, totals, counts, strict=True):
                found[id(row)] = RowLoss(total=total, tokens=count)
    return [found[id(row)] for row in rows]


def _totals(model: PreTrainedModel, ids: torch.Tensor, labels: torch.Tensor) -> list[float]:
    """Return the summed loss of each row of a right-padded batch, as `batch_loss` makes it."""
    targets = labels[:, 1:]
    columns = (targets != IGNORE).any(dim=0).nonzero().flatten()
    last = int(columns[-1]) + 1
    if keeps_logits(model):
        logits = model(input_ids=ids[:, :last], logits_to_keep=columns, use_cache=False).logits
    else:
        logits = model(input_ids=ids[:, :last], use_cache=False).logits[:, columns]
    wanted = targets[:, columns]
    losses = cross_entropy(
        logits.float().transpose(1, 2), wanted, ignore_index=IGNORE, reduction="none"
    )
    totals: list[float] = losses.sum(dim=1).tolist()
    return totals

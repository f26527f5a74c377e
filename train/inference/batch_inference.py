"""Losses and answers of a loaded model, in batches of bounded memory."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch.nn.functional import cross_entropy

from memoirist.train.dataset.tokenize import IGNORE, TokenRow

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


T = TypeVar("T")

# Logits of one batch, in numbers: 0.5 GB in float32, whatever the vocabulary.
LOGIT_BUDGET = 2**27
TOKEN_BUDGET = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Negative log-likelihood summed over the trained tokens of some rows, in nats."""

    total: float = 0.0
    tokens: int = 0

    def __add__(self, other: Loss) -> Loss:
        """Return the loss of both together."""
        return Loss(total=self.total + other.total, tokens=self.tokens + other.tokens)

    @property
    def mean(self) -> float:
        """Return nats per trained token, NaN for no token."""
        return self.total / self.tokens if self.tokens else float("nan")


def measure(model: PreTrainedModel, rows: Sequence[TokenRow]) -> Loss:
    """Return the loss over all trained tokens of `rows`."""
    was_training = model.training
    losses = losses_of(model.eval(), rows)
    model.train(was_training)
    return sum(losses, Loss())


def losses_of(model: PreTrainedModel, rows: Sequence[TokenRow]) -> list[Loss]:
    """Return the loss of each row, in their order; `model` is in evaluation mode."""
    losses: dict[int, Loss] = {}
    budget = min(TOKEN_BUDGET, LOGIT_BUDGET // model.get_input_embeddings().weight.shape[0])
    with torch.inference_mode():
        ordered = sorted(rows, key=lambda row: len(row.input_ids))
        for batch in _batches(ordered, [len(row.input_ids) for row in ordered], budget):
            ids, labels = pad(batch, model.device)
            counts = (labels[:, 1:] != IGNORE).sum(dim=1).tolist()
            totals = _row_totals(model, ids, labels[:, 1:]) if sum(counts) else [0.0] * len(batch)
            for row, total, count in zip(batch, totals, counts, strict=True):
                losses[id(row)] = Loss(total=total, tokens=count)
    return [losses[id(row)] for row in rows]


def pad(rows: Sequence[TokenRow], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return input ids and labels of `rows`, padded right to the longest."""
    longest = max(len(row.input_ids) for row in rows)
    ids = [[*row.input_ids, *[0] * (longest - len(row.input_ids))] for row in rows]
    labels = [[*row.labels, *[IGNORE] * (longest - len(row.labels))] for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(labels, device=device)


def greedy(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
) -> list[list[int]]:
    """Return the greedy continuation of each prompt, cut after its end token."""
    model.eval()
    lengths = [len(prompt) + max_new_tokens for prompt in prompts]
    answers: list[list[int]] = []
    for batch in _batches(prompts, lengths, 2 * TOKEN_BUDGET):
        answers += generate(model, tokenizer, batch, max_new_tokens, do_sample=False)
    return answers


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    **sampling: Any,
) -> list[list[int]]:
    """Return the continuation of each prompt in one batch, cut after its end token."""
    longest = max(len(prompt) for prompt in prompts)
    fill = tokenizer.pad_token_id
    # Padded left, so that all answers start at the same column; masked by position, not by id.
    ids = [[fill] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    with torch.inference_mode():
        rows = model.generate(
            input_ids=torch.tensor(ids, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            max_new_tokens=max_new_tokens,
            pad_token_id=fill,
            **sampling,
        )[:, longest:].tolist()
    ends = end_ids(model, tokenizer)
    cuts = (next((at for at, token in enumerate(row) if token in ends), len(row)) for row in rows)
    return [row[: cut + 1] for row, cut in zip(rows, cuts, strict=True)]


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Return the ids that end an answer, as config, generation_config and tokenizer say."""
    ids: set[int] = {int(tokenizer.eos_token_id)}
    for ends in (model.generation_config.eos_token_id, model.config.eos_token_id):
        ids.update([ends] if isinstance(ends, int) else ends or [])
    return ids


def _row_totals(model: PreTrainedModel, ids: torch.Tensor, targets: torch.Tensor) -> list[float]:
    """Return the summed loss of each row of a right-padded batch.

    No attention mask: a causal model never looks right, so padding on that side changes nothing
    and the attention kernel without a mask is the fastest one. Logits are made only for columns
    that some row has a label in; with a large vocabulary they are most of the memory.
    """
    columns = (targets != IGNORE).any(dim=0).nonzero().flatten()
    ids = ids[:, : int(columns[-1]) + 1]
    if "logits_to_keep" in inspect.signature(_plain_model(model).forward).parameters:
        logits = model(input_ids=ids, logits_to_keep=columns, use_cache=False).logits
    else:
        logits = model(input_ids=ids, use_cache=False).logits[:, columns]
    losses = cross_entropy(
        logits.float().transpose(1, 2), targets[:, columns], ignore_index=IGNORE, reduction="none"
    )
    totals: list[float] = losses.sum(dim=1).tolist()
    return totals


def _plain_model(model: Any) -> Any:
    """Return the model below an adapter."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _batches(items: Sequence[T], lengths: Sequence[int], budget: int) -> Iterator[list[T]]:
    """Yield the items in their order, in batches whose padded size stays within `budget`."""
    batch, longest = list[T](), 0
    for item, length in zip(items, lengths, strict=True):
        longest = max(longest, length)
        if batch and (len(batch) + 1) * longest > budget:
            yield batch
            batch, longest = [], length
        batch.append(item)
    if batch:
        yield batch

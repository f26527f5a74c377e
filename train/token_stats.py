"""Count what a training will learn from, before it starts: tokens, rows, steps, passes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from memoirist.data.schema.records import Conversation
from memoirist.train.dataset.batches import (
    StepDataset,
    best_fit,
    effective_batch,
    padded_bins,
    plan_steps,
    trained_count,
)
from memoirist.train.dataset.tokenize import Corpus, TokenRow, build_corpus, show
from memoirist.train.model.model_loader import quiet
from memoirist.train.model.prepared_base import PreparedBase
from memoirist.train.settings import TrainSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPlan:
    """The figures of a training; tokens are the base's own, counted once for an epoch.

    `trained` are the tokens that have a label, `longest` is the longest row, `shortened` counts
    rows that lost their oldest exchanges and `dropped` conversations that do not fit at all.
    `passes` is the number of forward passes in an epoch, None where the micro-batch is not known
    because a GPU's memory will be probed for it.
    """

    rows: int
    held_out: int
    tokens: int
    trained: int
    held_out_tokens: int
    longest: int
    shortened: int
    dropped: int
    steps: int
    epochs: float
    effective_batch: int
    micro_batch: int | None
    passes: int | None
    every: int
    learning_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The rows of a training as token ids, and its figures."""

    plan: TokenPlan
    corpus: Corpus
    base: PreparedBase

    def shown(self, n: int, *, colour: bool) -> list[str]:
        """Return up to `n` rows as text, spread over the train rows, trained tokens marked."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.base.path)
        rows = list(self.corpus.train.items())
        return [
            f"--- {name}: {len(row.input_ids)} tokens, {trained_count([row])} trained\n"
            + show(row, tokenizer, colour=colour)
            for name, row in rows[:: max(1, len(rows) // n)][:n]
        ]


def preview(
    conversations: Iterable[Conversation], base: PreparedBase, settings: TrainSettings
) -> Preview:
    """Tokenize the conversations and count what a training on them would do."""
    quiet()
    from transformers import AutoConfig, AutoTokenizer

    settings = settings.resolved()
    tokenizer = AutoTokenizer.from_pretrained(base.path)
    rows = ({"id": row.id, "split": row.split, **row.training_row} for row in conversations)
    corpus = build_corpus(rows, tokenizer, settings.max_length)
    width = AutoConfig.from_pretrained(base.path).get_text_config().hidden_size
    rate = settings.rate(base.n_parameters, width)
    return Preview(plan=_count(corpus, settings, rate), corpus=corpus, base=base)


def _count(corpus: Corpus, settings: TrainSettings, rate: float) -> TokenPlan:
    rows, held_out = list(corpus.train.values()), list(corpus.validation.values())
    micro = settings.micro_batch or (None if torch.cuda.is_available() else 8)
    plan = plan_steps(settings, rate, corpus, micro or 1) if rows else None
    effective = effective_batch(settings, corpus)
    longest = max((len(row.input_ids) for row in [*rows, *held_out]), default=0)
    passes = None
    if plan and micro:
        steps = StepDataset(rows, effective, plan.steps_per_epoch, settings.seed)
        split = best_fit if settings.packing else padded_bins
        lengths = ([len(row.input_ids) for row in steps[at].rows] for at in range(len(steps)))
        passes = sum(len(split(of_step, micro * longest)) for of_step in lengths)
    return TokenPlan(
        rows=len(rows),
        held_out=len(held_out),
        tokens=_tokens(rows),
        trained=trained_count(rows),
        held_out_tokens=_tokens(held_out),
        longest=longest,
        shortened=corpus.shortened,
        dropped=len(corpus.dropped),
        steps=plan.steps if plan else 0,
        epochs=plan.steps / plan.steps_per_epoch if plan else 0.0,
        effective_batch=effective,
        micro_batch=min(micro, effective) if micro else None,
        passes=passes,
        every=plan.every if plan else 1,
        learning_rate=rate,
    )


def _tokens(rows: Iterable[TokenRow]) -> int:
    return sum(len(row.input_ids) for row in rows)

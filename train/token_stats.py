"""What a training will learn from, counted before it starts: tokens, rows, steps, passes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from memoirist.data.schema.records import Conversation
from memoirist.train.dataset.corpus import Corpus, corpus_of
from memoirist.train.dataset.optimizer_steps import make_plan
from memoirist.train.dataset.order import Steps
from memoirist.train.dataset.packing import best_fit, padded_bins
from memoirist.train.dataset.tokenize import IGNORE, Rendered, show
from memoirist.train.model.model_loader import quiet
from memoirist.train.model.prepared_base import PreparedBase
from memoirist.train.settings import TrainSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPlan:
    """The figures of a training; tokens are the base's own, counted once for an epoch.

    `trained` are the tokens that have a label, `longest` is the longest row, `shortened` counts
    rows that lost their oldest exchanges and `dropped` conversations that do not fit at all.
    `passes` is how often rows go through the model in an epoch; as a GPU's memory is probed for
    the micro-batch, it is None there unless that is set.
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
        chosen = rows[:: max(1, len(rows) // n)][:n]
        return [
            f"--- {name}: {len(row.input_ids)} tokens, {_trained(row)} trained\n"
            + show(row, tokenizer, colour=colour)
            for name, row in chosen
        ]


def preview(
    conversations: Iterable[Conversation], base: PreparedBase, settings: TrainSettings
) -> Preview:
    """Tokenize the conversations and count what a training on them would do."""
    quiet()
    from transformers import AutoConfig, AutoTokenizer

    settings = settings.resolved()
    tokenizer = AutoTokenizer.from_pretrained(base.path)
    asked = ({"id": row.id, "split": row.split, "messages": row.messages} for row in conversations)
    corpus = corpus_of(asked, tokenizer, settings.max_length)
    width = AutoConfig.from_pretrained(base.path).get_text_config().hidden_size
    rate = settings.rate(base.n_parameters, width)
    return Preview(plan=_counted(corpus, settings, rate), corpus=corpus, base=base)


def _counted(corpus: Corpus, settings: TrainSettings, rate: float) -> TokenPlan:
    rows, held_out = list(corpus.train.values()), list(corpus.validation.values())
    micro = settings.micro_batch or (None if _has_gpu() else 8)
    plan = make_plan(settings, rate, corpus, micro or 1) if rows else None
    effective = min(settings.effective_batch, len(rows))
    longest = max((len(row.input_ids) for row in [*rows, *held_out]), default=0)
    return TokenPlan(
        rows=len(rows),
        held_out=len(held_out),
        tokens=_tokens(rows),
        trained=sum(map(_trained, rows)),
        held_out_tokens=_tokens(held_out),
        longest=longest,
        shortened=corpus.shortened,
        dropped=len(corpus.dropped),
        steps=plan.steps if plan else 0,
        epochs=plan.steps / plan.steps_per_epoch if plan else 0.0,
        effective_batch=effective,
        micro_batch=min(micro, effective) if micro else None,
        passes=_passes(rows, plan.steps_per_epoch, micro * longest, settings)
        if plan and micro
        else None,
        every=plan.every if plan else 1,
        learning_rate=rate,
    )


def _passes(rows: Sequence[Rendered], steps: int, capacity: int, settings: TrainSettings) -> int:
    """Return how often rows go through the model in the first epoch: packed, or padded."""
    order = Steps(rows, min(settings.effective_batch, len(rows)), steps, settings.seed)
    cut = best_fit if settings.packing else padded_bins
    return sum(
        len(cut([len(row.input_ids) for row in order[step].rows], capacity))
        for step in range(steps)
    )


def _tokens(rows: Iterable[Rendered]) -> int:
    return sum(len(row.input_ids) for row in rows)


def _trained(row: Rendered) -> int:
    # The first token of a row is predicted from nothing.
    return sum(label != IGNORE for label in row.labels[1:])


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available() and os.environ.get("CUDA_VISIBLE_DEVICES") != ""

"""Held-out loss of base and tuned model on the same conversations, assistant tokens only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from data.nouns import Conversation
from train.models import load_base, measure, quiet
from train.settings import EvaluateSettings
from train.tokens import tokenize


def evaluate(
    model_paths: Mapping[str, Path],
    conversations: Sequence[Conversation],
    settings: EvaluateSettings,
) -> list[tuple[str, float]]:
    """Return figures by name: `nll_NAME` for each model, in nats per answer token.

    Test rows count; where there are none, validation rows do, which training has looked at to
    know when to stop: `on_test` is then 0. An empty list means that there is nothing held out.
    """
    quiet()
    from transformers import AutoTokenizer

    test = [row for row in conversations if row.split == "test"]
    chosen = test or [row for row in conversations if row.split == "validation"]
    figures: dict[str, float] = {}
    for name, path in model_paths.items():
        tokenizer = AutoTokenizer.from_pretrained(path)
        rows = [
            tokenize(row.messages, tokenizer, settings.max_length)
            for row in chosen[: settings.max_conversations]
        ]
        kept = [row for row in rows if row is not None]
        if not kept:
            return []
        loss = measure(load_base(path, "none"), kept)
        figures[f"nll_{name}"] = loss.mean
        figures["answer_tokens"] = float(loss.tokens)
        figures["conversations"] = float(len(kept))
    figures["on_test"] = float(bool(test))
    return list(figures.items())

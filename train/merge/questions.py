"""What base + adapter and merged model are both asked: rows for loss, prompts for answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from memoirist.train.dataset.corpus import read_rows
from memoirist.train.dataset.tokenize import IGNORE, Rendered, prompt_ids
from memoirist.train.settings import MergeSettings, TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


# Asked beside the run's own questions where it has fewer than the check wants.
_PLAIN = (
    "Who are you?",
    "What is your first memory?",
    "Are you really a person?",
    "What would you do differently?",
    "Tell me about your father.",
    "What makes you laugh?",
    "Where did you grow up?",
    "What do you think of money?",
    "Whom do you miss?",
    "What should a young person learn first?",
)


def merge_rows(
    run_folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    trained: TrainSettings,
    settings: MergeSettings,
) -> tuple[list[Rendered], list[list[int]]]:
    """Return the held-out rows of a run and prompts up to the first answer of all its rows.

    Held-out rows decide where there are any, else training rows; test rows stay for the
    evaluation.
    """
    corpus = read_rows(run_folder / "conversations.jsonl", tokenizer, trained.max_length)
    rows = list((corpus.validation or corpus.train).values())[: settings.max_conversations]
    found: list[list[int]] = []
    for row in [*corpus.validation.values(), *corpus.train.values()]:
        opening = _opening(row)
        if opening not in found:
            found.append(opening)
    every = max(1, len(found) // settings.prompts)
    spread = found[::every][: settings.prompts]
    for text in _PLAIN[: settings.prompts - len(spread)]:
        spread.append(prompt_ids([{"role": "user", "content": text}], tokenizer))
    return rows, spread


def _opening(row: Rendered) -> list[int]:
    """Return the ids before the first trained one; of a row trained from its start, a quarter."""
    first = next(at for at, label in enumerate(row.labels) if label != IGNORE)
    if first <= 1:
        first = max(1, min(32, len(row.input_ids) // 4))
    return list(row.input_ids[:first])

"""The rows of a run: its conversations as token ids, checked before a training starts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memoirist.data.schema.errors import TrainError
from memoirist.train.dataset.tokenize import IGNORE, TokenRow, rows_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """The rows of a run by conversation id.

    `dropped` holds the ids of the conversations that do not fit, `shortened` counts the rows that
    lost their oldest exchanges.
    """

    train: dict[str, TokenRow]
    validation: dict[str, TokenRow]
    dropped: tuple[str, ...]
    shortened: int


def read_rows(path: Path, tokenizer: Any, max_length: int) -> Corpus:
    """Tokenize the train and validation conversations in a file; test rows are left out."""
    with path.open(encoding="utf-8") as lines:
        return build_corpus(map(json.loads, lines), tokenizer, max_length)


def build_corpus(
    conversations: Iterable[Mapping[str, Any]], tokenizer: Any, max_length: int
) -> Corpus:
    """Tokenize conversations given by `id`, `split` and `messages`; test rows are left out."""
    splits: dict[str, dict[str, TokenRow]] = {"train": {}, "validation": {}}
    dropped, shortened = [], 0
    for conversation in conversations:
        if conversation["split"] not in splits:
            continue
        rows = rows_of(conversation["messages"], tokenizer, max_length)
        if not rows:
            dropped.append(conversation["id"])
        for number, row in enumerate(rows, start=1):
            name = conversation["id"] if number == 1 else f"{conversation['id']}#{number}"
            shortened += row.shortened > 0
            splits[conversation["split"]][name] = row
    return Corpus(**splits, dropped=tuple(dropped), shortened=shortened)


def preflight(
    train: Mapping[str, TokenRow], held_out: Mapping[str, TokenRow], end_id: int, vocabulary: int
) -> None:
    """Refuse rows from which a model would learn nothing, by the conversation's id.

    Raises TrainError for a row without a trained token, a chat whose last trained token is not
    the end token (the model would never stop), ids beyond the model's `vocabulary`, and rows
    that are both in training and held out.
    """
    if not train:
        raise TrainError(
            "no conversation to train on is left (0 rows)",
            "compose a dataset with train rows first, or raise max_length",
        )
    for name, row in [*train.items(), *held_out.items()]:
        trained = [label for label in row.labels if label != IGNORE]
        if not trained:
            raise TrainError(
                f"conversation {name!r} has no trained token", "give it an assistant turn"
            )
        if row.kind == "chat" and trained[-1] != end_id:
            raise TrainError(
                f"conversation {name!r} ends its training at token {trained[-1]}, not at the end "
                f"token {end_id}",
                "let its last message be the assistant's and fit it by turns",
            )
        if max(row.input_ids) >= vocabulary:
            raise TrainError(
                f"conversation {name!r} has token {max(row.input_ids)}, beyond the vocabulary of "
                f"{vocabulary}",
                "tokenize it with the tokenizer of the prepared base",
            )
    trained_rows = {tuple(row.input_ids): name for name, row in train.items()}
    for name, row in held_out.items():
        if twin := trained_rows.get(tuple(row.input_ids)):
            raise TrainError(
                f"held-out conversation {name!r} is also trained on, as {twin!r}",
                "split the dataset again: its held-out loss would mean nothing",
            )

"""The rows of a run: its conversations as token ids, and those that did not fit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memoirist.train.dataset.tokenize import Rendered, rows_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """The rows of a run by conversation id, and the ids that did not fit."""

    train: dict[str, Rendered]
    validation: dict[str, Rendered]
    dropped: tuple[str, ...]
    shortened: int


def read_rows(path: Path, tokenizer: Any, max_length: int) -> Corpus:
    """Tokenize the train and validation conversations of a run; test rows stay untouched."""
    with path.open(encoding="utf-8") as lines:
        return corpus_of(map(json.loads, lines), tokenizer, max_length)


def corpus_of(
    conversations: Iterable[Mapping[str, Any]], tokenizer: Any, max_length: int
) -> Corpus:
    """Tokenize conversations given by `id`, `split` and `messages`, but for the test rows."""
    rows: dict[str, dict[str, Rendered]] = {"train": {}, "validation": {}}
    dropped, shortened = [], 0
    for conversation in conversations:
        if conversation["split"] not in rows:
            continue
        found = rows_of(conversation["messages"], tokenizer, max_length)
        if not found:
            dropped.append(conversation["id"])
        for number, row in enumerate(found, start=1):
            name = conversation["id"] if number == 1 else f"{conversation['id']}#{number}"
            shortened += row.shortened > 0
            rows[conversation["split"]][name] = row
    return Corpus(
        train=rows["train"],
        validation=rows["validation"],
        dropped=tuple(dropped),
        shortened=shortened,
    )

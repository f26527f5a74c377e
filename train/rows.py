"""The rows of a run: its conversations as token ids, and those that did not fit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.tokens import Rendered, tokenize


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """The rows of a run by conversation id, and the ids that did not fit."""

    train: dict[str, Rendered]
    validation: dict[str, Rendered]
    dropped: tuple[str, ...]
    shortened: int


def read_rows(path: Path, tokenizer: Any, max_length: int) -> Corpus:
    """Tokenize the train and validation conversations of a run; test rows stay untouched."""
    rows: dict[str, dict[str, Rendered]] = {"train": {}, "validation": {}}
    dropped, shortened = [], 0
    for line in path.read_text(encoding="utf-8").splitlines():
        conversation = json.loads(line)
        if conversation["split"] not in rows:
            continue
        row = tokenize(conversation["messages"], tokenizer, max_length)
        if row is None:
            dropped.append(conversation["id"])
            continue
        shortened += row.shortened > 0
        rows[conversation["split"]][conversation["id"]] = row
    return Corpus(
        train=rows["train"],
        validation=rows["validation"],
        dropped=tuple(dropped),
        shortened=shortened,
    )

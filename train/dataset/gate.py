"""The gate before training: rows that would train to nothing are refused."""

from __future__ import annotations

from collections.abc import Mapping

from memoirist.data.schema.errors import TrainError
from memoirist.train.dataset.tokenize import IGNORE, Rendered


def preflight(
    train: Mapping[str, Rendered],
    held_out: Mapping[str, Rendered],
    end_id: int,
    vocabulary: int,
) -> None:
    """Refuse rows that would train to nothing, by the conversation's id.

    Raises TrainError for a row without a trained token, a chat whose last trained token is not
    the end token (the model would never stop), ids beyond the model's `vocabulary`, and rows
    that are in training and held-out alike.
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
    _refuse_overlap(train, held_out)


def _refuse_overlap(train: Mapping[str, Rendered], held_out: Mapping[str, Rendered]) -> None:
    seen = {tuple(row.input_ids): name for name, row in train.items()}
    for name, row in held_out.items():
        twin = seen.get(tuple(row.input_ids))
        if twin is not None:
            raise TrainError(
                f"held-out conversation {name!r} is also trained on, as {twin!r}",
                "split the dataset again: its held-out loss would mean nothing",
            )

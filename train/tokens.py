"""Conversation -> token ids and labels: which tokens are trained, and the gate before it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data.chatml import IM_END, IM_START, segments
from data.errors import TrainError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORE = -100
BOS_PREFIX = "{{- bos_token -}}"

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """One row for the model; `labels` repeats the id of a trained token and is -100 elsewhere.

    `shortened` counts the messages that had to go so that the row fits.
    """

    input_ids: Sequence[int]
    labels: Sequence[int]
    shortened: int = 0


def tokenize(
    messages: Messages, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> Rendered | None:
    """Return `messages` as ids and labels of at most `max_length` tokens, or None.

    Every assistant turn is trained, its end token included. A row that is too long loses its
    oldest exchanges, never its system message or its last answer; None means that even the last
    exchange alone is too long, or that there is no answer.
    """
    for fitted in _ever_shorter(messages):
        row = _encode(fitted, tokenizer)
        if len(row.input_ids) <= max_length:
            trained = any(label != IGNORE for label in row.labels)
            shortened = len(messages) - len(fitted)
            return (
                Rendered(input_ids=row.input_ids, labels=row.labels, shortened=shortened)
                if trained
                else None
            )
    return None


def prompt_ids(messages: Messages, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids that ask for the next answer: a prefix of the row that was trained."""
    text = _bos(tokenizer) + "".join(piece for piece, _ in segments(_harmless(messages, tokenizer)))
    ids: list[int] = tokenizer(f"{text}{IM_START}assistant\n", add_special_tokens=False)[
        "input_ids"
    ]
    return ids


def preflight(
    train: Mapping[str, Rendered],
    held_out: Mapping[str, Rendered],
    end_id: int,
    vocabulary: int,
) -> None:
    """Refuse rows that would train to nothing, by the conversation's id.

    Raises TrainError for a row without a trained token, a row whose last trained token is not
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
        if trained[-1] != end_id:
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


def need_disk(folder: Path, needed_bytes: int) -> None:
    """Raise TrainError when the disk of `folder` has less than `needed_bytes` free."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise TrainError(
            f"the disk of {str(folder)!r} has {free / 2**20:,.0f} MB free and this needs "
            f"{needed_bytes / 2**20:,.0f} MB",
            "free space or use another workspace",
        )


def show(rendered: Rendered, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the row as text for a terminal, trained tokens green and the others grey."""
    runs: list[tuple[bool, list[int]]] = []
    for token, label in zip(rendered.input_ids, rendered.labels, strict=True):
        if not runs or runs[-1][0] != (label != IGNORE):
            runs.append((label != IGNORE, []))
        runs[-1][1].append(token)
    return "".join(
        f"\x1b[{'32' if trained else '90'}m{tokenizer.decode(ids)}\x1b[0m" for trained, ids in runs
    )


def _ever_shorter(messages: Messages) -> Iterator[list[Mapping[str, str]]]:
    """Yield `messages`, then without the oldest exchange, and so on to the last exchange."""
    system = [message for message in messages[:1] if message["role"] == "system"]
    turns = list(messages[len(system) :])
    starts = [at for at, message in enumerate(turns) if message["role"] == "user"]
    yield [*system, *turns]
    for start in starts[1:]:
        # What follows must still hold an answer, or there is nothing to learn from it.
        if any(message["role"] == "assistant" for message in turns[start:]):
            yield [*system, *turns[start:]]


def _encode(messages: Messages, tokenizer: PreTrainedTokenizerBase) -> Rendered:
    """Encode the whole text at once, as every server will, and label by character offsets."""
    text = _bos(tokenizer)
    spans: list[tuple[int, int]] = []
    for piece, trained in segments(_harmless(messages, tokenizer)):
        if trained:
            spans.append((len(text), len(text) + len(piece)))
        text += piece
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids: list[int] = encoded["input_ids"]
    labels = [IGNORE] * len(ids)
    at = 0
    for place, (start, _) in enumerate(encoded["offset_mapping"]):
        while at < len(spans) and start >= spans[at][1]:
            at += 1
        if at < len(spans) and start >= spans[at][0]:
            labels[place] = ids[place]
    return Rendered(input_ids=ids, labels=labels)


def _bos(tokenizer: PreTrainedTokenizerBase) -> str:
    # The template carries the one BOS; the tokenizer is never asked to add it again.
    template = tokenizer.chat_template
    opens = isinstance(template, str) and template.startswith(BOS_PREFIX)
    return str(tokenizer.bos_token) if opens else ""


def _harmless(messages: Messages, tokenizer: PreTrainedTokenizerBase) -> list[dict[str, str]]:
    """Break every special token of this very base inside the words, as `<s>` in a page."""
    # All added ones, not `all_special_tokens`: that leaves out the base's own end token, which
    # stops answers still, and the headers of its own chat format.
    added = tokenizer.added_tokens_decoder.values()
    names = {*tokenizer.all_special_tokens, *(token.content for token in added if token.special)}
    special = sorted(names - {IM_START, IM_END})
    harmless = []
    for message in messages:
        words = message["content"]
        for token in special:
            if len(token) > 1 and token in words:
                words = words.replace(token, f"{token[0]} {token[1:]}")
        harmless.append({"role": message["role"], "content": words})
    return harmless


def _refuse_overlap(train: Mapping[str, Rendered], held_out: Mapping[str, Rendered]) -> None:
    seen = {tuple(row.input_ids): name for name, row in train.items()}
    for name, row in held_out.items():
        twin = seen.get(tuple(row.input_ids))
        if twin is not None:
            raise TrainError(
                f"held-out conversation {name!r} is also trained on, as {twin!r}",
                "split the dataset again: its held-out loss would mean nothing",
            )

"""Conversation -> token ids and labels: which tokens are trained, and the gate before it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from memoirist.data.composition.chatml import IM_END, IM_START, segments
from memoirist.data.schema.errors import TrainError
from memoirist.train.dataset.chat_template import is_native, native_prompt, native_segments

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


IGNORE = -100
BOS_PREFIX = "{{- bos_token -}}"
# Share of a chunk of raw text that repeats the end of the chunk before it, untrained, so that no
# word is trained without the words that lead to it.
OVERLAP = 1 / 8

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """One row for the model; `labels` repeats the id of a trained token and is -100 elsewhere.

    `shortened` counts the messages that had to go so that the row fits; `kind` is `text` for raw
    text to be continued, of which all tokens are trained.
    """

    input_ids: Sequence[int]
    labels: Sequence[int]
    shortened: int = 0
    kind: Literal["chat", "text"] = "chat"


def rows_of(
    messages: Messages, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[Rendered]:
    """Return what `messages` train: one row of a chat, all chunks of a raw text, or nothing."""
    if is_text(messages):
        words = "\n\n".join(message["content"] for message in messages)
        return text_rows(words, tokenizer, max_length)
    row = tokenize(messages, tokenizer, max_length)
    return [] if row is None else [row]


def is_text(messages: Messages) -> bool:
    """Tell whether `messages` are raw text: words that nobody asked for."""
    return bool(messages) and all(message["role"] == "assistant" for message in messages)


def text_rows(text: str, tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[Rendered]:
    """Return raw text as rows of at most `max_length` tokens, the last one with the end token.

    Every token is trained exactly once: what a chunk repeats of the one before is only read.
    """
    words = _broken(text.strip(), _special(tokenizer))
    ids = text_prompt_ids(words, tokenizer)
    first = len(ids) - len(tokenizer(words, add_special_tokens=False)["input_ids"])
    if len(ids) == first:
        return []
    ids.append(int(tokenizer.eos_token_id))
    overlap, rows, at = int(max_length * OVERLAP), [], 0
    while True:
        chunk = ids[at : at + max_length]
        labels = [IGNORE] * first + chunk[first:]
        rows.append(Rendered(input_ids=chunk, labels=labels, kind="text"))
        if at + max_length >= len(ids):
            return rows
        at, first = at + max_length - overlap, overlap


def text_prompt_ids(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids of raw text to be continued, opened as the base opens a text."""
    opening = [int(tokenizer.bos_token_id)] if opens_with_bos(tokenizer) else []
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return [*opening, *ids]


def tokenize(
    messages: Messages, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> Rendered | None:
    """Return `messages` as ids and labels of at most `max_length` tokens, or None.

    Every assistant turn is trained, its end token included. A row that is too long loses its
    oldest exchanges, never its system message or its last answer; None means that even the last
    exchange alone is too long, or that there is no answer. Of raw text the first chunk is
    returned; `rows_of` has them all.
    """
    if is_text(messages):
        return next(iter(rows_of(messages, tokenizer, max_length)), None)
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
    harmless = _harmless(messages, tokenizer)
    if is_native(tokenizer):
        text = native_prompt(harmless, tokenizer)
    else:
        said = "".join(piece for piece, _ in segments(harmless))
        text = f"{_bos(tokenizer)}{said}{IM_START}assistant\n"
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def need_disk(folder: Path, needed_bytes: int) -> None:
    """Raise TrainError when the disk of `folder` has less than `needed_bytes` free."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise TrainError(
            f"the disk of {str(folder)!r} has {free / 2**20:,.0f} MB free and this needs "
            f"{needed_bytes / 2**20:,.0f} MB",
            "free space or use another workspace",
        )


def show(rendered: Rendered, tokenizer: PreTrainedTokenizerBase, *, colour: bool = True) -> str:
    """Return the row as text: trained tokens green, else in double brackets, others grey."""
    runs: list[tuple[bool, list[int]]] = []
    for token, label in zip(rendered.input_ids, rendered.labels, strict=True):
        if not runs or runs[-1][0] != (label != IGNORE):
            runs.append((label != IGNORE, []))
        runs[-1][1].append(token)
    marks = {True: ("\x1b[32m", "\x1b[0m"), False: ("\x1b[90m", "\x1b[0m")}
    if not colour:
        marks = {True: ("\u27e6", "\u27e7"), False: ("", "")}
    return "".join(tokenizer.decode(ids).join(marks[trained]) for trained, ids in runs)


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
    native = is_native(tokenizer)
    text = "" if native else _bos(tokenizer)
    harmless = _harmless(messages, tokenizer)
    spans: list[tuple[int, int]] = []
    for piece, trained in native_segments(harmless, tokenizer) if native else segments(harmless):
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


def opens_with_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Tell whether the tokenizer's chat template begins a text with the BOS."""
    if not is_native(tokenizer):
        return bool(_bos(tokenizer))
    text = native_prompt([{"role": "user", "content": "x"}], tokenizer)
    return tokenizer.bos_token is not None and text.startswith(str(tokenizer.bos_token))


def _harmless(messages: Messages, tokenizer: PreTrainedTokenizerBase) -> list[dict[str, str]]:
    """Break every special token of this very base inside the words, as `<s>` in a page."""
    special = _special(tokenizer)
    if not is_native(tokenizer):
        # In ChatML these two lose their bars, on servers as well: the template sees to it.
        special = [token for token in special if token not in (IM_START, IM_END)]
    return [
        {"role": message["role"], "content": _broken(message["content"], special)}
        for message in messages
    ]


def _special(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    # All added ones, not `all_special_tokens`: that leaves out the base's own end token, which
    # stops answers still, and the headers of its own chat format.
    added = tokenizer.added_tokens_decoder.values()
    return sorted({*tokenizer.all_special_tokens, *(t.content for t in added if t.special)})


def _broken(words: str, special: Sequence[str]) -> str:
    for token in special:
        if len(token) > 1 and token in words:
            words = words.replace(token, f"{token[0]} {token[1:]}")
    return words

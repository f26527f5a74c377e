"""Turn conversations into token ids and labels: the labels say which tokens are trained.

The rows of a run are checked before a training starts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from memoirist.data.composition.chatml import IM_END, IM_START, segments
from memoirist.data.schema.errors import TrainError
from memoirist.data.text.tool_messages import map_texts
from memoirist.train.dataset.chat_template import (
    Messages,
    Tools,
    is_native,
    native_prompt,
    native_segments,
    refuse_tools,
    special_tokens,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORE = -100
BOS_PREFIX = "{{- bos_token -}}"
# Share of a chunk of raw text that repeats the end of the chunk before it, untrained, so that no
# word is trained without the words that lead to it.
OVERLAP = 1 / 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """One row for the model; `labels` repeats the id of a trained token and is -100 elsewhere.

    `shortened` counts the messages that were left out so that the row fits; `kind` is `text` for
    raw text to be continued, of which all tokens are trained.
    """

    input_ids: Sequence[int]
    labels: Sequence[int]
    shortened: int = 0
    kind: Literal["chat", "text"] = "chat"


def rows_of(
    messages: Messages, tokenizer: PreTrainedTokenizerBase, max_length: int, tools: Tools = ()
) -> list[TokenRow]:
    """Return what `messages` train: one row of a chat, all chunks of a raw text, or nothing."""
    if is_text(messages):
        text = "\n\n".join(message["content"] for message in messages)
        return text_rows(text, tokenizer, max_length)
    row = tokenize(messages, tokenizer, max_length, tools)
    return [] if row is None else [row]


def is_text(messages: Messages) -> bool:
    """Tell whether `messages` are raw text: an assistant's words without a question."""
    return bool(messages) and all(message["role"] == "assistant" for message in messages)


def text_rows(text: str, tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[TokenRow]:
    """Return raw text as rows of at most `max_length` tokens, the last one with the end token.

    Every token is trained exactly once: what a chunk repeats of the one before is not labelled.
    """
    text = _defused(text.strip(), special_tokens(tokenizer))
    ids = text_prompt_ids(text, tokenizer)
    first = len(ids) - len(tokenizer(text, add_special_tokens=False)["input_ids"])
    if len(ids) == first:
        return []
    ids.append(int(tokenizer.eos_token_id))
    overlap, rows, at = int(max_length * OVERLAP), [], 0
    while True:
        chunk = ids[at : at + max_length]
        labels = [IGNORE] * first + chunk[first:]
        rows.append(TokenRow(input_ids=chunk, labels=labels, kind="text"))
        if at + max_length >= len(ids):
            return rows
        at, first = at + max_length - overlap, overlap


def text_prompt_ids(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids of raw text to be continued, after the base's BOS if it uses one."""
    bos = [int(tokenizer.bos_token_id)] if opens_with_bos(tokenizer) else []
    return [*bos, *tokenizer(text, add_special_tokens=False)["input_ids"]]


def tokenize(
    messages: Messages, tokenizer: PreTrainedTokenizerBase, max_length: int, tools: Tools = ()
) -> TokenRow | None:
    """Return `messages` as ids and labels of at most `max_length` tokens, or None.

    Every assistant turn is trained, calls of tools and its end token included. A row that is too
    long loses its oldest exchanges, never its system message or its last answer; None means that
    even the last exchange is too long, or that there is no answer. Of raw text the first chunk is
    returned; `rows_of` has them all.
    """
    if is_text(messages):
        return next(iter(rows_of(messages, tokenizer, max_length)), None)
    for turns in _from_longest(messages):
        row = _encode(turns, tokenizer, tools)
        if len(row.input_ids) <= max_length:
            trained = any(label != IGNORE for label in row.labels)
            return replace(row, shortened=len(messages) - len(turns)) if trained else None
    return None


def prompt_ids(messages: Messages, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids that ask for the next answer: a prefix of the row that was trained."""
    turns = _defused_turns(messages, tokenizer)
    if is_native(tokenizer):
        text = native_prompt(turns, tokenizer)
    else:
        conversation = "".join(piece for piece, _ in segments(turns))
        text = f"{_bos(tokenizer)}{conversation}{IM_START}assistant\n"
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def show(row: TokenRow, tokenizer: PreTrainedTokenizerBase, *, colour: bool = True) -> str:
    """Return the row as text: trained tokens green, else in double brackets, others grey."""
    marks = {True: ("\x1b[32m", "\x1b[0m"), False: ("\x1b[90m", "\x1b[0m")}
    if not colour:
        marks = {True: ("\u27e6", "\u27e7"), False: ("", "")}
    pairs = zip(row.input_ids, row.labels, strict=True)
    return "".join(
        tokenizer.decode([token for token, _ in run]).join(marks[trained])
        for trained, run in groupby(pairs, key=lambda pair: pair[1] != IGNORE)
    )


def _from_longest(messages: Messages) -> Iterator[list[Mapping[str, Any]]]:
    """Yield `messages`, then without the oldest exchange, and so on to the last exchange."""
    system = [message for message in messages[:1] if message["role"] == "system"]
    turns = list(messages[len(system) :])
    starts = [at for at, message in enumerate(turns) if message["role"] == "user"]
    yield [*system, *turns]
    for start in starts[1:]:
        # The rest must still hold an answer, or there is nothing to learn from it.
        if any(message["role"] == "assistant" for message in turns[start:]):
            yield [*system, *turns[start:]]


def _encode(messages: Messages, tokenizer: PreTrainedTokenizerBase, tools: Tools) -> TokenRow:
    """Encode the whole text at once, as every server will, and label by character offsets."""
    refuse_tools(messages, tools, tokenizer)
    native = is_native(tokenizer)
    text = "" if native else _bos(tokenizer)
    turns = _defused_turns(messages, tokenizer)
    spans: list[tuple[int, int]] = []
    defused = _defused_json(tools, tokenizer)
    for piece, trained in native_segments(turns, tokenizer, defused) if native else segments(turns):
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
    return TokenRow(input_ids=ids, labels=labels)


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


def _defused_turns(messages: Messages, tokenizer: PreTrainedTokenizerBase) -> list[dict[str, Any]]:
    """Break every special token of this base inside the words, such as `<s>` in a web page."""
    turns: list[dict[str, Any]] = _defused_json(messages, tokenizer)
    return turns


def _defused_json(value: Any, tokenizer: PreTrainedTokenizerBase) -> Any:
    special = special_tokens(tokenizer)
    if not is_native(tokenizer):
        # In ChatML these two lose their bars, on servers as well: the template does that.
        special = [token for token in special if token not in (IM_START, IM_END)]
    return map_texts([dict(each) for each in value], lambda _, text: _defused(text, special))


def _defused(text: str, special: Sequence[str]) -> str:
    for token in special:
        if len(token) > 1 and token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


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
    """Tokenize conversations: `id`, `split`, `messages`, `tools`; test rows are left out."""
    splits: dict[str, dict[str, TokenRow]] = {"train": {}, "validation": {}}
    dropped, shortened = [], 0
    for conversation in conversations:
        if conversation["split"] not in splits:
            continue
        rows = rows_of(
            conversation["messages"], tokenizer, max_length, conversation.get("tools", ())
        )
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

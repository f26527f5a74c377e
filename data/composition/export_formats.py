"""Export conversations in the formats that other trainers read, one conversation a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from memoirist.data.atomic_write import replacing
from memoirist.data.composition.chatml import render
from memoirist.data.schema.records import Conversation
from memoirist.data.text.tool_messages import with_text_arguments

Format = Literal["messages", "chatml", "text", "parquet", "alpaca", "sharegpt"]
_SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt"}


def export(conversations: Sequence[Conversation], form: Format, path: Path) -> int:
    """Write all conversations to `path` or nothing; return the number of lines.

    Alpaca has no turns: each exchange is a line, with the turns before it under `history`. Those
    with tools are left out of all formats but `messages`.
    """
    if form != "messages":
        conversations = [each for each in conversations if not each.tool_turns]
    with replacing(path) as partial:
        if form == "parquet":
            rows = [
                {"id": c.id, "split": c.split, "messages": [*c.messages]} for c in conversations
            ]
            pq.write_table(pa.Table.from_pylist(rows), partial)
            return len(rows)
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            count = 0
            for conversation in conversations:
                for line in _FORMS[form](conversation):
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
                    count += 1
    return count


def _messages(conversation: Conversation) -> Iterable[Mapping[str, Any]]:
    """Yield a conversation as OpenAI's fine-tuning format has it, with its tools."""
    row = conversation.training_row
    messages = [with_text_arguments(message) for message in row["messages"]]
    yield {"messages": messages} | ({"tools": row["tools"]} if row.get("tools") else {})


def _text(conversation: Conversation) -> Iterable[Mapping[str, Any]]:
    """Yield a raw text unchanged, a conversation as ChatML."""
    roles = {message["role"] for message in conversation.messages}
    if roles == {"assistant"}:
        yield from ({"text": message["content"]} for message in conversation.messages)
    else:
        yield {"text": render(conversation.messages)}


def _alpaca(conversation: Conversation) -> Iterable[Mapping[str, Any]]:
    system = question = ""
    history: list[list[str]] = []
    for message in conversation.messages:
        if message["role"] == "system":
            system = message["content"]
        elif message["role"] == "user":
            question = message["content"]
        else:
            answer = message["content"]
            yield {
                "instruction": question,
                "input": "",
                "output": answer,
                "system": system,
                "history": [list(turn) for turn in history],
            }
            history.append([question, answer])


def _sharegpt(conversation: Conversation) -> Iterable[Mapping[str, Any]]:
    turns = [{"from": _SHAREGPT[m["role"]], "value": m["content"]} for m in conversation.messages]
    yield {"id": conversation.id, "conversations": turns}


_FORMS: dict[str, Callable[[Conversation], Iterable[Mapping[str, Any]]]] = {
    "messages": _messages,
    "chatml": lambda conversation: [{"text": render(conversation.messages)}],
    "text": _text,
    "sharegpt": _sharegpt,
    "alpaca": _alpaca,
}

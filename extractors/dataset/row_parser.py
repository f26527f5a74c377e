"""Rows -> exchanges, one row at a time: for each kind of schema, what its columns mean."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from memoirist.extractors.dataset.chat_messages import (
    Reading,
    Turn,
    as_text,
    check_text,
    conversation,
    messages,
    text_of,
    turn_of,
)
from memoirist.extractors.dataset.dataset_schema import CHATML, MARKS, Kind, Schema, own_schema
from memoirist.extractors.dataset.row_chunks import BadRow
from memoirist.extractors.dataset.trees import best_path

Row = Mapping[str, Any]
_APART = "give it a file of its own, or --text-as completion to train on texts as they stand"
_MARKED = {
    "system": "system",
    "human": "asked",
    "user": "asked",
    "instruction": "asked",
    "input": "asked",
    "assistant": "answered",
    "gpt": "answered",
    "bot": "answered",
    "response": "answered",
}


def read_row(row: object, schema: Schema) -> Reading:
    """Return what a row holds; raise the BadRow that it is, or that it turns out to be."""
    if isinstance(row, BadRow):
        raise row
    if schema.kind == "messages" and isinstance(row, list):
        return messages(row, Counter())
    if not isinstance(row, Mapping):
        raise BadRow("row_shape", f"it is no JSON object but {type(row).__name__}")
    if row.get("label") is False:
        raise BadRow("row_rejected", "its maker labelled the answer as a bad one")
    own = own_schema(row, schema)
    if own is None:
        return _READERS[schema.kind](row, schema)
    if schema.others == "none":
        raise BadRow("row_shape", f"it is no raw text as the others; {_APART}")
    return _READERS[own.kind](row, replace(own, others=schema.others))


def _flat(row: Row, schema: Schema) -> Reading:
    columns = schema.columns
    question = _needed(row, columns["question"])
    context = as_text(row, columns["context"]) if "context" in columns else None
    if context:
        question = f"{question}\n{context}"
    answer = row.get(columns["answer"])
    notes: Counter[str] = Counter()
    if isinstance(answer, list):  # a preferred answer as messages
        turns = [turn_of(each, at, notes) for at, each in enumerate(answer)]
        told = [turn.text for turn in turns if turn.side == "answered"]
        answer = told[-1] if told else None
    text = answer if isinstance(answer, str) else as_text(row, columns["answer"])
    if not text or not text.strip():
        raise BadRow("row_empty", f"its {columns['answer']!r} is empty")
    check_text(text, repr(columns["answer"]))
    before = _history(row.get(columns["history"])) if "history" in columns else []
    system = as_text(row, columns["system"]) if "system" in columns else None
    return Reading([*before, (question, text)], system, notes)


def _needed(row: Row, column: str) -> str:
    if column not in row:
        raise BadRow("row_shape", f"it has no {column!r} (its columns: {_names(row)})")
    text = as_text(row, column)
    if text is None:
        raise BadRow("row_empty", f"its {column!r} is empty")
    return text


def _names(row: Row) -> str:
    return ", ".join(map(str, row))[:80]


def _history(value: object) -> list[tuple[str | None, str]]:
    """Return the exchanges before, as Alpaca's `history` holds them."""
    if not isinstance(value, list):
        return []
    found: list[tuple[str | None, str]] = []
    for at, each in enumerate(value):
        if not isinstance(each, list) or len(each) != 2:
            raise BadRow("row_shape", f"exchange {at + 1} of its history is no pair")
        where = f"exchange {at + 1} of its history"
        found.append((text_of(each[0], where), text_of(each[1], where)))
    return found


def _messages(row: Row, schema: Schema) -> Reading:
    column = schema.columns["messages"]
    if not isinstance(row.get(column), list):
        raise BadRow("row_shape", f"it has no list {column!r} (its columns: {_names(row)})")
    return messages(row[column], Counter(), _system(row, schema))


def _system(row: Row, schema: Schema) -> str | None:
    """Return the row's system prompt, the tools that it may call under it."""
    system = as_text(row, schema.columns["system"]) if "system" in schema.columns else None
    tools = row.get("tools") if "tools" in schema.columns else None
    if isinstance(tools, str) and tools.strip() not in {"", "[]"}:
        return f"{system}\n\nTools: {tools}" if system else f"Tools: {tools}"
    return system


def _preference(row: Row, schema: Schema) -> Reading:
    """Read the preferred answer alone; the rejected one teaches nothing here."""
    notes: Counter[str] = Counter()
    chosen = row.get(schema.columns["chosen"])
    column = schema.columns["messages"]
    if column == schema.columns["chosen"]:
        if not isinstance(chosen, list):
            raise BadRow("row_shape", f"it has no list {column!r} (its columns: {_names(row)})")
        turns = [turn_of(each, at, notes) for at, each in enumerate(chosen)]
        if "question" in schema.columns and all(turn.side != "asked" for turn in turns):
            turns.insert(0, Turn("asked", _needed(row, schema.columns["question"])))
        return conversation(turns, notes, _system(row, schema))
    if not isinstance(row.get(column), list):
        raise BadRow("row_shape", f"it has no list {column!r} (its columns: {_names(row)})")
    turns = [turn_of(each, at, notes) for at, each in enumerate(row[column])]
    told = chosen if isinstance(chosen, list) else [chosen]
    for each in told:
        if isinstance(each, str):
            turns.append(Turn("answered", text_of(each, "the chosen answer")))
        else:
            turns.append(turn_of(each, len(turns), notes))
    return conversation(turns, notes, _system(row, schema))


def _tree(row: Row, schema: Schema) -> Reading:
    root = row.get("prompt")
    if not isinstance(root, Mapping):
        raise BadRow("row_shape", "it has no tree under 'prompt'")
    return best_path(root, Counter())


def _tasks(row: Row, schema: Schema) -> Reading:
    """Read a self-instruct task; its instances are exchanges of their own, not one dialogue."""
    question = _needed(row, "instruction")
    instances = row.get("instances")
    if not isinstance(instances, list) or not instances:
        raise BadRow("row_shape", "it has no list 'instances'")
    exchanges: list[tuple[str | None, str]] = []
    for at, each in enumerate(instances, start=1):
        if not isinstance(each, Mapping):
            raise BadRow("row_shape", f"its instance {at} is no JSON object")
        context, answer = as_text(each, "input"), as_text(each, "output")
        if answer is None:
            raise BadRow("row_empty", f"the output of its instance {at} is empty")
        exchanges.append((f"{question}\n{context}" if context else question, answer))
    return Reading(exchanges, apart=True)


def _marked(row: Row, schema: Schema) -> Reading:
    """Read a conversation that was rendered as text, with ChatML's or Guanaco's marks."""
    text = _needed(row, schema.columns["text"])
    notes: Counter[str] = Counter()
    if "<|im_start|>" in text:
        found = [(role.lower(), words.strip()) for role, words in CHATML.findall(text)]
        turns = [
            turn_of({"role": role, "content": words}, at, notes)
            for at, (role, words) in enumerate(found)
        ]
        return conversation(turns, notes)
    marks = list(MARKS.finditer(text))
    if not marks:
        return _text(row, schema)
    turns = []
    for at, mark in enumerate(marks):
        end = marks[at + 1].start() if at + 1 < len(marks) else len(text)
        side = _MARKED[(mark.group(1) or mark.group(2)).lower()]
        words = text_of(text[mark.end() : end].strip(), f"turn {at + 1}")
        turns.append(Turn(side, words))  # type: ignore[arg-type]
    return conversation(turns, notes)


def _text(row: Row, schema: Schema) -> Reading:
    if schema.others == "asked":
        raise BadRow("row_shape", f"it is a raw text among exchanges; {_APART}")
    return Reading([(None, _needed(row, schema.columns["text"]))], None)


_READERS: dict[Kind, Callable[[Row, Schema], Reading]] = {
    "flat": _flat,
    "messages": _messages,
    "preference": _preference,
    "tree": _tree,
    "branches": lambda row, _: best_path(row, Counter()),
    "tasks": _tasks,
    "marked": _marked,
    "text": _text,
}

_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")
# What templates of persona datasets leave open; any other braces may be code.
_KNOWN = {"name", "author"}


def filled(reading: Reading, values: Mapping[str, str]) -> Reading:
    """Return the reading with `{{name}}` and its like filled in; BadRow for a missing value."""

    def fill(text: str) -> str:
        def value(match: re.Match[str]) -> str:
            name = match.group(1).lower()
            if values.get(name):
                return values[name]
            if name in _KNOWN:
                raise BadRow("row_placeholder", f"nothing is said for {match.group()}")
            return match.group()

        return _PLACEHOLDER.sub(value, text) if "{{" in text else text

    exchanges = [(None if q is None else fill(q), fill(a)) for q, a in reading.exchanges]
    system = fill(reading.system) if reading.system else reading.system
    return Reading(exchanges, system, reading.notes, reading.apart)


def canonical(reading: Reading) -> str:
    """Return the reading as one text, by whose hash a conversation is known."""
    return json.dumps([reading.system, reading.exchanges], ensure_ascii=False)

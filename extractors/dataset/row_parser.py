"""Parse one row of a dataset into exchanges, by what its schema's columns mean."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from memoirist.extractors.dataset.chat_messages import (
    ParsedRow,
    Side,
    Turn,
    best_path,
    check_text,
    pair_turns,
    parse_messages,
    text_of,
    turn_of,
)
from memoirist.extractors.dataset.dataset_schema import CHATML, MARKS, Kind, Schema, own_schema
from memoirist.extractors.dataset.row_chunks import BadRow

Row = Mapping[str, Any]
_OWN_FILE = "give it a file of its own, or --text-as completion to train on texts as they stand"
_MARK_SIDES: dict[str, Side] = {
    "system": "system",
    **dict.fromkeys(("human", "user", "instruction", "input"), "asked"),
    **dict.fromkeys(("assistant", "gpt", "bot", "response"), "answered"),
}
_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")
# The placeholders of persona datasets; any other braces may be code.
_PLACEHOLDERS = {"name", "author"}


def parse_row(row: object, schema: Schema) -> ParsedRow:
    """Return what a row holds; raise the BadRow that it is, or that it turns out to be."""
    if isinstance(row, BadRow):
        raise row
    if schema.kind == "messages" and isinstance(row, list):
        return parse_messages(row)
    if not isinstance(row, Mapping):
        raise BadRow("row_shape", f"it is no JSON object but {type(row).__name__}")
    if row.get("label") is False:
        raise BadRow("row_rejected", "its maker labelled the answer as a bad one")
    own = own_schema(row, schema)
    if own is None:
        return _PARSERS[schema.kind](row, schema)
    if schema.others == "none":
        raise BadRow("row_shape", f"it is no raw text as the others; {_OWN_FILE}")
    return _PARSERS[own.kind](row, replace(own, others=schema.others))


def parse_filled_row(row: object, schema: Schema, values: Mapping[str, str]) -> ParsedRow:
    """Return what a row holds, the placeholders filled in; raise BadRow for any fault of it."""
    try:
        return _fill(parse_row(row, schema), values)
    except BadRow:
        raise
    except (TypeError, ValueError, KeyError, IndexError, RecursionError) as fault:
        # Rows come from anywhere: an unknown shape is a fault of its row.
        raise BadRow("row_shape", f"it has an odd shape ({type(fault).__name__})") from fault


def canonical(row: ParsedRow) -> str:
    """Return the row as one text, whose hash identifies its conversation."""
    return json.dumps([row.system, row.exchanges], ensure_ascii=False)


def _fill(row: ParsedRow, values: Mapping[str, str]) -> ParsedRow:
    """Return the row with `{{name}}` and its like filled in; BadRow for a missing value."""

    def value(match: re.Match[str]) -> str:
        name = match[1].lower()
        if not values.get(name) and name in _PLACEHOLDERS:
            raise BadRow("row_placeholder", f"nothing is said for {match.group()}")
        return values.get(name) or match.group()

    def fill(text: str) -> str:
        return _PLACEHOLDER.sub(value, text) if "{{" in text else text

    exchanges = [(None if q is None else fill(q), fill(a)) for q, a in row.exchanges]
    return replace(row, exchanges=exchanges, system=row.system and fill(row.system))


def _text_at(row: Row, column: str | None) -> str | None:
    """Return a column's text, None where it is empty; raise BadRow where it is no text."""
    value = row.get(column) if column else None
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, bool | int | float):
        return str(value)
    if not isinstance(value, str):
        raise BadRow("row_shape", f"{column!r} is no text but {type(value).__name__}")
    check_text(value, repr(column))
    return value


def _required_text(row: Row, column: str) -> str:
    if column not in row:
        raise BadRow("row_shape", f"it has no {column!r} (its columns: {_names(row)})")
    text = _text_at(row, column)
    if text is None:
        raise BadRow("row_empty", f"its {column!r} is empty")
    return text


def _required_list(row: Row, column: str) -> list[Any]:
    value = row.get(column)
    if not isinstance(value, list):
        raise BadRow("row_shape", f"it has no list {column!r} (its columns: {_names(row)})")
    return value


def _names(row: Row) -> str:
    return ", ".join(map(str, row))[:80]


def _turns(messages: Sequence[object], notes: Counter[str]) -> list[Turn]:
    return [turn_of(message, at, notes) for at, message in enumerate(messages)]


def _flat(row: Row, schema: Schema) -> ParsedRow:
    columns = schema.columns
    question = _with_context(_required_text(row, columns["question"]), row, columns.get("context"))
    answer = row.get(columns["answer"])
    notes: Counter[str] = Counter()
    if isinstance(answer, list):  # a preferred answer as messages
        answers = [turn.text for turn in _turns(answer, notes) if turn.side == "answered"]
        answer = answers[-1] if answers else None
    text = answer if isinstance(answer, str) else _text_at(row, columns["answer"])
    if not text or not text.strip():
        raise BadRow("row_empty", f"its {columns['answer']!r} is empty")
    check_text(text, repr(columns["answer"]))
    history = _history(row.get(columns["history"])) if "history" in columns else []
    return ParsedRow([*history, (question, text)], _text_at(row, columns.get("system")), notes)


def _with_context(question: str, row: Row, column: str | None) -> str:
    context = _text_at(row, column)
    return f"{question}\n{context}" if context else question


def _history(value: object) -> list[tuple[str | None, str]]:
    """Return the exchanges before, as Alpaca's `history` holds them."""
    exchanges: list[tuple[str | None, str]] = []
    for at, pair in enumerate(value if isinstance(value, list) else []):
        where = f"exchange {at + 1} of its history"
        if not isinstance(pair, list) or len(pair) != 2:
            raise BadRow("row_shape", f"{where} is no pair")
        exchanges.append((text_of(pair[0], where), text_of(pair[1], where)))
    return exchanges


def _messages(row: Row, schema: Schema) -> ParsedRow:
    messages = _required_list(row, schema.columns["messages"])
    return parse_messages(messages, _system(row, schema))


def _system(row: Row, schema: Schema) -> str | None:
    """Return the row's system prompt, the tools that it may call under it."""
    system = _text_at(row, schema.columns.get("system"))
    tools = row.get("tools") if "tools" in schema.columns else None
    if isinstance(tools, str) and tools.strip() not in {"", "[]"}:
        return f"{system}\n\nTools: {tools}" if system else f"Tools: {tools}"
    return system


def _preference(row: Row, schema: Schema) -> ParsedRow:
    """Parse the preferred answer alone; the rejected one teaches nothing here."""
    notes: Counter[str] = Counter()
    columns = schema.columns
    turns = _turns(_required_list(row, columns["messages"]), notes)
    if columns["messages"] == columns["chosen"]:
        if "question" in columns and all(turn.side != "asked" for turn in turns):
            turns.insert(0, Turn("asked", _required_text(row, columns["question"])))
        return pair_turns(turns, notes, _system(row, schema))
    chosen = row.get(columns["chosen"])
    for answer in chosen if isinstance(chosen, list) else [chosen]:
        if isinstance(answer, str):
            turns.append(Turn("answered", text_of(answer, "the chosen answer")))
        else:
            turns.append(turn_of(answer, len(turns), notes))
    return pair_turns(turns, notes, _system(row, schema))


def _tree(row: Row, schema: Schema) -> ParsedRow:
    root = row.get("prompt")
    if not isinstance(root, Mapping):
        raise BadRow("row_shape", "it has no tree under 'prompt'")
    return best_path(root)


def _tasks(row: Row, schema: Schema) -> ParsedRow:
    """Parse a self-instruct task; its instances are exchanges of their own, not one dialogue."""
    question = _required_text(row, "instruction")
    instances = row.get("instances")
    if not isinstance(instances, list) or not instances:
        raise BadRow("row_shape", "it has no list 'instances'")
    exchanges: list[tuple[str | None, str]] = []
    for number, instance in enumerate(instances, start=1):
        if not isinstance(instance, Mapping):
            raise BadRow("row_shape", f"its instance {number} is no JSON object")
        answer = _text_at(instance, "output")
        if answer is None:
            raise BadRow("row_empty", f"the output of its instance {number} is empty")
        exchanges.append((_with_context(question, instance, "input"), answer))
    return ParsedRow(exchanges, apart=True)


def _marked(row: Row, schema: Schema) -> ParsedRow:
    """Parse a conversation that is rendered as text, with ChatML's or Guanaco's marks."""
    text = _required_text(row, schema.columns["text"])
    notes: Counter[str] = Counter()
    if "<|im_start|>" in text:
        messages = [
            {"role": role.lower(), "content": content.strip()}
            for role, content in CHATML.findall(text)
        ]
        return pair_turns(_turns(messages, notes), notes)
    marks = list(MARKS.finditer(text))
    if not marks:
        return _text(row, schema)
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    turns = [
        Turn(
            _MARK_SIDES[(mark[1] or mark[2]).lower()],
            text_of(text[mark.end() : end].strip(), f"turn {number}"),
        )
        for number, (mark, end) in enumerate(zip(marks, ends, strict=True), start=1)
    ]
    return pair_turns(turns, notes)


def _text(row: Row, schema: Schema) -> ParsedRow:
    if schema.others == "asked":
        raise BadRow("row_shape", f"it is a raw text among exchanges; {_OWN_FILE}")
    return ParsedRow([(None, _required_text(row, schema.columns["text"]))])


_PARSERS: dict[Kind, Callable[[Row, Schema], ParsedRow]] = {
    "flat": _flat,
    "messages": _messages,
    "preference": _preference,
    "tree": _tree,
    "branches": lambda row, _: best_path(row),
    "tasks": _tasks,
    "marked": _marked,
    "text": _text,
}

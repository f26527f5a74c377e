"""Parse the rows of a dataset into exchanges, by what the columns of its schema mean.

A row's messages are turns of one side or the other; of a tree of messages the best path is taken.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from memoirist.data.text.tool_messages import map_json
from memoirist.extractors.dataset.dataset_schema import (
    CHATML,
    MARKS,
    Kind,
    Schema,
    broken_list,
    own_schema,
    structured,
)
from memoirist.extractors.dataset.json_values import BadRow
from memoirist.extractors.dataset.message_turns import (
    SIDES,
    ParsedRow,
    Side,
    Turn,
    answer_in,
    check_text,
    pair_turns,
    text_of,
    turns_in,
    turns_of,
)
from memoirist.extractors.dataset.tool_calls import whole_row

Row = Mapping[str, Any]
Node = Mapping[str, Any]
_HAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_SPACED = re.compile(rf"(?<=[{_HAN}，。！？、；：…“”（）]) +| +(?=[{_HAN}，。！？、；：…“”（）])")
_OWN_FILE = "put it into its own file, or train on texts as they are with --text-as completion"
_MARK_SIDES: dict[str, Side] = {
    "system": "system",
    **dict.fromkeys(("human", "user", "instruction", "input"), "asked"),
    **dict.fromkeys(("assistant", "gpt", "bot", "response"), "answered"),
    "function response": "tool",
}
_GLAIVE_END = "<|endoftext|>"
_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")
# The placeholders of persona datasets; any other braces may be code.
_PLACEHOLDERS = {"name", "author"}


def parse_row(row: object, schema: Schema) -> ParsedRow:
    """Return what a row holds; raise the BadRow that it is, or that it turns out to be."""
    if isinstance(row, BadRow):
        raise row
    if schema.kind == "messages" and isinstance(row, list):
        return _conversation(row, {}, schema)
    if not isinstance(row, Mapping):
        raise BadRow("row_shape", f"it is not a JSON object ({type(row).__name__})")
    if row.get("label") is False:
        raise BadRow("row_rejected", "the dataset labels the answer as bad")
    row = structured(row, schema.columns.get("messages"))
    own = own_schema(row, schema)
    if own is None:
        return _PARSERS[schema.kind](row, schema)
    if schema.others == "none":
        raise BadRow("row_shape", f"it is not raw text as the other rows are; {_OWN_FILE}")
    return _PARSERS[own.kind](row, replace(own, others=schema.others, tools=schema.tools))


def parse_filled_row(row: object, schema: Schema, values: Mapping[str, str]) -> ParsedRow:
    """Return what a row holds, the placeholders filled in; raise BadRow for any fault of it."""
    try:
        return _fill(parse_row(row, schema), values)
    except BadRow:
        raise
    except (TypeError, ValueError, KeyError, IndexError, RecursionError) as fault:
        # Rows come from anywhere: an unknown shape is a fault of its row.
        raise BadRow(
            "row_shape", f"its structure is not understood ({type(fault).__name__})"
        ) from fault


def canonical(row: ParsedRow) -> str:
    """Return the row as one text, whose hash identifies its conversation."""
    return json.dumps([row.system, row.exchanges], ensure_ascii=False)


def _fill(row: ParsedRow, values: Mapping[str, str]) -> ParsedRow:
    """Return the row with `{{name}}` and its like filled in; BadRow for a missing value."""

    def value(match: re.Match[str]) -> str:
        name = match[1].lower()
        if not values.get(name) and name in _PLACEHOLDERS:
            raise BadRow("row_placeholder", f"the placeholder {match.group()} has no value")
        return values.get(name) or match.group()

    def fill(text: str) -> str:
        return _PLACEHOLDER.sub(value, text) if "{{" in text else text

    exchanges = [(None if q is None else fill(q), fill(a)) for q, a in row.exchanges]
    whole = row.tool_turns and map_json(row.tool_turns, lambda _, text: fill(text))
    system = row.system and fill(row.system)
    return replace(row, exchanges=exchanges, system=system, tool_turns=whole)


def _text_at(row: Row, column: str | None) -> str | None:
    """Return a column's text, None where it is empty; raise BadRow where it is no text."""
    value = row.get(column) if column else None
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, bool | int | float):
        return str(value)
    if not isinstance(value, str):
        raise BadRow("row_shape", f"{column!r} is not text ({type(value).__name__})")
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
    if reason := broken_list(value):
        raise BadRow("row_broken", f"its {column!r} {reason}")
    if not isinstance(value, list):
        raise BadRow("row_shape", f"it has no list {column!r} (its columns: {_names(row)})")
    return value


def _names(row: Row) -> str:
    return ", ".join(map(str, row))[:80]


def _turns(messages: Sequence[object], notes: Counter[str]) -> list[Turn]:
    return [turn for at, message in enumerate(messages) for turn in turns_of(message, at, notes)]


def _flat(row: Row, schema: Schema) -> ParsedRow:
    columns = schema.columns
    question = _with_context(_required_text(row, columns["question"]), row, columns.get("context"))
    answer = row.get(columns["answer"])
    notes: Counter[str] = Counter()
    turns = _history(row.get(columns["history"]), notes) if "history" in columns else []
    turns.append(Turn("asked", question))
    if isinstance(answer, list):  # a preferred answer as messages
        turns += [turn for turn in _turns(answer, notes) if turn.side == "answered"][-1:]
    else:
        text = answer if isinstance(answer, str) else _text_at(row, columns["answer"])
        if not text or not text.strip():
            raise BadRow("row_empty", f"its {columns['answer']!r} is empty")
        check_text(text, repr(columns["answer"]))
        turns += turns_in("answered", text, notes)
    return pair_turns(turns, notes, _text_at(row, columns.get("system")))


def _with_context(question: str, row: Row, column: str | None) -> str:
    context = _text_at(row, column)
    return f"{question}\n{context}" if context else question


def _history(value: object, notes: Counter[str]) -> list[Turn]:
    """Return the turns before, as Alpaca's `history` holds them."""
    turns: list[Turn] = []
    for at, pair in enumerate(value if isinstance(value, list) else []):
        where = f"exchange {at + 1} of its history"
        if not isinstance(pair, list) or len(pair) != 2:
            raise BadRow("row_shape", f"{where} is not a pair of question and answer")
        turns.append(Turn("asked", text_of(pair[0], where)))
        turns += turns_in("answered", text_of(pair[1], where), notes)
    return turns


def _messages(row: Row, schema: Schema) -> ParsedRow:
    return _conversation(_required_list(row, schema.columns["messages"]), row, schema)


def _conversation(messages: list[Any], row: Row, schema: Schema) -> ParsedRow:
    system = _text_at(row, schema.columns.get("system"))
    whole = whole_row(messages, row, system) if schema.tools else None
    return whole or parse_messages(messages, system)


def _preference(row: Row, schema: Schema) -> ParsedRow:
    """Parse the preferred answer alone; the rejected one teaches nothing here."""
    notes: Counter[str] = Counter()
    columns = schema.columns
    turns = _turns(_required_list(row, columns["messages"]), notes)
    if columns["messages"] == columns["chosen"]:
        if "question" in columns and all(turn.side != "asked" for turn in turns):
            turns.insert(0, Turn("asked", _required_text(row, columns["question"])))
        return pair_turns(turns, notes, _text_at(row, schema.columns.get("system")))
    chosen = row.get(columns["chosen"])
    for answer in chosen if isinstance(chosen, list) else [chosen]:
        if isinstance(answer, str):
            turns += turns_in("answered", text_of(answer, "the chosen answer"), notes)
        else:
            turns += turns_of(answer, len(turns), notes)
    return pair_turns(turns, notes, _text_at(row, schema.columns.get("system")))


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
    notes: Counter[str] = Counter()
    for number, instance in enumerate(instances, start=1):
        if not isinstance(instance, Mapping):
            raise BadRow("row_shape", f"its instance {number} is not a JSON object")
        answer = _text_at(instance, "output")
        if answer is None:
            raise BadRow("row_empty", f"the output of its instance {number} is empty")
        exchanges.append((_with_context(question, instance, "input"), answer_in(answer, notes)))
    return ParsedRow(exchanges, notes=+notes, apart=True)


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
    turns: list[Turn] = []
    for number, (mark, end) in enumerate(zip(marks, ends, strict=True), start=1):
        side = _MARK_SIDES[(mark[1] or mark[2] or mark[3]).lower()]
        if side == "tool":
            notes["tool_turns"] += 1
            turns.append(Turn(side, ""))
            continue
        words = text_of(text[mark.end() : end].replace(_GLAIVE_END, "").strip(), f"turn {number}")
        turns += turns_in(side, words, notes)
    return pair_turns(turns, notes, _text_at(row, schema.columns.get("system")))


def _text(row: Row, schema: Schema) -> ParsedRow:
    if schema.others == "asked":
        raise BadRow("row_shape", f"it is raw text among exchanges; {_OWN_FILE}")
    notes: Counter[str] = Counter()
    text = answer_in(_required_text(row, schema.columns["text"]), notes)
    return ParsedRow([(None, text)], notes=+notes)


def parse_messages(value: object, system: str | None = None) -> ParsedRow:
    """Return the exchanges of a list of messages, of pairs, or of texts that take turns."""
    if not isinstance(value, list):
        raise BadRow("row_shape", f"its turns are not a list ({type(value).__name__})")
    notes: Counter[str] = Counter()
    turns: list[Turn] = []
    for at, message in enumerate(value):
        if isinstance(message, str):
            text = _without_token_spaces(text_of(message, f"turn {at + 1}"))
            turns += turns_in("answered" if at % 2 else "asked", text, notes)
        elif isinstance(message, Mapping) and "human" in message and "assistant" in message:
            where = f"exchange {at + 1}"
            turns += turns_in("asked", text_of(message["human"], where), notes)
            turns += turns_in("answered", text_of(message["assistant"], where), notes)
        else:
            turns += turns_of(message, at, notes)
    return pair_turns(turns, notes, system)


def _without_token_spaces(text: str) -> str:
    """Return a Chinese text without the spaces that a tokenizer set between its characters."""
    parts = text.split(" ")
    n_single = sum(len(part) == 1 for part in parts)
    if len(parts) > 2 and n_single >= 0.8 * len(parts) and re.search(f"[{_HAN}]", text):
        return _SPACED.sub("", text)
    return text


def best_path(root: Node) -> ParsedRow:
    """Return the conversation that takes the best reply at each message of an OASST tree.

    Deleted replies are passed over; unranked ones come after all ranked ones (0 is best).
    """
    notes: Counter[str] = Counter()
    turns: list[Turn] = []
    for at, node in enumerate(_path(root), start=1):
        text = node.get("text")
        if not isinstance(text, str) or not text.strip():
            raise BadRow("row_empty", f"message {at} has no text content")
        check_text(text, f"message {at}")
        role = node.get("role")
        if role not in {"prompter", "assistant"}:
            raise BadRow("row_role", f"message {at} has the unknown role {role!r}")
        turns += turns_in(SIDES[role], text, notes)
    return pair_turns(turns, notes)


def _path(root: Node) -> Iterator[Node]:
    node: Node | None = root
    while node is not None:
        yield node
        replies = [reply for reply in node.get("replies") or () if not reply.get("deleted")]
        node = min(replies, key=_rank, default=None)


def _rank(reply: Node) -> tuple[bool, float]:
    rank = reply.get("rank")
    return rank is None, float(rank or 0)


def build_trees(rows: Iterable[tuple[int, object]]) -> Iterator[tuple[int, object]]:
    """Yield each root of a file of single messages with its replies under it.

    A message whose parent is missing, and one that is on no best path, is a fault of its row.
    """
    nodes: dict[str, dict[str, Any]] = {}
    numbers: dict[str, int] = {}
    for number, row in rows:
        if not isinstance(row, Mapping) or not row.get("message_id"):
            fault = row if isinstance(row, BadRow) else BadRow("row_shape", "it has no message_id")
            yield number, fault
            continue
        name = str(row["message_id"])
        nodes[name] = {**row, "replies": list(row.get("replies") or ())}
        numbers[name] = number
    roots: list[str] = []
    orphans: set[str] = set()
    for name, node in nodes.items():
        parent = node.get("parent_id")
        if not parent:
            roots.append(name)
        elif str(parent) in nodes:
            nodes[str(parent)]["replies"].append(node)
        else:
            orphans.add(name)
    used = {str(node["message_id"]) for name in roots for node in _path(nodes[name])}
    for name in nodes.keys() - used:
        if name in orphans:
            yield numbers[name], BadRow("row_order", "its parent message is missing")
        else:
            yield numbers[name], BadRow("row_passed_over", "another reply was ranked above it")
    for name in roots:
        yield numbers[name], nodes[name]


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

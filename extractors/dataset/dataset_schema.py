"""Detect the schema of a dataset from its rows, or take it from the user's map of columns."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.extractors.dataset.json_values import MEND, BadRow, reason_of, value_of
from memoirist.extractors.word_tables import table

Kind = Literal["flat", "messages", "preference", "tree", "branches", "tasks", "marked", "text"]
# The parts that `--map PART=COLUMN` can name.
PARTS = ("system", "question", "context", "answer", "messages", "text")
# Column names by part.
_SYSTEM, _QUESTION, _CONTEXT, _ANSWER, _MESSAGES, _TEXT = (
    tuple(table("dataset_schema")[part].split())
    for part in ("system", "question", "context", "answer", "messages", "text")
)
# Kinds whose rows may have another schema each, and the parts that a row of the kind must have.
_MIXED = ("flat", "messages", "preference", "marked", "text")
_REQUIRED = ("messages", "question", "answer", "text")
CHATML = re.compile(r"<\|im_start\|>\s*(\w+)\s*\n(.*?)(?:<\|im_end\|>|(?=<\|im_start\|>)|\Z)", re.S)
# Guanaco's, Anthropic's and Glaive's marks; a turn ends at the next mark.
MARKS = re.compile(
    r"(?:^|\s+|(?=### ))(?:### ?)?(System|Human|User|Assistant|GPT|Bot): ?(?=\S)|"
    r"(?:^|\n)(USER|ASSISTANT|FUNCTION RESPONSE): ?(?=\S)|"
    r"(?:^|\n)### (Instruction|Input|Response):\s*\n"
)
_ANSWER_MARKS = re.compile(r"Assistant:|### Response:|^ASSISTANT:", re.MULTILINE)
# Columns that may hold lists of messages; tables of texts hold them as JSON or as Python's repr.
_STRUCTURED = (*_MESSAGES, "chosen", "rejected", "completion", "prompt", "history", "instances")
_LIST = re.compile(r"\s*(?:array\()?\[\s*(?:[\[{\"'(]|array\()")
_SPEAKER, _TIME = (
    tuple(table("dataset_schema")["chat"][part].split()) for part in ("speaker", "time")
)
_EMPTY: tuple[object, ...] = (None, "", [])


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """How the rows of one source are read: its name, its kind, and the column of each part.

    `others` tells which rows with another schema are read: all, those that ask something (a raw
    text becomes a question's answer only in a file of its own), or none. With `tools`, calls of
    tools and their results are kept.
    """

    name: str
    kind: Kind
    columns: Mapping[str, str]
    others: Literal["all", "asked", "none"] = "all"
    tools: bool = False

    def __str__(self) -> str:
        """Return the name and the columns, as the extract line shows them."""
        return f"schema {self.name}: {', '.join(dict.fromkeys(self.columns.values()))}"


def detect(sample: Sequence[object], given: Mapping[str, str], where: str) -> Schema:
    """Return the schema of a sample of a source's rows; `given` names columns by part.

    Raise SourceUnreadable where the columns fit no schema, with their names.
    """
    if sum(isinstance(row, list) for row in sample) * 2 > len(sample):
        return Schema(name="turns", kind="messages", columns={"messages": "(the row itself)"})
    column = given.get("messages")
    rows = [structured(row, column) for row in sample if isinstance(row, Mapping)]
    if not rows:
        bad = isinstance(sample[0], BadRow)
        reason = f"row 1: {sample[0]}" if bad else "none of its rows is an object"
        raise SourceUnreadable(f"no row of {where!r} can be used: {reason}", MEND)
    if given:
        return _given_schema(given, rows, where)
    counts = Counter(key for row in rows for key, value in row.items() if value not in _EMPTY)
    example: dict[str, object] = {}
    for name, n in counts.items():
        if n * 20 >= len(rows):
            values = [row[name] for row in rows if row.get(name) not in _EMPTY]
            lists = [v for v in values if isinstance(v, list)] if name in _STRUCTURED else []
            example[str(name)] = (lists or values)[0]
    known = {str(name) for row in rows for name in row}
    _refuse_broken_lists(example, where)
    schema = _tree(example) or _turns(example) or _flat(example, known) or _text(example)
    if schema is None:
        names = ", ".join(sorted(known)) or "none"
        raise _unknown(where, f"its columns ({names[:160]}) match no known schema")
    if schema.kind == "text" and any(_is_chatml(row.get(schema.columns["text"])) for row in rows):
        return replace(schema, name="chatml", kind="marked")
    if schema.kind == "text":
        _refuse_chat(rows, example, where)
    return schema


def structured(row: Mapping[Any, Any], column: str | None = None) -> Mapping[Any, Any]:
    """Return a row with its lists of messages as lists where they are text; `column` is one too."""
    lists = {}
    for name in (*_STRUCTURED, column):
        value = row.get(name)
        if isinstance(value, str) and _LIST.match(value):
            try:
                lists[name] = value_of(value)
            except (ValueError, RecursionError):
                continue
    return {**row, **lists} if lists else row


def broken_list(value: object) -> str | None:
    """Return why a text that looks like a list of messages is none, None for all others."""
    if not isinstance(value, str) or not _LIST.match(value):
        return None
    try:
        value_of(value)
    except (ValueError, RecursionError) as fault:
        at = f", at character {fault.colno}" if isinstance(fault, json.JSONDecodeError) else ""
        return f"is neither JSON nor a Python list ({reason_of(fault)}{at})"
    return None


def _refuse_broken_lists(example: Mapping[str, object], where: str) -> None:
    """Raise SourceUnreadable where messages are text that no row gives as a list."""
    for name in _MESSAGES:
        if reason := broken_list(example.get(name)):
            step = "write that column as JSON, as json.dumps does"
            raise SourceUnreadable(f"no row of {where!r} can be used: its {name!r} {reason}", step)


def _refuse_chat(
    rows: Sequence[Mapping[Any, Any]], example: Mapping[str, object], where: str
) -> None:
    """Raise SourceUnreadable where the texts are messages of several people, with their times."""
    speaker, time = _first(_SPEAKER, example), _first(_TIME, example)
    if speaker and time and len({str(row.get(speaker)) for row in rows}) > 1:
        raise SourceUnreadable(
            f"no row of {where!r} can be used: its {speaker!r} and {time!r} make it a chat",
            "give an export that is read (Telegram, Discord, Facebook, WeChat as JSON, WhatsApp as"
            " text), or write each message as a line `Name: text`",
        )


def _is_chatml(value: object) -> bool:
    return isinstance(value, str) and "<|im_start|>" in value


def own_schema(row: Mapping[Any, Any], schema: Schema) -> Schema | None:
    """Return the schema of a row without the columns of its source's schema, None for other rows.

    The user's map of columns holds for every row.
    """
    required = {schema.columns[part] for part in _REQUIRED if part in schema.columns}
    example = {str(name): value for name, value in row.items() if value not in _EMPTY}
    if schema.kind not in _MIXED or schema.name == "given" or example.keys() >= required:
        return None
    own = _turns(example) or _flat(example, set(example))
    if own is None and not example.keys() & {*_QUESTION, *_MESSAGES}:
        own = _text(example)
        if own is not None and own.columns["text"] not in _TEXT:
            return None  # a column of any name may be a title or a note
    return own


def _tree(example: Mapping[str, object]) -> Schema | None:
    root = example.get("prompt")
    if isinstance(root, Mapping) and "replies" in root:
        return Schema(name="oasst tree", kind="tree", columns={"messages": "prompt"})
    if "message_id" in example and "role" in example and "text" in example:
        return Schema(name="oasst messages", kind="branches", columns={"messages": "text"})
    if "instruction" in example and isinstance(example.get("instances"), list):
        columns = {"question": "instruction", "answer": "instances"}
        return Schema(name="self-instruct", kind="tasks", columns=columns)
    return None


def _turns(example: Mapping[str, object]) -> Schema | None:
    lists = [name for name, value in example.items() if isinstance(value, list)]
    column = _first((*_MESSAGES, "completion", "chosen"), lists)
    if column is None:
        return None
    columns = {"messages": column}
    if example.get("chosen") is not None:
        columns["chosen"] = "chosen"
    if column == "chosen" and isinstance(example.get("prompt"), str):
        columns["question"] = "prompt"
    system = _first(_SYSTEM, example)
    if system and isinstance(example.get(system), str):
        columns["system"] = system
    if "chosen" in columns:
        return Schema(name="preference", kind="preference", columns=columns)
    return Schema(name=_messages_name(example[column]), kind="messages", columns=columns)


def _messages_name(value: object) -> str:
    first = value[0] if isinstance(value, list) and value else None
    if not isinstance(first, Mapping):
        return "turns"
    names = {"from": "sharegpt", "human": "human/assistant", "message": "role/message"}
    return next((name for key, name in names.items() if key in first), "messages")


def _flat(example: Mapping[str, object], known: set[str]) -> Schema | None:
    texts = {name: value for name, value in example.items() if isinstance(value, str)}
    answer = _first(_ANSWER, texts)
    question = _first([name for name in _QUESTION if name != answer], texts)
    if question is None and answer == "summary" and "content" in texts:
        question = "content"
    if answer is None and question == "prompt" and "text" in texts:
        answer = "text"
    if question is None or answer is None:
        return None
    system = _first(_SYSTEM, known)
    context = _first(_CONTEXT, known) if question == "instruction" else None
    history = "history" if isinstance(example.get("history"), list) else None
    columns = {
        part: name
        for part, name in (
            *(("system", system), ("question", question), ("context", context)),
            *(("answer", answer), ("history", history)),
        )
        if name
    }
    return Schema(name=_flat_name(columns), kind="flat", columns=columns)


def _flat_name(columns: Mapping[str, str]) -> str:
    question, answer = columns["question"], columns["answer"]
    if question == "instruction" and answer == "output":
        return "alpaca"
    if (columns.get("system"), question, answer) == ("system_prompt", "question", "response"):
        return "openorca"
    return "preference" if answer == "chosen" else f"{question}/{answer}"


def _text(example: Mapping[str, object]) -> Schema | None:
    texts = {name: value for name, value in example.items() if isinstance(value, str)}
    column = _first((*_TEXT, "chosen"), texts) or (next(iter(texts)) if len(texts) == 1 else None)
    if column is None:
        return None
    columns = {"text": column}
    text = texts[column]
    if _is_chatml(text):
        return Schema(name="chatml", kind="marked", columns=columns)
    if len(MARKS.findall(text)) >= 2 and _ANSWER_MARKS.search(text):
        system = _first(_SYSTEM, [name for name in texts if name != column])
        if system:
            columns["system"] = system
        return Schema(name="marked text", kind="marked", columns=columns)
    return None if column == "chosen" else Schema(name="text", kind="text", columns=columns)


def _given_schema(
    given: Mapping[str, str], rows: Sequence[Mapping[Any, Any]], where: str
) -> Schema:
    known = sorted({str(name) for row in rows for name in row})
    for part, column in given.items():
        if part not in PARTS:
            raise SourceUnreadable(
                f"--map: unknown part {part!r}", f"the parts are {', '.join(PARTS)}"
            )
        if column not in known:
            raise SourceUnreadable(
                f"--map {part}={column}: {where!r} has no column {column!r}",
                f"its columns are {', '.join(known)}",
            )
    kinds: dict[Kind, set[str]] = {
        "messages": {"messages"},
        "text": {"text"},
        "flat": {"question", "answer"},
    }
    kind = next((kind for kind, parts in kinds.items() if given.keys() >= parts), None)
    if kind is None:
        raise SourceUnreadable(
            f"--map maps only {', '.join(given)} of {where!r}",
            "map question and answer, or messages, or text",
        )
    return Schema(name="given", kind=kind, columns=dict(given))


def _first(names: Sequence[str], known: Iterable[str]) -> str | None:
    return next((name for name in names if name in known), None)


def _unknown(where: str, reason: str) -> SourceUnreadable:
    return SourceUnreadable(
        f"no row of {where!r} can be used: {reason}",
        "name the columns: --map question=COLUMN --map answer=COLUMN, or --map messages=COLUMN",
    )

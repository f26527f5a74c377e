"""The schemas of datasets: found from the rows, or from what the user says of the columns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.extractors.dataset.row_chunks import BadRow

Kind = Literal["flat", "messages", "preference", "tree", "branches", "tasks", "marked", "text"]
# The parts that `--map PART=COLUMN` can name.
PARTS = ("system", "question", "context", "answer", "messages", "text")
# Column names by part, the likelier first; from the hub schemas that trainers list.
_SYSTEM = ("system_prompt", "system", "system_message", "sys_prompt")
_QUESTION = ("instruction", "question", "prompt", "query", "problem", "human", "user", "input")
_CONTEXT = ("input", "context")
_ANSWER = (
    "response",
    "output",
    "answer",
    "completion",
    "target",
    "assistant",
    "gpt",
    "chosen",
    "reply",
    "solution",
    "summary",
    "text",
)
_MESSAGES = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns", "chat")
_TEXT = ("text", "content", "raw_content", "document", "body", "completion")
# Whose rows may stand among those of another shape, and the parts without which they do not.
_MIXING = ("flat", "messages", "preference", "marked", "text")
_NEEDED = ("messages", "question", "answer", "text")
CHATML = re.compile(r"<\|im_start\|>\s*(\w+)\s*\n(.*?)(?:<\|im_end\|>|(?=<\|im_start\|>)|\Z)", re.S)
# Guanaco's and Anthropic's marks; a turn goes on to the next mark.
MARKS = re.compile(
    r"(?:^|\s+|(?=### ))(?:### ?)?(System|Human|User|Assistant|GPT|Bot): ?(?=\S)|"
    r"(?:^|\n)### (Instruction|Input|Response):\s*\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """How the rows of one source are read: a name, a way, and the column of each part.

    `others` tells which rows of another shape are read by their own: all, those that ask something
    (a raw text becomes a question's answer only in a file of its own), or none.
    """

    name: str
    kind: Kind
    columns: Mapping[str, str]
    others: Literal["all", "asked", "none"] = "all"

    def __str__(self) -> str:
        """Return the name and the columns, as the extract line shows them."""
        return f"schema {self.name}: {', '.join(dict.fromkeys(self.columns.values()))}"


def detect(sampled: Sequence[object], given: Mapping[str, str], where: str) -> Schema:
    """Return the schema of some of a source's rows; `given` names columns by part.

    Raise SourceUnreadable where the columns say nothing, with their names.
    """
    lists = [row for row in sampled if isinstance(row, list)]
    if len(lists) * 2 > len(sampled):
        return Schema(name="turns", kind="messages", columns={"messages": "(the row itself)"})
    rows = [row for row in sampled if isinstance(row, Mapping)]
    if not rows:
        told = f"row 1: {sampled[0]}" if isinstance(sampled[0], BadRow) else "no row is an object"
        raise _unknown(where, told)
    if given:
        return _as_given(given, rows, where)
    filled = Counter(k for row in rows for k, v in row.items() if v not in (None, "", []))
    columns = {str(name) for name, n in filled.items() if n * 20 >= len(rows)}
    example = {name: _example(rows, name) for name in columns}
    known = {str(name) for row in rows for name in row}
    found = _tree(example) or _turns(example) or _flat(example, known) or _text(example)
    if found is None:
        names = ", ".join(sorted(known)) or "none"
        raise _unknown(where, f"its columns ({names[:160]}) fit no schema that is known")
    if found.kind == "text" and any(_is_chatml(row.get(found.columns["text"])) for row in rows):
        return replace(found, name="chatml", kind="marked")
    return found


def _is_chatml(value: object) -> bool:
    return isinstance(value, str) and "<|im_start|>" in value


def own_schema(row: Mapping[Any, Any], schema: Schema) -> Schema | None:
    """Return the schema of a row that lacks the columns of its source's, None where it has none.

    What the user has said of the columns holds for every row.
    """
    needed = [schema.columns[part] for part in _NEEDED if part in schema.columns]
    example = {str(name): value for name, value in row.items() if value not in (None, "", [])}
    if schema.kind not in _MIXING or schema.name == "given" or example.keys() >= set(needed):
        return None
    found = _turns(example) or _flat(example, set(example))
    if found is None and not example.keys() & {*_QUESTION, *_MESSAGES}:
        found = _text(example)
        if found is not None and found.columns["text"] not in _TEXT:
            return None  # a column of any name may be a title or a note
    return found


def _example(rows: Sequence[Mapping[Any, Any]], column: str) -> object:
    return next((row[column] for row in rows if row.get(column) not in (None, "", [])), None)


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
    named = [name for name in _MESSAGES if isinstance(example.get(name), list)]
    if not named:
        named = [n for n in ("completion", "chosen") if isinstance(example.get(n), list)]
    if not named:
        return None
    column = named[0]
    columns = {"messages": column}
    chosen = example.get("chosen")
    if chosen is not None and column != "chosen":
        columns["chosen"] = "chosen"
    if column == "chosen":
        columns["chosen"] = "chosen"
        if isinstance(example.get("prompt"), str):
            columns["question"] = "prompt"
    columns |= {
        part: name
        for part, name in (("system", _first(_SYSTEM, example)), ("tools", "tools"))
        if name and isinstance(example.get(name), str)
    }
    kind: Kind = "preference" if "chosen" in columns else "messages"
    return Schema(name=_turns_name(example[column], kind), kind=kind, columns=columns)


def _turns_name(value: object, kind: Kind) -> str:
    first = value[0] if isinstance(value, list) and value else None
    if kind == "preference":
        return "preference"
    if isinstance(first, Mapping):
        if "from" in first:
            return "sharegpt"
        if "human" in first:
            return "human/assistant"
        return "role/message" if "message" in first else "messages"
    return "turns"


def _flat(example: Mapping[str, object], known: set[str]) -> Schema | None:
    texts = {name: value for name, value in example.items() if isinstance(value, str)}
    answer = _first([n for n in _ANSWER if n != "text"], texts)
    question = _first([n for n in _QUESTION if n != answer], texts)
    if question is None and answer == "summary" and "content" in texts:
        question = "content"
    if answer is None and question == "prompt" and "text" in texts:
        answer = "text"
    if question is None or answer is None:
        return None
    columns = {"question": question, "answer": answer}
    context = _first([n for n in _CONTEXT if n != question], dict.fromkeys(known, ""))
    if context and isinstance(texts.get(context, ""), str) and question == "instruction":
        columns["context"] = context
    system = _first(_SYSTEM, dict.fromkeys(known, ""))
    if system:
        columns["system"] = system
    if isinstance(example.get("history"), list):
        columns["history"] = "history"
    order = ("system", "question", "context", "answer", "history")
    columns = {part: columns[part] for part in order if part in columns}
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
    value = texts[column]
    if _is_chatml(value):
        return Schema(name="chatml", kind="marked", columns={"text": column})
    if len(MARKS.findall(value)) >= 2 and re.search(r"Assistant:|### Response:", value):
        return Schema(name="marked text", kind="marked", columns={"text": column})
    return (
        None if column == "chosen" else Schema(name="text", kind="text", columns={"text": column})
    )


def _as_given(given: Mapping[str, str], rows: Sequence[Mapping[Any, Any]], where: str) -> Schema:
    known = sorted({str(name) for row in rows for name in row})
    for part, column in given.items():
        if part not in PARTS:
            raise SourceUnreadable(
                f"--map names the unknown part {part!r}", f"the parts are {', '.join(PARTS)}"
            )
        if column not in known:
            raise SourceUnreadable(
                f"--map {part}={column}: {where!r} has no column {column!r}",
                f"its columns are {', '.join(known)}",
            )
    if "messages" in given:
        return Schema(name="given", kind="messages", columns=dict(given))
    if "text" in given:
        return Schema(name="given", kind="text", columns=dict(given))
    if "question" in given and "answer" in given:
        return Schema(name="given", kind="flat", columns=dict(given))
    raise SourceUnreadable(
        f"--map says only {', '.join(given)} of {where!r}",
        "name question and answer, or messages, or text",
    )


def _first(names: Sequence[str], among: Mapping[str, object]) -> str | None:
    return next((name for name in names if name in among), None)


def _unknown(where: str, why: str) -> SourceUnreadable:
    return SourceUnreadable(
        f"no row of {where!r} can be used: {why}",
        "say which column is what: --map question=COLUMN --map answer=COLUMN, or messages=COLUMN",
    )

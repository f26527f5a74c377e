"""Turns -> exchanges: who asks, who answers, and what breaks the order of a conversation."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal

from memoirist.extractors.dataset.row_chunks import BadRow

Side = Literal["system", "asked", "answered"]
_SIDES: dict[str, Side] = {
    "system": "system",
    "developer": "system",
    "user": "asked",
    "human": "asked",
    "prompter": "asked",
    "instruction": "asked",
    "question": "asked",
    "customer": "asked",
    "observation": "asked",
    "tool": "asked",
    "function": "asked",
    "ipython": "asked",
    "function_response": "asked",
    "tool_response": "asked",
    "assistant": "answered",
    "gpt": "answered",
    "chatgpt": "answered",
    "bot": "answered",
    "chatbot": "answered",
    "model": "answered",
    "ai": "answered",
    "answer": "answered",
    "function_call": "answered",
    "tool_call": "answered",
}
_TOOLS = {"observation", "tool", "function", "ipython", "function_response", "tool_response"} | {
    "function_call",
    "tool_call",
}
_HAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_SPACED = re.compile(rf"(?<=[{_HAN}，。！？、；：…“”（）]) +| +(?=[{_HAN}，。！？、；：…“”（）])")
_MEDIA = re.compile(r"<(?:image|audio|video)>")


@dataclass(slots=True)
class Turn:
    """One turn; `learn` is False where the dataset gives it no weight."""

    side: Side
    text: str
    learn: bool = True


@dataclass(slots=True)
class Reading:
    """What a row holds: its exchanges as (question, answer), the system prompt, and flags.

    A raw text has the question None. Exchanges that stand `apart` are no conversation.
    """

    exchanges: list[tuple[str | None, str]]
    system: str | None = None
    notes: Counter[str] = field(default_factory=Counter)
    apart: bool = False


def turn_of(message: object, at: int, notes: Counter[str]) -> Turn:
    """Return one message of any schema as a turn; raise BadRow where it breaks the schema."""
    where = f"message {at + 1}"
    if not isinstance(message, Mapping):
        raise BadRow("row_shape", f"{where} is no JSON object")
    role = next((message[k] for k in ("role", "from", "speaker") if k in message), None)
    side = _SIDES.get(str(role).strip().lower())
    if side is None:
        raise BadRow("row_role", f"{where} has the unknown role {role!r}")
    if str(role).strip().lower() in _TOOLS:
        notes["tool_turns"] += 1
    content = next(
        (message[k] for k in ("content", "value", "message", "text") if k in message), None
    )
    calls = message.get("tool_calls") or message.get("function_call")
    if content in (None, "") and calls:
        notes["tool_turns"] += 1
        content = json.dumps(calls, ensure_ascii=False)
    weight = message.get("weight", message.get("loss_weight"))
    return Turn(side, text_of(content, where), learn=weight is None or float(weight) > 0)


def text_of(content: object, where: str) -> str:
    """Return the text of a message; a list's text parts are joined by line breaks."""
    if isinstance(content, list):
        parts: list[str] = []
        for part in content:
            if isinstance(part, Mapping):
                kind = part.get("type", "text")
                if kind not in {"text", "input_text", "output_text"}:
                    raise BadRow("row_media", f"{where} holds {kind!r}, and only text can be used")
                part = next((part[k] for k in ("text", "value", "content") if k in part), None)
            if isinstance(part, str):
                parts.append(part)
        content = "\n".join(parts)
    if not isinstance(content, str) or not content.strip():
        raise BadRow("row_empty", f"{where} has no text content")
    check_text(content, where)
    return content


def check_text(text: str, where: str) -> None:
    """Raise BadRow for a text that cannot be stored or speaks of a picture that is not there."""
    try:
        text.encode()
    except UnicodeEncodeError as fault:
        raise BadRow("row_broken", f"{where} holds bytes that are not UTF-8") from fault
    if _MEDIA.search(text):
        raise BadRow("row_media", f"{where} speaks of a picture or a sound that is not here")


def conversation(turns: Sequence[Turn], notes: Counter[str], system: str | None = None) -> Reading:
    """Return the exchanges of the turns.

    Turns of one side in a row are joined. Raise BadRow for a system message that is not the
    first, a conversation that the assistant begins, and one without an answer.
    """
    exchanges: list[tuple[str | None, str]] = []
    opened = False
    sides = [(side, list(run)) for side, run in groupby(turns, key=lambda turn: turn.side)]
    asked: list[Turn] = []
    for side, run in sides:
        at = next(n for n, turn in enumerate(turns, start=1) if turn is run[0])
        if side == "system":
            if opened or system or len(run) > 1:
                late = at if opened or system else at + 1
                raise BadRow("row_system", f"message {late} is a system message, not the first")
            system = run[0].text
        elif side == "asked":
            asked = run
        elif not asked:
            raise BadRow("row_order", f"message {at}: the assistant begins, unasked")
        else:
            notes["joined_turns"] += len(asked) - 1 + len(run) - 1
            if all(turn.learn for turn in run):
                exchanges.append((_joined(asked), _joined(run)))
            else:
                notes["untrained"] += 1
            asked = []
        opened = True
    if not exchanges:
        raise BadRow("row_no_answer", "it has no assistant turn to learn")
    notes["unanswered"] += bool(asked)
    return Reading(exchanges, system, +notes)


def _joined(turns: Sequence[Turn]) -> str:
    return "\n\n".join(turn.text for turn in turns)


def messages(value: object, notes: Counter[str], system: str | None = None) -> Reading:
    """Return the exchanges of a list of messages, of pairs, or of texts that take turns."""
    if not isinstance(value, list):
        raise BadRow("row_shape", f"its turns are no list but {type(value).__name__}")
    turns: list[Turn] = []
    for at, each in enumerate(value):
        if isinstance(each, str):
            text = despaced(text_of(each, f"turn {at + 1}"))
            turns.append(Turn("answered" if at % 2 else "asked", text))
        elif isinstance(each, Mapping) and "human" in each and "assistant" in each:
            where = f"exchange {at + 1}"
            turns.append(Turn("asked", text_of(each["human"], where)))
            turns.append(Turn("answered", text_of(each["assistant"], where)))
        else:
            turns.append(turn_of(each, at, notes))
    return conversation(turns, notes, system)


def despaced(text: str) -> str:
    """Return a Chinese text without the spaces that a tokenizer set between its characters."""
    parts = text.split(" ")
    single = sum(len(part) == 1 for part in parts)
    if len(parts) > 2 and single >= 0.8 * len(parts) and re.search(f"[{_HAN}]", text):
        return _SPACED.sub("", text)
    return text


def as_text(row: Mapping[str, Any], column: str) -> str | None:
    """Return a column's text, None where it is empty; raise BadRow where it is no text."""
    value = row.get(column)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, bool | int | float):
        return str(value)
    if not isinstance(value, str):
        raise BadRow("row_shape", f"{column!r} is no text but {type(value).__name__}")
    check_text(value, repr(column))
    return value

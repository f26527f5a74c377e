"""Read the messages of a dataset as turns of either side, and pair the turns to exchanges."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal

from memoirist.data.text.thoughts import without_thoughts
from memoirist.extractors.dataset.row_chunks import BadRow
from memoirist.extractors.word_tables import table

Side = Literal["system", "asked", "answered"]
_TABLE = table("dataset_schema")
_ROLES = {kind: names.split() for kind, names in _TABLE["roles"].items()}
_TOOLS = {*_ROLES["tool_results"], *_ROLES["tool_calls"]}
SIDES: dict[str, Side] = {
    **dict.fromkeys(_ROLES["system"], "system"),
    **dict.fromkeys([*_ROLES["asked"], *_ROLES["tool_results"]], "asked"),
    **dict.fromkeys([*_ROLES["answered"], *_ROLES["tool_calls"]], "answered"),
}
_THOUGHT_KEYS = _TABLE["thoughts"]["keys"].split()
_THOUGHT_PARTS = frozenset(_TABLE["thoughts"]["parts"].split())
_TEXT_PARTS = frozenset({"text", "input_text", "output_text"})
_MEDIA = re.compile(r"<(?:image|audio|video)>")


@dataclass(slots=True)
class Turn:
    """One turn; `learn` is False where the dataset gives it no weight.

    An answer without text was nothing but a thought.
    """

    side: Side
    text: str
    learn: bool = True


@dataclass(slots=True)
class ParsedRow:
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
    role = first_value(message, ("role", "from", "speaker"))
    name = str(role).strip().lower()
    if name not in SIDES:
        raise BadRow("row_role", f"{where} has the unknown role {role!r}")
    if name in _TOOLS:
        notes["tool_turns"] += 1
    content = first_value(message, ("content", "value", "message", "text"))
    calls = message.get("tool_calls") or message.get("function_call")
    if content in (None, "") and calls:
        notes["tool_turns"] += 1
        content = json.dumps(calls, ensure_ascii=False)
    weight = message.get("weight", message.get("loss_weight"))
    learn = weight is None or float(weight) > 0
    if SIDES[name] != "answered":
        return Turn(SIDES[name], text_of(content, where), learn)
    return Turn("answered", _answer_of(message, content, where, notes), learn)


def _answer_of(message: Mapping[Any, Any], content: object, where: str, notes: Counter[str]) -> str:
    """Return what a message of the assistant says, nothing where it only thinks."""
    n_thoughts = int(any(message.get(key) for key in _THOUGHT_KEYS))
    if isinstance(content, list):
        said = [part for part in content if not _is_thought(part)]
        n_thoughts += len(content) - len(said)
        content = said
    notes["thoughts"] += n_thoughts
    if n_thoughts and not (content.strip() if isinstance(content, str) else content):
        return ""
    return said_in(text_of(content, where), notes)


def _is_thought(part: object) -> bool:
    return isinstance(part, Mapping) and (
        part.get("type") in _THOUGHT_PARTS or part.get("thought") is True
    )


def said_in(text: str, notes: Counter[str]) -> str:
    """Return an answer without its thoughts, which are counted in `notes`."""
    said, n_thoughts = without_thoughts(text)
    notes["thoughts"] += n_thoughts
    return said


def answer_in(text: str, notes: Counter[str]) -> str:
    """Return the answer of a row that holds one; raise BadRow where it only thinks."""
    said = said_in(text, notes)
    if not said:
        raise _only_thoughts()
    return said


def _only_thoughts() -> BadRow:
    return BadRow("row_thought", "its answer is nothing but a thought")


def first_value(message: Mapping[Any, Any], keys: Sequence[str]) -> Any:  # noqa: ANN401
    """Return the value of the first of the keys that the message has."""
    return next((message[key] for key in keys if key in message), None)


def text_of(content: object, where: str) -> str:
    """Return the text of a message; a list's text parts are joined by line breaks."""
    if isinstance(content, list):
        parts: list[str] = []
        for part in content:
            if isinstance(part, Mapping):
                kind = part.get("type", "text")
                if kind not in _TEXT_PARTS:
                    raise BadRow("row_media", f"{where} holds {kind!r}, and only text can be used")
                part = first_value(part, ("text", "value", "content"))
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


def pair_turns(turns: Sequence[Turn], notes: Counter[str], system: str | None = None) -> ParsedRow:
    """Return the exchanges of the turns.

    Turns of one side in a row are joined; what the assistant says before anybody asks is left out.
    Raise BadRow for a system message that is not the first, and a conversation without an answer.
    """
    exchanges: list[tuple[str | None, str]] = []
    asked: list[Turn] = []
    at = 1
    for side, group in groupby(turns, key=lambda turn: turn.side):
        run = list(group)
        if side == "system":
            if at > 1 or system or len(run) > 1:
                late = at if at > 1 or system else at + 1
                raise BadRow("row_system", f"message {late} is a system message, not the first")
            system = run[0].text
        elif side == "asked":
            asked = run
        else:
            exchanges += _exchange(asked, run, notes)
            asked = []
        at += len(run)
    if not exchanges:
        raise _no_answer(notes)
    notes["unanswered"] += bool(asked)
    return ParsedRow(exchanges, system, +notes)


def _exchange(
    asked: Sequence[Turn], answers: Sequence[Turn], notes: Counter[str]
) -> list[tuple[str | None, str]]:
    """Return the exchange of a question and its answers, none where one of them is left out."""
    said = [turn for turn in answers if turn.text]
    if not asked:
        notes["unasked"] += len(answers)
    elif not said:
        notes["thought_alone"] += 1
    elif all(turn.learn for turn in said):
        notes["joined_turns"] += len(asked) + len(said) - 2
        return [(_join(asked), _join(said))]
    else:
        notes["untrained"] += 1
    return []


def _no_answer(notes: Counter[str]) -> BadRow:
    """Return the fault of a row without an exchange, by what was left out of it."""
    if notes["thought_alone"]:
        return _only_thoughts()
    if notes["unasked"]:
        return BadRow("row_order", "the assistant begins, unasked, and nobody asks after that")
    return BadRow("row_no_answer", "it has no assistant turn to learn")


def _join(turns: Sequence[Turn]) -> str:
    return "\n\n".join(turn.text for turn in turns)

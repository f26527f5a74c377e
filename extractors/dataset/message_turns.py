"""Read the messages of a dataset as turns of either side, and pair the turns to exchanges."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal

from memoirist.data.text.thoughts import without_thoughts
from memoirist.extractors.dataset.json_values import BadRow
from memoirist.extractors.dataset.tool_turns import (
    answer_behind_tools,
    is_call,
    is_observation,
    part_kind,
    without_last_thought,
    without_results,
    without_tools,
)
from memoirist.extractors.word_tables import table

Side = Literal["system", "asked", "answered", "tool", "thought"]
_TABLE = table("dataset_schema")
ROLES = {kind: names.split() for kind, names in _TABLE["roles"].items()}
SIDES: dict[str, Side] = {
    **dict.fromkeys(ROLES["system"], "system"),
    **dict.fromkeys(ROLES["asked"], "asked"),
    **dict.fromkeys(ROLES["answered"], "answered"),
    **dict.fromkeys([*ROLES["tool_results"], *ROLES["tool_calls"]], "tool"),
    **dict.fromkeys(ROLES["thoughts"], "thought"),
}
THOUGHT_KEYS = _TABLE["thoughts"]["keys"].split()
_THOUGHT_PARTS = frozenset(_TABLE["thoughts"]["parts"].split())
_TEXT_PARTS = frozenset({"text", "input_text", "output_text"})
_ROLE_KEYS = ("role", "from", "speaker", "type")
_MEDIA = re.compile(r"<(?:image|audio|video)>")


@dataclass(slots=True)
class Turn:
    """One turn; `learn` is False where the dataset gives it no weight.

    An answer without text was nothing but a thought; calls of tools and their results have none.
    """

    side: Side
    text: str
    learn: bool = True


@dataclass(slots=True)
class ParsedRow:
    """What a row holds: its exchanges as (question, answer), the system prompt, and flags.

    A raw text has the question None. Exchanges that stand `apart` are no conversation. `tool_turns`
    is the JSON of a conversation that is kept whole: messages and tools.
    """

    exchanges: list[tuple[str | None, str]]
    system: str | None = None
    notes: Counter[str] = field(default_factory=Counter)
    apart: bool = False
    tool_turns: str | None = None


def turns_of(message: object, at: int, notes: Counter[str]) -> list[Turn]:
    """Return one message of any schema as turns; raise BadRow where it breaks the schema."""
    where = f"message {at + 1}"
    if not isinstance(message, Mapping):
        raise BadRow("row_shape", f"{where} is not a JSON object")
    side = SIDES.get(side_name(message))
    if side is None:
        role = first_value(message, _ROLE_KEYS)
        raise BadRow("row_role", f"{where} has the unknown role {role!r}")
    calls = message.get("tool_calls") or message.get("function_call")
    if side == "tool" or (side == "answered" and calls):
        notes["tool_turns"] += 1
        return [Turn("tool", "")]
    thinks = side == "answered" and any(message.get(key) for key in THOUGHT_KEYS)
    notes["thoughts"] += thinks or side == "thought"
    content = first_value(message, ("content", "value", "message", "text", "parts"))
    if side == "thought" or (side == "system" and not content):
        return []  # GLM's system message may hold tools alone
    tools: list[Turn] = []
    if isinstance(content, list):
        n_parts = len(content)
        tools, content = _without_parts(side, content, notes)
        thinks = thinks or len(content) < n_parts
    weight = message.get("weight", message.get("loss_weight"))
    learn = weight is None or float(weight) > 0
    if (tools or thinks) and not (content.strip() if isinstance(content, str) else content):
        return tools or [Turn(side, "", learn)]
    return [*tools, *turns_in(side, text_of(content, where), notes, learn=learn)]


def side_name(message: Mapping[Any, Any]) -> str:
    """Return the role of a message as the table of roles spells it."""
    return re.sub(r"[ -]", "_", str(first_value(message, _ROLE_KEYS)).strip().lower())


def _without_parts(
    side: Side, parts: Sequence[object], notes: Counter[str]
) -> tuple[list[Turn], list[object]]:
    """Return the turns of tools among the parts of a content, and the parts that are said."""
    kinds = [part_kind(part) for part in parts]
    n_tools = sum(kind is not None for kind in kinds)
    said = [part for part, kind in zip(parts, kinds, strict=True) if kind is None]
    if n_tools and side == "answered":
        # What stands before a call is said about the call, what stands behind a result answers.
        last = max(place for place, kind in enumerate(kinds) if kind)
        said = list(parts[last + 1 :]) if kinds[last] == "results" else []
    spoken = [part for part in said if not _is_thought(part)]
    notes["tool_turns"] += n_tools
    notes["thoughts"] += len(said) - len(spoken)
    return [Turn("tool", "")] if n_tools else [], spoken


def _is_thought(part: object) -> bool:
    return isinstance(part, Mapping) and (
        part.get("type") in _THOUGHT_PARTS or part.get("thought") is True
    )


def turns_in(side: Side, text: str, notes: Counter[str], *, learn: bool = True) -> list[Turn]:
    """Return a text as turns, without its thoughts and what calls tools; `notes` counts these."""
    if side == "system":
        prompt = without_tools(text)
        notes["tool_turns"] += prompt != text
        return [Turn(side, prompt)] if prompt else []
    said, n_thoughts = without_thoughts(text) if side == "answered" else (text, 0)
    rest, n_tools = without_results(said)
    if side == "answered" and (n_tools or is_call(said)):
        n_tools, rest = n_tools + 1, answer_behind_tools(said)
    elif side == "answered":
        rest, n_last = without_last_thought(said)
        n_thoughts += n_last
    notes["thoughts"] += n_thoughts
    notes["tool_turns"] += n_tools
    tools = [Turn("tool", "")] if n_tools else []
    return [*tools, Turn(side, rest, learn)] if rest or not n_tools else tools


def answer_in(text: str, notes: Counter[str]) -> str:
    """Return the answer of a row that holds one; raise BadRow where it only thinks or calls."""
    turns = [Turn("asked", ""), *turns_in("answered", text, notes)]
    ((_, answer),) = pair_turns(turns, notes).exchanges
    return answer


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
                    raise BadRow("row_media", f"{where} contains {kind!r}; only text can be used")
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
        raise BadRow("row_broken", f"{where} contains bytes that are not UTF-8") from fault
    if _MEDIA.search(text):
        raise BadRow(
            "row_media", f"{where} refers to a picture or a sound that the row does not contain"
        )


def pair_turns(turns: Sequence[Turn], notes: Counter[str], system: str | None = None) -> ParsedRow:
    """Return the exchanges of the turns.

    Turns of one side in a row are joined; what the assistant says before anybody asks, and what it
    says before it calls a tool, is left out. Raise BadRow for a system message that is not the
    first, and a conversation without an answer.
    """
    exchanges: list[tuple[str | None, str]] = []
    asked: list[Turn] = []
    system = "\n\n".join(turn.text for turn in turns_in("system", system or "", notes)) or None
    at = 1
    for side, group in groupby(_tools_marked(turns, notes), key=lambda turn: turn.side):
        run = list(group)
        if side == "system":
            if at > 1 or system or len(run) > 1:
                late = at if at > 1 or system else at + 1
                raise BadRow("row_system", f"message {late} is a system message, not the first")
            system = run[0].text
        elif side == "asked":
            if asked:  # a tool was called, and nothing said
                notes["unanswered"] += 1
            asked = run
        elif side == "answered":
            exchanges += _exchange(asked, run, notes)
            asked = []
        at += len(run)
    if not exchanges:
        raise _no_answer(notes)
    notes["unanswered"] += bool(asked)
    return ParsedRow(exchanges, system, +notes)


def _tools_marked(turns: Sequence[Turn], notes: Counter[str]) -> list[Turn]:
    """Return the turns; what announces a call, and an observation behind it, are turns of tools."""
    marked = list(turns)
    for at in range(len(marked) - 2, -1, -1):
        if marked[at].side == "answered" and marked[at + 1].side == "tool":
            marked[at] = Turn("tool", "")
            notes["tool_turns"] += 1
    for at in range(1, len(marked)):
        is_result = marked[at - 1].side == "tool" and is_observation(marked[at].text)
        if is_result and marked[at].side == "asked":
            marked[at] = Turn("tool", "")
            notes["tool_turns"] += 1
    return marked


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
        return BadRow("row_thought", "its answer contains only thoughts")
    if notes["tool_turns"]:
        return BadRow("row_tool_call", "it calls tools, and no answer follows the calls")
    if notes["unasked"]:
        return BadRow("row_order", "the assistant speaks first, and no question follows")
    return BadRow("row_no_answer", "it has no assistant turn to train on")


def _join(turns: Sequence[Turn]) -> str:
    return "\n\n".join(turn.text for turn in turns)

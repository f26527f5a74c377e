"""Keep conversations with tools whole: their calls, results and schemas in OpenAI's structure.

Three layouts are read: OpenAI's `tool_calls` (and its older `function_call`), ShareGPT's turns
`function_call` and `observation`, and the tags of Hermes. The arguments of a call are an object.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from memoirist.data.text.thoughts import without_thoughts
from memoirist.data.text.tool_messages import plain_text
from memoirist.extractors.dataset.json_values import BadRow, value_of
from memoirist.extractors.dataset.message_turns import (
    ROLES,
    SIDES,
    THOUGHT_KEYS,
    ParsedRow,
    check_text,
    first_value,
    side_name,
    text_of,
)
from memoirist.extractors.dataset.tool_turns import is_call, part_kind, without_tools

Message = dict[str, Any]
_CALL = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)
_RESULT = re.compile(r"<tool_response>\s*(.*?)\s*</tool_response>", re.DOTALL)
_TOOLS = re.compile(r"<tools>\s*(.*?)\s*</tools>", re.DOTALL)
# OpenAI takes no dot, others do.
_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)


class _OtherForm(Exception):
    """The conversation calls tools in a form that is not read here."""


def whole_row(
    messages: Sequence[object], row: Mapping[Any, Any], system: str | None
) -> ParsedRow | None:
    """Return a conversation with tools as one exchange of all that either side says.

    None where it has no tools or in another form, so that it is read without them. Raise BadRow for
    a fault that has nothing to do with tools.
    """
    notes: Counter[str] = Counter()
    try:
        turns = [turn for message in messages for turn in _read(message, notes)]
        if turns and turns[0]["role"] == "system" and not system:
            system = turns.pop(0)["content"]
        tools, prompt = _tools(row, system or "")
        turns = _in_order(turns, notes)
        _match_results(turns, tools)
    except (
        _OtherForm,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
        RecursionError,
    ) as fault:
        if isinstance(fault, BadRow):
            raise
        return None
    if not tools and not any("tool_calls" in turn for turn in turns):
        return None
    text = json.dumps({"messages": turns, "tools": tools}, ensure_ascii=False)
    check_text(text, "its tool turns")
    said = {
        role: [plain_text(t) for t in turns if t["role"] == role] for role in ("user", "assistant")
    }
    exchange = ("\n\n".join(said["user"]), "\n\n".join(said["assistant"]))
    return ParsedRow([exchange], prompt or None, +notes, tool_turns=text)


def _read(message: object, notes: Counter[str]) -> Iterator[Message]:
    """Yield a message of a dataset as the messages that it is."""
    if not isinstance(message, Mapping) or message.get("weight", 1) not in (1, None):
        raise _OtherForm
    name = side_name(message)
    side = SIDES.get(name)
    if side == "thought":
        notes["thoughts"] += 1
        return
    content = first_value(message, ("content", "value", "message", "text", "parts"))
    if isinstance(content, list) and side in ("asked", "answered") and any(map(part_kind, content)):
        raise _OtherForm
    if side == "tool" and name in ROLES["tool_results"]:
        yield from _results(message, content)
    elif side == "answered" or name in ROLES["tool_calls"]:
        yield _answer(message, content, notes, is_calls=side == "tool")
    elif side == "asked" and isinstance(content, str) and _RESULT.search(content):
        if _RESULT.sub("", content).strip():
            raise _OtherForm
        yield from _results(message, content)
    elif side is None:
        raise _OtherForm
    else:
        yield {"role": "user" if side == "asked" else "system", "content": text_of(content, "it")}


def _results(message: Mapping[Any, Any], content: object) -> Iterator[Message]:
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    if isinstance(content, list) and content and all(_is_text_part(part) for part in content):
        text = text_of(content, "a result")
    for result in _RESULT.findall(text) or [text]:
        yield {"role": "tool", "content": result, "tool_call_id": message.get("tool_call_id")}


def _is_text_part(part: object) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "text"


def _answer(
    message: Mapping[Any, Any], content: object, notes: Counter[str], *, is_calls: bool
) -> Message:
    """Return an answer with its calls; a message that is nothing but calls has them as JSON."""
    raw = message.get("tool_calls") or message.get("function_call") or []
    calls = _values(raw) if isinstance(raw, str) else raw
    text = text_of(content, "an answer") if content else ""
    notes["thoughts"] += any(bool(message.get(key)) for key in THOUGHT_KEYS)
    text, n_thoughts = without_thoughts(text)
    notes["thoughts"] += n_thoughts
    calls = list(calls) if isinstance(calls, list) else [calls]
    calls += [call for match in _CALL.findall(text) for call in _values(match)]
    text = _CALL.sub("", text).strip()
    if is_calls and text:
        calls, text = [*calls, *_values(text)], ""
    if is_call(text) or (is_calls and not calls):
        raise _OtherForm
    answer: Message = {"role": "assistant", "content": text}
    return {**answer, "tool_calls": [_call(call) for call in calls]} if calls else answer


def _values(text: str) -> list[Any]:
    value = value_of(text)
    return value if isinstance(value, list) else [value]


def _call(call: Mapping[str, Any]) -> Message:
    function = call.get("function", call)
    name, arguments = function["name"], function.get("arguments", function.get("parameters"))
    if isinstance(arguments, str):
        arguments = value_of(arguments) if arguments.strip() else {}
    arguments = {} if arguments is None else arguments
    if not _NAME.fullmatch(name) or not isinstance(arguments, dict):
        raise _OtherForm
    call_ = {"id": call.get("id"), "type": "function"}
    return {**call_, "function": {"name": name, "arguments": arguments}}


def _tools(row: Mapping[Any, Any], system: str) -> tuple[list[Message], str]:
    """Return the functions of a row, which its system prompt may list, and the rest of that."""
    listed = _TOOLS.findall(system)
    value = row.get("tools") or row.get("functions") or []
    tools = _values(value) if isinstance(value, str) else list(value)
    if not tools and listed:
        lines = [listed[-1]] if listed[-1].startswith("[") else listed[-1].splitlines()
        tools = [tool for line in lines if line.strip() for tool in _values(line)]
    prompt = without_tools(system)
    if prompt != system and not tools:
        raise _OtherForm
    return [_tool(tool) for tool in tools], prompt


def _tool(tool: Mapping[str, Any]) -> Message:
    function = _without_nulls(tool.get("function", tool))
    if not _NAME.fullmatch(function["name"]):
        raise _OtherForm
    rest = {"description": "", "parameters": {"type": "object", "properties": {}}}
    return {"type": "function", "function": {"name": function["name"], **rest, **function}}


def _without_nulls(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return a schema without empty keys: tables of typed columns fill in all keys of all rows."""
    if isinstance(value, Mapping):
        return {k: _without_nulls(each) for k, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def _in_order(turns: Sequence[Message], notes: Counter[str]) -> list[Message]:
    """Return the turns from the first question to the last answer, those of one side in one."""
    first = next((at for at, turn in enumerate(turns) if turn["role"] == "user"), len(turns))
    roles = [turn["role"] for turn in turns]
    if "tool" in roles[:first] or "system" in roles or "assistant" not in roles[first:]:
        raise _OtherForm
    notes["unasked"] += first
    last = len(roles) - roles[::-1].index("assistant")
    notes["unanswered"] += last < len(roles)
    ordered: list[Message] = []
    for turn in turns[first:last]:
        before = ordered[-1] if ordered else turn
        if before is turn or turn["role"] == "tool" or before["role"] != turn["role"]:
            ordered.append(turn)
            continue
        calls = [*before.get("tool_calls", ()), *turn.get("tool_calls", ())]
        if "tool_calls" in before and turn["content"]:
            raise _OtherForm  # the results between are missing
        text = "\n\n".join(filter(None, (before["content"], turn["content"])))
        ordered[-1] = {**before, "content": text} | ({"tool_calls": calls} if calls else {})
    return ordered


def _match_results(turns: Sequence[Message], tools: Sequence[Message]) -> None:
    """Give each call and its result an id of nine letters and digits, as Mistral wants it.

    A result without an id belongs to the first call that has none yet.
    """
    known = {tool["function"]["name"]: tool["function"]["parameters"] for tool in tools}
    waiting: list[tuple[object, str]] = []
    n_calls = 0
    for turn in turns:
        if turn["role"] == "tool":
            given = turn["tool_call_id"]
            places = [at for at, (old, _) in enumerate(waiting) if given in (None, old)]
            turn["tool_call_id"] = waiting.pop(places[0])[1]
            continue
        if waiting:
            raise _OtherForm  # a call without a result
        for call in turn.get("tool_calls", ()):
            n_calls += 1
            waiting.append((call["id"], f"call{n_calls:05d}"))
            call["id"] = waiting[-1][1]
            properties = known.get(call["function"]["name"], {}).get("properties") or {}
            call["function"]["arguments"] = {
                key: value
                for key, value in call["function"]["arguments"].items()
                if value is not None or key in properties
            }
        if turn["role"] == "assistant" and not turn["content"] and "tool_calls" not in turn:
            raise _OtherForm

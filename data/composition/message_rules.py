r"""Check and mend one row of a fine-tuning file of messages by the rules of strict services.

A row without a fault is taken by all four services. What each rule comes from, as read in 2026:

- no_messages, missing_key, unknown_key, unknown_role, content_type, empty_content, no_exchange:
  OpenAI's format checks, https://cookbook.openai.com/examples/chat_finetuning_data_prep. Together
  refuses other columns (`check_file` in https://github.com/togethercomputer/together-python,
  utils/files.py), Fireworks other roles
  (https://docs.fireworks.ai/fine-tuning/fine-tuning-models).
- tools, tool_calls, tool_result: the functions of a row, calls and their results as OpenAI's
  fine-tuning format has them; each call has one result before anybody says more, as in
  mistral-common's validator. Rows with tools are for services that take tools.
- system_not_first: one system message, before all others (Fireworks; Mistral refuses a second,
  https://github.com/mistralai/mistral-finetune, finetune/data/tokenize.py).
- order: user and assistant take turns, the user begins (Together,
  https://docs.together.ai/docs/fine-tuning/data-preparation).
- last_not_assistant: the last turn is learnt (Mistral, `_validate_last_message` for fine-tuning in
  https://github.com/mistralai/mistral-common, protocol/instruct/validator.py).
- weight: the integer 0 or 1 (Together, Mistral, Fireworks), of an assistant message (OpenAI,
  https://platform.openai.com/docs/guides/supervised-fine-tuning).
- name: without white space and `<|\/>` (OpenAI's pattern of the key in its API reference).
- too_long: OpenAI cuts a longer example; tokens are estimated as for datasets.
- control_token, control_character: ours. A service that renders a template takes such a token for
  the end of a turn, and most readers choke on a lone surrogate or a NUL.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any, Literal

from memoirist.data.composition.conversations import estimate_tokens
from memoirist.data.text.sanitizer import has_control, neutralise

_LEFT_OUT = "the row is left out"
# What `--fix` does about each rule; a row in which a fault remains is left out.
REPAIRS: Mapping[str, str] = {
    "no_messages": _LEFT_OUT,
    "not_message": _LEFT_OUT,
    "missing_key": _LEFT_OUT,
    "unknown_key": "the key is removed",
    "unknown_role": "human, gpt and the like become user and assistant, developer becomes system",
    "content_type": "parts of text are joined; numbers become text",
    "tools": _LEFT_OUT,
    "tool_calls": _LEFT_OUT,
    "tool_result": _LEFT_OUT,
    "empty_content": "an empty system message is removed; otherwise the row is left out",
    "name": "the name is removed",
    "weight": "true and 1.0 become 1; a weight of a user or system message is removed",
    "control_token": "its brackets become look-alikes",
    "control_character": "the character is removed",
    "system_not_first": "the system messages are joined and moved to the start",
    "order": "messages of one role in a row are joined; answers before the first question are cut",
    "last_not_assistant": "the messages after the last answer are removed",
    "no_exchange": _LEFT_OUT,
    "too_long": _LEFT_OUT,
}
_KEYS = ("role", "content", "name", "weight")
_ROLES = ("system", "user", "assistant", "tool")
# A key of one role alone.
_TOOL_KEYS = {"assistant": "tool_calls", "tool": "tool_call_id"}
_SYNONYMS = {
    **{role: role for role in _ROLES},
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("gpt", "bot", "chatbot", "model", "ai"), "assistant"),
    "developer": "system",
}
_NAME = re.compile(r"[^\s<|\\/>]{1,64}")
# What has no place in a text, white space apart, and halves of characters, which no UTF-8 can hold.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")

Message = dict[str, Any]


def check_row(row: Mapping[str, object], max_tokens: int) -> dict[str, str]:
    """Return what speaks against a row, the reason by rule; nothing for a good one."""
    faults: dict[str, str] = {}
    if unknown := [key for key in row if key not in ("messages", "tools")]:
        faults["unknown_key"] = f"the row has other keys than messages: {_names(unknown)}"
    if "tools" in row and not _are_functions(row["tools"], "parameters"):
        faults["tools"] = f"tools is no list of functions with a name: {_short(row['tools'])}"
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        state = (
            "an empty list" if messages == [] else "not a list" if "messages" in row else "missing"
        )
        return {**faults, "no_messages": f"messages is {state}"}
    for place, message in enumerate(messages, start=1):
        for rule, reason in _message_faults(message):
            faults.setdefault(rule, f"message {place} {reason}")
    roles = [_role(message) for message in messages]
    if None not in roles:
        faults |= _order_faults([str(role) for role in roles])
        faults |= _result_faults(messages)
    texts = [{"content": text} for text in map(_text, messages) if text is not None]
    texts += [{"content": str(m["tool_calls"])} for m in messages if _has_calls(m)]
    # No estimate is above the number of characters by more than the frames of the messages.
    if sum(4 + 2 * len(text["content"]) for text in texts) > max_tokens:
        n_tokens = estimate_tokens(texts)
        if n_tokens > max_tokens:
            faults["too_long"] = f"about {n_tokens:,} tokens, more than {max_tokens:,}"
    return faults


def _message_faults(message: object) -> Iterator[tuple[str, str]]:
    if not isinstance(message, dict):
        yield "not_message", f"is not an object: {_short(message)}"
        return
    calls = _has_calls(message)
    required = ("role",) if calls else ("role", "content")
    if missing := [key for key in required if key not in message]:
        yield "missing_key", f"has no {_names(missing)}"
    own = _TOOL_KEYS.get(str(message.get("role")))
    if unknown := [key for key in message if key not in (*_KEYS, own)]:
        yield "unknown_key", f"has unknown keys: {_names(unknown)}"
    if "role" in message and message["role"] not in _ROLES:
        yield "unknown_role", f"has an unknown role: {_short(message['role'])}"
    if "name" in message and not _is_name(message["name"]):
        yield "name", f"has an invalid name: {_short(message['name'])}"
    if "weight" in message and not _is_weight(message):
        role = _short(message.get("role"))
        yield "weight", f"has an invalid weight for the role {role}: {_short(message['weight'])}"
    if calls:
        yield from _call_faults(message["tool_calls"])
    if "content" in message and not (calls and message["content"] in (None, "")):
        yield from _content_faults(message["content"])


def _call_faults(calls: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any JSON
    if not _are_functions(calls, "arguments"):
        yield "tool_calls", f"has invalid calls: {_short(calls)}"
        return
    for call in calls:
        yield from _content_faults(call["function"]["arguments"])


def _has_calls(message: object) -> bool:
    return (
        isinstance(message, dict) and message.get("role") == "assistant" and "tool_calls" in message
    )


def _are_functions(value: object, part: Literal["parameters", "arguments"]) -> bool:
    """Tell whether a value is a list of functions, or of calls with their id and arguments."""
    return isinstance(value, list) and bool(value) and all(_is_function(v, part) for v in value)


def _is_function(value: object, part: Literal["parameters", "arguments"]) -> bool:
    function = value.get("function") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(function, dict):
        return False
    if value.get("type") != "function" or not _is_name(function.get("name")):
        return False
    if part == "parameters":
        return isinstance(function.get(part, {}), dict)
    try:
        return isinstance(value.get("id"), str) and isinstance(json.loads(function[part]), dict)
    except (KeyError, TypeError, ValueError, RecursionError):
        return False


def _result_faults(messages: Sequence[Message]) -> dict[str, str]:
    """Return the fault of the first call without a result, or of a result without a call."""
    waiting: set[object] = set()
    for place, message in enumerate(messages, start=1):
        if _role(message) == "tool":
            given = message.get("tool_call_id")
            if not isinstance(given, str) or given not in waiting:
                return {"tool_result": f"message {place} is the result of no call before it"}
            waiting.remove(given)
        elif waiting:
            return {"tool_result": f"message {place} comes before the result of {_names(waiting)}"}
        elif _has_calls(message) and _are_functions(message["tool_calls"], "arguments"):
            waiting = {call["id"] for call in message["tool_calls"]}
    return {}


def _content_faults(content: object) -> Iterator[tuple[str, str]]:
    if content is None or content == []:
        yield "empty_content", f"has no content: {_short(content)}"
    elif not isinstance(content, str):
        yield "content_type", f"has content that is not text: {_short(content)}"
    elif not content.strip():
        yield "empty_content", "has no text"
    else:
        if has_control(content):
            yield "control_token", "holds a chat control token"
        if match := _UNPRINTABLE.search(content):
            yield "control_character", f"holds the character U+{ord(match.group()):04X}"


def _order_faults(roles: Sequence[str]) -> dict[str, str]:
    faults: dict[str, str] = {}
    # Calls and their results are parts of the answer behind them.
    turns = [
        role
        for role, other in zip(roles, [*roles[1:], ""], strict=True)
        if role not in ("system", "tool") and (role, other) != ("assistant", "tool")
    ]
    if "system" in roles[1:]:
        place = roles.index("system", 1) + 1
        faults["system_not_first"] = (
            f"message {place} is a system message; only one is allowed, at the start"
        )
    if ("user", "assistant") not in pairwise(turns):
        faults["no_exchange"] = "no user message is followed by an assistant message"
    elif turns[0] != "user" or roles[0] == "tool":
        faults["order"] = "an assistant message comes before the first user message"
    for role, other in pairwise(turns):
        if role == other:
            faults.setdefault("order", f"two {role} messages follow each other")
    if roles[-1] != "assistant":
        faults["last_not_assistant"] = (
            f"the last message is from the {roles[-1]}, not from the assistant"
        )
    return faults


def mend_row(row: Mapping[str, object], max_tokens: int) -> dict[str, Any] | None:
    """Return a row with all faults mended that need no judgement; None where one remains."""
    messages = row.get("messages")
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        return None
    mended: dict[str, Any] = {"messages": _in_order([_mended(message) for message in messages])}
    mended |= {"tools": row["tools"]} if "tools" in row else {}
    return None if check_row(mended, max_tokens) else mended


def _mended(message: Message) -> Message:
    """Return a message with known keys alone, in which all that is certain is mended."""
    role = _role(message)
    mended = {key: message[key] for key in (*_KEYS, _TOOL_KEYS.get(str(role))) if key in message}
    if role is not None:
        mended["role"] = role
    if (text := _text(message)) is not None:
        if has_control(text) or _UNPRINTABLE.search(text):
            text = neutralise(_UNPRINTABLE.sub("", text))
        mended["content"] = text
    if "name" in mended and not _is_name(mended["name"]):
        del mended["name"]
    if "weight" in mended and role in ("user", "system", "tool"):
        del mended["weight"]
    elif "weight" in mended and mended["weight"] in (0, 1):
        mended["weight"] = int(mended["weight"])
    return mended


def _in_order(messages: Sequence[Message]) -> list[Message]:
    """Return the messages with one system message first, turns that alternate, an answer last."""
    systems = [m for m in messages if m.get("role") == "system" and not _is_blank(m)]
    turns = [message for message in messages if message.get("role") != "system"]
    while turns and turns[0].get("role") == "assistant":
        turns = turns[1:]
    while turns and turns[-1].get("role") == "user":
        turns = turns[:-1]
    ordered: list[Message] = []
    for _, group in groupby([*systems, *turns], key=_without_content):
        ordered += _joined(list(group))
    return ordered


def _joined(messages: Sequence[Message]) -> Sequence[Message]:
    """Return the messages as one; as they are, faults and all, where one is blank or no text."""
    texts = [message.get("content") for message in messages]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        return messages
    return [{**messages[0], "content": "\n\n".join(map(str, texts))}]


def _is_blank(message: Message) -> bool:
    content = message.get("content")
    return not (content.strip() if isinstance(content, str) else content)


def _without_content(message: Message) -> Message:
    return {key: value for key, value in message.items() if key != "content"}


def _role(message: object) -> str | None:
    """Return the role that a message means, None for an unknown one."""
    role = message.get("role") if isinstance(message, dict) else None
    return _SYNONYMS.get(role.strip().lower()) if isinstance(role, str) else None


def _text(message: object) -> str | None:
    """Return the content of a message where it is text, a number or parts of text."""
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        return content
    if isinstance(content, int | float) and not isinstance(content, bool):
        return str(content)
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        if parts and all(isinstance(part, str) for part in parts):
            return "\n".join(map(str, parts))
    return None


def _is_name(name: object) -> bool:
    if not isinstance(name, str) or _UNPRINTABLE.search(name):
        return False
    return _NAME.fullmatch(name) is not None


def _is_weight(message: Message) -> bool:
    # True and 1.0 equal 1 in Python, but they are no integers in JSON.
    return (
        type(message["weight"]) is int
        and message["weight"] in (0, 1)
        and (message.get("role") not in ("user", "system", "tool"))
    )


def _names(keys: Iterable[object]) -> str:
    return ", ".join(_short(key) for key in keys)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"

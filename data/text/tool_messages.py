"""Read messages that call tools, in OpenAI's structure with the arguments as an object."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any


def map_texts(value: Any, function: Callable[[str, str], str], key: str = "") -> Any:  # noqa: ANN401
    """Return a JSON value with a function of the key and the text applied to each text in it.

    A number counts as its text, and becomes one only where the function changes it.
    """
    if isinstance(value, str):
        return function(key, value)
    if isinstance(value, Mapping):
        return {name: map_texts(each, function, name) for name, each in value.items()}
    if isinstance(value, list):
        return [map_texts(each, function, key) for each in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = function(key, str(value))
        return value if text == str(value) else text
    return value


def map_json(text: str, function: Callable[[str, str], str]) -> str:
    """Return a JSON text with a function of the key and the text applied to each text in it."""
    return json.dumps(map_texts(json.loads(text), function), ensure_ascii=False)


def plain_text(message: Mapping[str, Any]) -> str:
    """Return what a message says and below it what it calls, a JSON object a line."""
    calls = (
        json.dumps(
            {key: call["function"][key] for key in ("name", "arguments")}, ensure_ascii=False
        )
        for call in message.get("tool_calls", ())
    )
    return "\n".join(filter(None, (message["content"], *calls)))


def with_text_arguments(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message as OpenAI's API has it: arguments as JSON text, null for no content."""
    if "tool_calls" not in message:
        return dict(message)
    calls = [
        {
            **call,
            "function": {
                **call["function"],
                "arguments": json.dumps(call["function"]["arguments"], ensure_ascii=False),
            },
        }
        for call in message["tool_calls"]
    ]
    return {**message, "content": message["content"] or None, "tool_calls": calls}

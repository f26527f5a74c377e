"""Recognise calls of tools and their results in the messages of a dataset."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Literal

from memoirist.extractors.word_tables import table

_TABLE = table("tool_turns")
_CALLS, _CALL_TEXTS, _RESULTS, _ANSWERS, _PROMPTS = (
    [re.compile(pattern, re.DOTALL) for pattern in _TABLE[name]]
    for name in ("calls", "call_texts", "results", "answers", "prompts")
)
_NAMES, _ARGUMENTS = (frozenset(_TABLE[name].split()) for name in ("call_names", "call_arguments"))
_PARTS = {kind: frozenset(names.split()) for kind, names in _TABLE["parts"].items()}
_LAST_THOUGHT = re.compile(_TABLE["last_thought"], re.DOTALL)
_OBSERVATION = re.compile(_TABLE["observations"])
# Without one of these there is no mark.
_SIGN = re.compile(r"[<\[{`✿]|Action Input|FUNCTION|TOOL")
_FENCE = re.compile(r"```(?:json)?\s*\n(.*)\n```", re.DOTALL)


def is_call(text: str) -> bool:
    """Tell whether an answer calls a tool: by a mark in it, or as a whole."""
    if not _SIGN.search(text):
        return False
    stripped = text.strip()
    return (
        any(pattern.search(text) for pattern in _CALLS)
        or any(pattern.fullmatch(stripped) for pattern in _CALL_TEXTS)
        or _is_call_json(stripped)
    )


def _is_call_json(text: str) -> bool:
    value = _json_in(text)
    calls = value if isinstance(value, list) else [value]
    return bool(calls) and all(
        isinstance(call, Mapping) and _NAMES & call.keys() and _ARGUMENTS & call.keys()
        for call in calls
    )


def _json_in(text: str) -> object:
    """Return the object or list that a whole text is, in a fence or not; None for other texts."""
    text = text.strip()
    fenced = _FENCE.fullmatch(text)
    text = fenced[1].strip() if fenced else text
    try:
        return json.loads(text) if text.startswith(("{", "[")) else None
    except (ValueError, RecursionError):
        return None


def is_observation(text: str) -> bool:
    """Tell whether a text behind a call is its result."""
    return _OBSERVATION.match(text) is not None or _json_in(text) is not None


def without_results(text: str) -> tuple[str, int]:
    """Return a text without the results of tools in it, and how many these are."""
    if not _SIGN.search(text):
        return text, 0
    said, count = text, 0
    for pattern in _RESULTS:
        said, n = pattern.subn("", said)
        count += n
    return (said.strip(), count) if count else (text, 0)


def answer_behind_tools(text: str) -> str:
    """Return what an answer says behind the last call and result in it, "" for nothing."""
    ends = [match.end() for pattern in _ANSWERS for match in pattern.finditer(text)]
    ends = ends or [match.end() for pattern in _RESULTS for match in pattern.finditer(text)]
    rest = text[max(ends) :].strip() if ends else ""
    return "" if is_call(rest) else rest


def without_last_thought(text: str) -> tuple[str, int]:
    """Return an answer without what a ReAct agent thinks before it, and how many thoughts it is."""
    return _LAST_THOUGHT.subn("", text, count=1)


def without_tools(prompt: str) -> str:
    """Return a system prompt up to the paragraph that is about tools."""
    starts = [match.start() for pattern in _PROMPTS for match in pattern.finditer(prompt)]
    return prompt[: max(prompt.rfind("\n\n", 0, min(starts)), 0)].strip() if starts else prompt


def part_kind(part: object) -> Literal["calls", "results"] | None:
    """Tell whether a part of a content is a call or a result, None for neither."""
    if not isinstance(part, Mapping):
        return None
    kinds = {str(part.get("type")), *map(str, part)}
    if kinds & _PARTS["calls"]:
        return "calls"
    return "results" if kinds & _PARTS["results"] else None

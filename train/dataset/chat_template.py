"""Render a conversation in the base's own chat template, and find the assistant's part of it.

Nearly no published template marks the assistant's words. So each answer is rendered as a
placeholder; its place in the text tells where the words stand, and the special token after it is
what ends the turn. A call of a tool has its placeholder in the function's name; the conversation up
to the call, rendered by itself, tells where its turn ends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import product, starmap
from typing import TYPE_CHECKING, Any, NamedTuple

from memoirist.data.composition.chatml import TEMPLATE
from memoirist.data.schema.errors import TrainError
from memoirist.data.text.tool_messages import with_text_arguments

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


Messages = Sequence[Mapping[str, Any]]
Tools = Sequence[Mapping[str, Any]]
_MARK = re.compile("\ue0f0(\\d+)(?:\\.(\\d+))?\ue0f1")
_WITHOUT_TOOLS = (
    "set tools = false under [[sources.mix]], or take a base that was trained with tools"
)


def is_native(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Tell whether the tokenizer carries a chat template other than our ChatML."""
    template = tokenizer.chat_template
    return isinstance(template, str) and not template.endswith(TEMPLATE)


def native_segments(
    messages: Messages, tokenizer: PreTrainedTokenizerBase, tools: Tools = ()
) -> list[tuple[str, bool]]:
    """Return the rendered text piece by piece, with whether the model is trained on it.

    Trained are the assistant's words and calls with the token that ends its turn, and whatever the
    template puts between its generation prompt and the words. Raises TrainError when the template
    refuses the conversation.
    """
    turns = _accepted(messages, tokenizer)
    rest = _rendered(turns, tokenizer, tools)
    opening, special = _opening(tokenizer), special_tokens(tokenizer)
    pieces: list[tuple[str, bool]] = []
    for at, turn in enumerate(turns):
        if turn["role"] != "assistant":
            continue
        mark = _mark(rest, at)
        if mark is None:
            # The template leaves this turn out; what is not rendered cannot be trained.
            continue
        before, rest = rest[: mark.start()], rest[mark.start() :]
        if opening and opening in before:
            lead = before[before.rindex(opening) + len(opening) :]
        else:
            # Without a generation prompt, a blank before the words is part of their token.
            lead = before[len(before.rstrip()) :]
        end = len(mark.group()) + _end(rest[len(mark.group()) :], special)
        if "tool_calls" in turn:
            head, end = _calls(rest, turns[: at + 1], tokenizer, tools)
            lead = lead if opening and opening in before else head
        pieces.append((before[: len(before) - len(lead)], False))
        pieces.append((lead + rest[:end], True))
        rest = rest[end:]
    return [(_restored(piece, turns), trained) for piece, trained in [*pieces, (rest, False)]]


def _rendered(turns: list[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, tools: Tools) -> str:
    """Return the text with placeholders; an answer that opens it may get an empty question."""
    try:
        return _render(_with_placeholders(turns), tokenizer, tools)
    except TrainError:
        first = 1 if turns and turns[0]["role"] == "system" else 0
        if turns[first:][:1] and turns[first]["role"] == "user":
            raise
        # Many templates want a user's turn first, and some conversations begin with an answer.
        turns.insert(first, {"role": "user", "content": ""})
        return _render(_with_placeholders(turns), tokenizer, tools)


def _calls(
    rest: str, turns: Messages, tokenizer: PreTrainedTokenizerBase, tools: Tools
) -> tuple[str, int]:
    """Return what opens the calls of the last turn, and where they end in `rest`.

    What opens them, as [TOOL_CALLS] does, stands before the name or the words with which `rest`
    begins, and where an answer would have its words.
    """
    *before, turn = _with_placeholders(turns)
    calls, answer = (
        _render([*before, last], tokenizer, tools)
        for last in (turn, {"role": "assistant", "content": _placeholder(len(before))})
    )
    starts = [mark.start() for text in (calls, answer) if (mark := _mark(text, len(before)))]
    place = len(answer[: starts[-1]].rstrip()) if len(starts) == 2 else -1
    if calls[:place] == answer[:place] and place >= 0:
        unit = calls[starts[0] :]
        ends = [unit.rindex(t) + len(t) for t in special_tokens(tokenizer) if t and t in unit]
        end = max(ends, default=0)
        if end and not unit[end:].strip() and rest.startswith(unit[:end]):
            return calls[place : starts[0]], end
    raise TrainError(
        "what the base's own chat template renders of a call cannot be told from the rest",
        _WITHOUT_TOOLS,
    )


def _mark(text: str, at: int) -> re.Match[str] | None:
    """Return the first placeholder of a turn."""
    return next((mark for mark in _MARK.finditer(text) if int(mark[1]) == at), None)


def _restored(text: str, turns: Messages) -> str:
    """Return a rendered text with the words and names that its placeholders stand for."""

    def value(mark: re.Match[str]) -> str:
        turn = turns[int(mark[1])]
        return str(
            turn["tool_calls"][int(mark[2])]["function"]["name"] if mark[2] else turn["content"]
        )

    return _MARK.sub(value, text)


def refuse_tools(messages: Messages, tools: Tools, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise TrainError where a conversation has tools, and the chat template no place for them."""
    if not tools and not any("tool_calls" in message for message in messages):
        return
    if not is_native(tokenizer):
        raise TrainError(
            "the dataset has conversations with tools, for which train.template = 'chatml' has no"
            " place",
            "set train.template = 'native', or tools = false under [[sources.mix]]",
        )
    if _call_form(tokenizer) is None:
        raise TrainError(
            "the base's own chat template has no place for tools, their calls or results",
            _WITHOUT_TOOLS,
        )


class _CallForm(NamedTuple):
    """How a template takes calls: arguments as an object or a text, and words beside them.

    `empty` is the content of a call without words; some templates want none at all.
    """

    as_object: bool
    empty: str | None
    with_words: bool

    def turn(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return a message with calls as the template takes it."""
        words = message["content"].strip() if self.with_words else ""
        calls = message["tool_calls"]
        if not self.as_object:
            calls = with_text_arguments(message)["tool_calls"]
        return {**message, "content": words or self.empty, "tool_calls": calls}


@lru_cache(maxsize=8)
def _call_form(tokenizer: PreTrainedTokenizerBase) -> _CallForm | None:
    """Return the first form of calls that the template renders, None where it renders no tools."""
    forms = starmap(_CallForm, product((True, False), ("", None), (True, False)))
    return next((form for form in forms if _renders(form, tokenizer)), None)


def _renders(form: _CallForm, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Tell whether the template renders calls of this form, their results and the functions.

    Some templates print an object as Python does, some quote a text once more.
    """
    tool, key, *names = map(_placeholder, range(6))
    schema = {"type": "object", "properties": {key: {"type": "boolean"}}}
    function = {"name": tool, "description": "x", "parameters": schema}
    turns: list[dict[str, Any]] = [{"role": "user", "content": "x"}]
    for number, words in enumerate(("", "x")):
        called = {"name": names[number], "arguments": {key: True}}
        call = {"id": f"call{number:05d}", "type": "function", "function": called}
        message = {"role": "assistant", "content": words, "tool_calls": [call]}
        result = {"role": "tool", "content": names[number + 2], "tool_call_id": call["id"]}
        turns += [form.turn(message), {**result, "name": "x"}]
    turns.append({"role": "assistant", "content": "x"})
    try:
        text = _render(turns, tokenizer, [{"type": "function", "function": function}])
    except TrainError:
        return False
    calls = text[text.find(names[0]) :]
    is_json = f'"{key}": true' in calls
    is_object = form.as_object and key in calls and f"'{key}'" not in calls
    return all(name in text for name in (tool, *names)) and (is_json or is_object)


def native_prompt(messages: Messages, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the text that asks for the next answer, as the template puts it."""
    return _render(_accepted(messages, tokenizer), tokenizer, add_generation_prompt=True)


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the texts of all special tokens of a base, sorted."""
    # All added ones, not `all_special_tokens` only: that leaves out the base's own end token, which
    # still stops answers, and the headers of its own chat format.
    added = tokenizer.added_tokens_decoder.values()
    return sorted({*tokenizer.all_special_tokens, *(t.content for t in added if t.special)})


@lru_cache(maxsize=8)
def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id of the token that ends an answer in the base's own template.

    Raises TrainError when there is no template or it ends answers without a token.
    """
    if not isinstance(tokenizer.chat_template, str):
        raise TrainError("the base has no chat template of its own", "leave template at `chatml`")
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": _placeholder(1)}]
    rest = _render(turns, tokenizer).partition(_placeholder(1))[2]
    end = _end(rest, special_tokens(tokenizer))
    ids: list[int] = tokenizer(rest[:end], add_special_tokens=False)["input_ids"]
    if not ids or ids[-1] not in tokenizer.added_tokens_decoder:
        raise TrainError(
            "the base's own chat template puts no token after answers: a model would never stop",
            "leave template at `chatml`",
        )
    return ids[-1]


def _with_placeholders(turns: Messages) -> list[Mapping[str, Any]]:
    return [
        _with_placeholder(turn, at) if turn["role"] == "assistant" else turn
        for at, turn in enumerate(turns)
    ]


def _with_placeholder(turn: Mapping[str, Any], at: int) -> Mapping[str, Any]:
    if "tool_calls" not in turn:
        return {**turn, "content": _placeholder(at)}
    calls = [
        {**call, "function": {**call["function"], "name": _placeholder(f"{at}.{place}")}}
        for place, call in enumerate(turn["tool_calls"])
    ]
    # A call without words stays one: a template may put a line break behind words.
    return {**turn, "content": turn["content"] and _placeholder(at), "tool_calls": calls}


def _placeholder(name: object) -> str:
    # Characters of the private use area: no text has them, no template changes them.
    return f"\ue0f0{name}\ue0f1"


def _end(text: str, special: Sequence[str]) -> int:
    """Return where the special token that `text` begins with ends, 0 where there is none."""
    places = [(text.index(token), len(token)) for token in special if token and token in text]
    if not places:
        return 0
    start, length = min(places, key=lambda place: (place[0], -place[1]))
    return start + length if not text[:start].strip() else 0


@lru_cache(maxsize=8)
def _opening(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return what the template adds to ask for an answer: the head of an assistant's turn."""
    turns = [{"role": "user", "content": "x"}]
    prompt = _render(turns, tokenizer, add_generation_prompt=True)
    return prompt.removeprefix(_render(turns, tokenizer))


@lru_cache(maxsize=8)
def _takes_system(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Tell whether the template renders a system message; some refuse it, some lose it."""
    turns = [{"role": "system", "content": _placeholder(0)}, {"role": "user", "content": "x"}]
    try:
        return _placeholder(0) in _render(turns, tokenizer)
    except TrainError:
        return False


def _accepted(messages: Messages, tokenizer: PreTrainedTokenizerBase) -> list[dict[str, Any]]:
    """Return `messages` as templates want them: words trimmed, one turn of a role after the other.

    A system message goes into the first question where the template has no place for one.
    """
    turns: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for message in messages:
        words = message["content"].strip()
        if message["role"] == "tool":
            # Some templates write the function's name beside its result.
            turns.append({**message, "name": names[message["tool_call_id"]]})
        elif "tool_calls" in message and (form := _call_form(tokenizer)):
            names |= {call["id"]: call["function"]["name"] for call in message["tool_calls"]}
            turns.append(form.turn(message))
        elif turns and turns[-1]["role"] == message["role"]:
            turns[-1]["content"] += f"\n\n{words}"
        else:
            turns.append({"role": message["role"], "content": words})
    if turns and turns[0]["role"] == "system" and not _takes_system(tokenizer):
        system = turns.pop(0)["content"]
        if not turns or turns[0]["role"] != "user":
            turns.insert(0, {"role": "user", "content": ""})
        turns[0]["content"] = f"{system}\n\n{turns[0]['content']}".strip()
    return turns


def _render(
    turns: Messages,
    tokenizer: PreTrainedTokenizerBase,
    tools: Tools = (),
    *,
    add_generation_prompt: bool = False,
) -> str:
    from jinja2.exceptions import TemplateError

    try:
        text: Any = tokenizer.apply_chat_template(
            [dict(turn) for turn in turns],
            tools=[dict(tool) for tool in tools] or None,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
        )
    except (TemplateError, TypeError, KeyError) as error:
        advice = "leave template at `chatml`, or let questions and answers alternate"
        if tools or any("tool_calls" in turn for turn in turns):
            advice = (
                "leave such rows out of the dataset, or set tools = false under [[sources.mix]]"
            )
        raise TrainError(
            f"the base's own chat template refuses a conversation ({error})", advice
        ) from error
    return str(text)

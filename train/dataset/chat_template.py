"""Render a conversation in the base's own chat template, and find the assistant's part of it.

Nearly no published template marks the assistant's words. So each answer is rendered as a
placeholder; its place in the text tells where the words stand, and the special token after it is
what ends the turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from memoirist.data.composition.chatml import TEMPLATE
from memoirist.data.schema.errors import TrainError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


Messages = Sequence[Mapping[str, str]]


def is_native(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Tell whether the tokenizer carries a chat template other than our ChatML."""
    template = tokenizer.chat_template
    return isinstance(template, str) and not template.endswith(TEMPLATE)


def native_segments(
    messages: Messages, tokenizer: PreTrainedTokenizerBase
) -> list[tuple[str, bool]]:
    """Return the rendered text piece by piece, with whether the model is trained on it.

    Trained are the assistant's words with the token that ends its turn, and whatever the
    template puts between its generation prompt and the words. Raises TrainError when the template
    refuses the conversation.
    """
    turns = _accepted(messages, tokenizer)
    try:
        rest = _render(_with_placeholders(turns), tokenizer)
    except TrainError:
        first = 1 if turns and turns[0]["role"] == "system" else 0
        if turns[first:][:1] and turns[first]["role"] == "user":
            raise
        # Many templates want a user's turn first, and some conversations begin with an answer.
        turns.insert(first, {"role": "user", "content": ""})
        rest = _render(_with_placeholders(turns), tokenizer)
    opening, special = _opening(tokenizer), special_tokens(tokenizer)
    pieces: list[tuple[str, bool]] = []
    for at, turn in enumerate(turns):
        if turn["role"] != "assistant":
            continue
        before, placeholder, rest = rest.partition(_placeholder(at))
        if not placeholder:
            # The template leaves this turn out; what is not rendered cannot be trained.
            rest = before
            continue
        if opening and opening in before:
            lead = before[before.rindex(opening) + len(opening) :]
        else:
            # Without a generation prompt, a blank before the words is part of their token.
            lead = before[len(before.rstrip()) :]
        end = _end(rest, special)
        pieces.append((before[: len(before) - len(lead)], False))
        pieces.append((lead + turn["content"] + rest[:end], True))
        rest = rest[end:]
    return [*pieces, (rest, False)]


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


def _with_placeholders(turns: Messages) -> list[Mapping[str, str]]:
    return [
        {**turn, "content": _placeholder(at)} if turn["role"] == "assistant" else turn
        for at, turn in enumerate(turns)
    ]


def _placeholder(at: int) -> str:
    # Characters of the private use area: no text has them, no template changes them.
    return f"\ue0f0{at}\ue0f1"


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


def _accepted(messages: Messages, tokenizer: PreTrainedTokenizerBase) -> list[dict[str, str]]:
    """Return `messages` as templates want them: words trimmed, one turn of a role after the other.

    A system message goes into the first question where the template has no place for one.
    """
    turns: list[dict[str, str]] = []
    for message in messages:
        words = message["content"].strip()
        if turns and turns[-1]["role"] == message["role"]:
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
    turns: Messages, tokenizer: PreTrainedTokenizerBase, add_generation_prompt: bool = False
) -> str:
    from jinja2.exceptions import TemplateError

    try:
        text: Any = tokenizer.apply_chat_template(
            [dict(turn) for turn in turns],
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
        )
    except (TemplateError, TypeError, KeyError) as error:
        raise TrainError(
            f"the base's own chat template refuses a conversation ({error})",
            "leave template at `chatml`, or let questions and answers alternate",
        ) from error
    return str(text)

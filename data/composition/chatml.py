"""Render ChatML, the one chat format of training, saved models and serving."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

IM_START = "<|im_start|>"
IM_END = "<|im_end|>"

# A control token inside a message would start a turn, so it loses its bars, here and in the
# template, so that training, chat and every server that reads the template agree.
_FORGED = ((IM_START, "<im_start>"), (IM_END, "<im_end>"))

# The content is trimmed because a leading newline and the newline after the role could become one
# token, and the prompt would no longer be a prefix of the trained row. `generation` marks what the
# model learns: the assistant's content with the end token, without which it would never stop.
TEMPLATE = "".join(Path(__file__).with_suffix(".jinja").read_text("utf-8").splitlines())


def segments(messages: Sequence[Mapping[str, str]]) -> Iterator[tuple[str, bool]]:
    """Yield the text of `messages` piece by piece, with whether the model is trained on it."""
    for message in messages:
        words = message["content"].strip()
        for forged, harmless in _FORGED:
            words = words.replace(forged, harmless)
        yield f"{IM_START}{message['role']}\n", False
        yield words + IM_END, message["role"] == "assistant"
        yield "\n", False


def render(messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = False) -> str:
    """Return `messages` as ChatML text, equal to what `TEMPLATE` renders."""
    text = "".join(piece for piece, _ in segments(messages))
    return text + (f"{IM_START}assistant\n" if add_generation_prompt else "")

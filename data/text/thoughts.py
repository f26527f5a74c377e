"""Tell what a model says from what it thinks first, by the marks of the chat formats.

The marks are those of DeepSeek, Qwen, Magistral, Kimi, Command A, Seed, EXAONE, OpenThoughts,
GPT-OSS (harmony), MedGemma, Gemma 4 and Open WebUI's export; prompts ask for the other tags.
"""

from __future__ import annotations

import re

_TAGS = (
    "(?:seed:|mm:|longcat_|ant)?(?:think(?:ing)?(?:_process)?|thoughts?|reasoning(?:_content)?"
    "|reflection|scratchpad|analysis|inner_monologue)"
)
# Some exports escape the tags; a tag may have attributes.
_OPEN, _CLOSE = "(?:<|&lt;)", r"(?:\s+\w+=[^<>]{0,80}?)?\s*(?:>|&gt;)"
_MARKS = re.compile(
    rf"(?P<start>{_OPEN}{_TAGS}{_CLOSE}|(?-i:\[THINK\])|◁think▷"
    r"|<\|begin_of_thought\|>|<\|START_THINKING\|>"
    r"|<unused94>(?:thought\b)?|<\|channel>(?:thought\b)?|<\|start_think\|>"
    r"|<\|inner_prefix\|>|<\|channel\|>(?:analysis|commentary)"
    r"|<details type=.reasoning.[^>]{0,200}>)"
    rf"|{_OPEN}/{_TAGS}{_CLOSE}|(?-i:\[/THINK\])|◁/think▷"
    r"|<\|end_of_thought\|>|<\|END_THINKING\|>|<\|inner_suffix\|>"
    r"|<unused95>|<channel\|>|<\|end_think\|>"
    r"|<\|channel\|>final(?:\s[^<]*)?<\|message\|>|(?P<details></details>)",
    re.IGNORECASE,
)
# GPT-OSS without its special tokens, as servers without its parser give it.
_BARE_HARMONY = re.compile(r"\A\s*analysis.*?assistantfinal(?=\S)", re.DOTALL)
# What stands around the answer that such a model gives.
_FRAME = re.compile(
    r"</?(?:answer|output|response|solution)>|<\|(?:begin|end)_of_solution\|>"
    r"|<\|(?:START|END)_RESPONSE\|>|<\|(?:end|return)\|>|<\|start\|>assistant",
    re.IGNORECASE,
)
_QUOTES = ("``", '""', "''", "“”", "«»")
_MENTION = re.compile(r"[ -](?:tags?|tokens?|blocks?|marks?)\b", re.IGNORECASE)


def split_thoughts(text: str) -> tuple[list[str], str | None]:
    """Return the pieces of a text between its thoughts, and a last thought that is not closed.

    What stands before an end without a beginning is thought, as the prompt may hold the beginning.
    A mark in quotation marks, or called a tag, is a word of the text.
    """
    pieces: list[str] = []
    at, inside = 0, ""
    for match in _MARKS.finditer(text):
        kind = (match.lastgroup or "end") + ("" if inside else " outside")
        if kind in ("start", "details outside") or _is_mention(text, match):
            continue
        if kind == "details" and not inside.startswith("<details"):
            continue
        if kind == "start outside":
            pieces.append(text[at : match.start()])
            inside = match.group()
        elif inside:
            inside = ""
        else:
            pieces = [""]
        at = match.end()
    return (pieces, text[at:]) if inside else ([*pieces, text[at:]], None)


def without_thoughts(text: str) -> tuple[str, int]:
    """Return what a text says without its thoughts, and how many these are; none change nothing."""
    said, n_bare = _BARE_HARMONY.subn("", text, count=1) if "assistantfinal" in text else (text, 0)
    pieces, open_thought = split_thoughts(said)
    n_thoughts = n_bare + len(pieces) - (open_thought is None)
    if not n_thoughts:
        return text, 0
    words = (_FRAME.sub("", piece).strip() for piece in pieces)
    return "\n\n".join(word for word in words if word), n_thoughts


def _is_mention(text: str, mark: re.Match[str]) -> bool:
    around = text[max(mark.start() - 1, 0) : mark.start()] + text[mark.end() : mark.end() + 1]
    return around in _QUOTES or _MENTION.match(text, mark.end()) is not None

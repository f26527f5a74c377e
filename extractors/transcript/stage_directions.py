"""Remove stage directions from speech: what a transcript notes besides the words."""

from __future__ import annotations

import re

from memoirist.extractors.word_tables import any_of, word_set

_STRONG = any_of("stage_directions", "strong")
_WEAK = any_of("stage_directions", "weak")
_HAN = any_of("stage_directions", "han")
_INAUDIBLE = re.compile(any_of("stage_directions", "inaudible"), re.IGNORECASE)
_SQUARE = re.compile(
    rf"\[(?:[^\[\]\n]{{0,30}}\b)?(?:{_STRONG}|{_WEAK})\b[^\[\]\n]{{0,40}}\]"
    # "[Name beatboxing]": a participle ends it.
    rf"|\[[^\[\]\n]{{0,24}}\b\w{{3,}}ing\]|\[[^\w\[\]\n]{0, 20}\]"
    rf"|[\[【（(]\s*{_HAN}[^】）)\]\n]{{0,8}}[】）)\]]",
    re.IGNORECASE,
)
_ROUND = re.compile(rf"[(*](?:[^()*\n]{{0,20}}\b)?{_STRONG}\b[^()*\n]{{0,20}}[)*]", re.IGNORECASE)
_SUNG = re.compile(r"[♪♫♬][^♪♫♬\n]{0,400}[♪♫♬]|[♪♫♬]")
_TIMES = re.compile(r"\[\s*(?:\d{1,3}:)?\d{1,3}:\d{2}(?:[.,]\d{1,3})?\s*\]")
# Markdown writes brackets with a backslash.
_ESCAPED = re.compile(r"\\([\[\]])")
_MAX_WORDS = 4
_PARTS = word_set("stage_directions", "parts")


def is_programme_part(text: str) -> bool:
    """Tell whether a whole label or entry only names a part of the programme ("Break", "Intro")."""
    words = re.findall(r"\w+", text.casefold())
    return 0 < len(words) <= 2 and words[0] in _PARTS and not (set(words) - _PARTS - {"song"})


def remove_directions(text: str) -> tuple[str, list[str]]:
    """Return the text without stage directions and time marks, and what is removed, in order.

    Where words could not be heard inside a sentence, "…" stands for them.
    """
    removed: list[str] = []
    text = _ESCAPED.sub(r"\1", text)

    def replacement(match: re.Match[str]) -> str:
        direction = match.group()
        if direction.startswith(("(", "*")) and len(direction.split()) > _MAX_WORDS:
            return direction  # too long for a direction: an aside of the speaker's
        removed.append(" ".join(direction.split()))
        is_inside = text[: match.start()].strip() and text[match.end() :].strip(" .!?\n")
        return " … " if is_inside and _INAUDIBLE.search(direction) else " "

    # Each pattern sees the text that the one before has left.
    for pattern in (_SUNG, _TIMES, _SQUARE, _ROUND):
        text = pattern.sub(replacement, text)
    return (_tidy(text) if removed else text.strip()), removed


def _tidy(text: str) -> str:
    text = re.sub(r"[ \t]+", " ", text)
    text = re.sub(r" +([,.;:!?](?:\s|$))", r"\1", text)
    text = re.sub(r"(?:… ?){2,}", "… ", text)
    paragraphs = (part.strip() for part in re.split(r"\s*\n\s*\n\s*", text))
    return "\n\n".join(part for part in paragraphs if re.search(r"\w", part))

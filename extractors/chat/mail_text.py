"""Tell the words of a mail's sender from what is quoted, forwarded or put below them."""

from __future__ import annotations

import re
from itertools import pairwise

from memoirist.extractors.chat.base import plain
from memoirist.extractors.word_tables import any_of

_ATTRIBUTION = re.compile(any_of("mail", "attribution"))
_BELOW = re.compile(any_of("mail", "below"), re.IGNORECASE)
_FORWARDED = re.compile(any_of("mail", "forwarded"), re.IGNORECASE)
_OUTLOOK, _SENT = (re.compile(any_of("mail", key)) for key in ("outlook", "sent"))
_DEVICE = re.compile(any_of("mail", "device"), re.IGNORECASE)
_QUOTED = re.compile(r"\s{0,3}[>|]")
_SIGNATURE = re.compile(r"-- ?|—{1,2}|_{3,19}")
# A line that was broken where a window ended goes on in the next one.
_FULL_LINE = 60


def own_words(text: str) -> tuple[str, int, int, bool]:
    """Return the sender's words, the lines cut as quotations and signature, and if it forwards.

    An answer below or between the quoted lines stays; what stands behind the head of another mail
    is that mail.
    """
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    lines, n_below, is_forward = _without_other_mail(lines)
    lines, n_signature = _without_signature(lines)
    own: list[str] = []
    n_quoted = n_below
    at = 0
    while at < len(lines):
        n_lines = _attribution_lines(lines, at)
        if n_lines:
            n_quoted += n_lines
            at += n_lines
            continue
        if _QUOTED.match(lines[at]):
            n_quoted += 1
        else:
            own.append(lines[at])
        at += 1
    return _paragraphs(own), n_quoted, n_signature, is_forward


def _without_other_mail(lines: list[str]) -> tuple[list[str], int, bool]:
    """Return the lines above another mail that is not marked by ">", and how many stand below."""
    for at, line in enumerate(lines):
        text = plain(line)
        below = lines[at : at + 6]
        is_head = _OUTLOOK.fullmatch(text) and any(_SENT.fullmatch(plain(b)) for b in below[1:])
        forwards = _FORWARDED.fullmatch(text) is not None
        if is_head or forwards or _BELOW.fullmatch(text):
            return lines[:at], sum(bool(rest.strip()) for rest in lines[at:]), forwards
        n_lines = _attribution_lines(lines, at)
        if n_lines and not any(_QUOTED.match(rest) for rest in lines[at + n_lines :]):
            n_below = sum(bool(rest.strip()) for rest in lines[at:])
            return lines[:at], n_below, False
    return lines, 0, False


def _attribution_lines(lines: list[str], at: int) -> int:
    """Return how many lines say whose words follow: none, one, or two where the line is broken."""
    text = plain(lines[at])
    if not text or _QUOTED.match(text):
        return 0
    if _ATTRIBUTION.fullmatch(text):
        return 1
    if at + 1 < len(lines) and _ATTRIBUTION.fullmatch(f"{text} {plain(lines[at + 1])}"):
        return 2
    return 0


def _without_signature(lines: list[str]) -> tuple[list[str], int]:
    for at, line in enumerate(lines):
        # A signature ends a mail: its sign may also part paragraphs.
        rest = [text for text in lines[at + 1 :] if text.strip()]
        if _SIGNATURE.fullmatch(line) and len(rest) <= 12 and not any(map(_QUOTED.match, rest)):
            return lines[:at], len(rest) + 1
    kept = [line for line in lines if not _DEVICE.fullmatch(plain(line))]
    return kept, len(lines) - len(kept)


def _paragraphs(lines: list[str]) -> str:
    """Return the lines as paragraphs, those joined that were broken at the end of a window."""
    paragraphs: list[str] = []
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines)):
        parts = [part for part in plain(paragraph).split("\n") if part]
        if not parts:
            continue
        text = parts[0]
        for before, part in pairwise(parts):
            is_list = re.match(r"[-*•]\s|\d{1,2}[.)]\s", part)
            text += (" " if len(before) >= _FULL_LINE and not is_list else "\n") + part
        paragraphs.append(text)
    return "\n\n".join(paragraphs)

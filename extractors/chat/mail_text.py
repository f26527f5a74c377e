"""Tell the words of a mail's sender from what is quoted, forwarded or put below them."""

from __future__ import annotations

import re
from itertools import pairwise

from lxml import etree

from memoirist.extractors.chat.base import plain
from memoirist.extractors.text.html_elements import parse
from memoirist.extractors.word_tables import any_of, word_set

_ATTRIBUTION = re.compile(any_of("mail", "attribution"))
_BELOW = re.compile(any_of("mail", "below"), re.IGNORECASE)
_FORWARDED = re.compile(any_of("mail", "forwarded"), re.IGNORECASE)
_FROM, _SENT = (re.compile(any_of("mail", key)) for key in ("from", "sent"))
_DEVICE = re.compile(any_of("mail", "device"), re.IGNORECASE)
_LINES, _SKIPPED = (word_set("mail", key) for key in ("line_elements", "skipped_elements"))
_QUOTED = re.compile(r"\s{0,3}[>|]")
_SIGNATURE = re.compile(r"-- ?|—{1,2}|_{3,19}")
_CERTAIN = re.compile(r"\d{1,2}[:.h]\d{2}\b|@")
_MOST_BROKEN = 4
_LONGEST_SIGNATURE = 12
# A line that was broken where a window ended goes on in the next one.
_FULL_LINE = 60


def text_of_page(page: str) -> str:
    """Return what a mail in HTML says, line by line; what it quotes begins with ">"."""
    root = parse(f"<body>{page}</body>", xhtml=False)
    lines: list[str] = []
    line, depth, skipped = "", 0, 0

    def end_line() -> None:
        nonlocal line
        words = " ".join(line.split())
        lines.append(f"{'>' * depth} {words}".strip() if depth and words else words)
        line = ""

    for event, element in etree.iterwalk(root, events=("start", "end")) if root is not None else ():
        tag = element.tag if isinstance(element.tag, str) else ""
        is_start = event == "start"
        if tag in _LINES:
            end_line()
        if tag == "p" or (tag == "div" and not is_start):
            end_line()
        depth += (1 if is_start else -1) * (tag == "blockquote")
        skipped += (1 if is_start else -1) * (tag in _SKIPPED)
        text = element.text if is_start else element.tail
        if text and not skipped:
            line += text
    end_line()
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def own_words(text: str) -> tuple[str, int, int, bool]:
    """Return the sender's words, the lines cut as quotations and signature, and if it forwards.

    An answer below or between the quoted lines stays; what stands behind the head of another mail
    is that mail.
    """
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    lines, n_below, is_forward = _without_other_mail(lines)
    lines, n_signature = _without_signature(lines)
    own: list[str] = []
    at = 0
    while at < len(lines):
        n_lines = _attribution_lines(lines, at)
        if n_lines and _is_quoted_next(lines, at + n_lines):
            at += n_lines
            continue
        if not _QUOTED.match(lines[at]):
            own.append(lines[at])
        at += 1
    n_quoted = n_below + len(lines) - len(own)
    return _paragraphs(own), n_quoted, n_signature, is_forward


def _without_other_mail(lines: list[str]) -> tuple[list[str], int, bool]:
    """Return the lines above another mail that is not marked by ">", and how many stand below."""
    for at, line in enumerate(lines):
        text = plain(line)
        below = [plain(line) for line in lines[at + 1 : at + 6]]
        is_head = (_FROM.fullmatch(text) and any(map(_SENT.fullmatch, below))) or (
            _SENT.fullmatch(text) and any(map(_FROM.fullmatch, below))
        )
        forwards = _FORWARDED.fullmatch(text) is not None
        n_lines = 0 if is_head or forwards else _attribution_lines(lines, at)
        # "My mother once wrote:" begins no other mail; its time or its address tells.
        is_answered = n_lines and _CERTAIN.search(" ".join(lines[at : at + n_lines]))
        if is_answered and any(_QUOTED.match(rest) for rest in lines[at + n_lines :]):
            continue
        if is_head or forwards or is_answered or _BELOW.fullmatch(text):
            return lines[:at], sum(bool(rest.strip()) for rest in lines[at:]), forwards
    return lines, 0, False


def _attribution_lines(lines: list[str], at: int) -> int:
    """Return how many lines say whose words follow: none, or up to four where it is broken."""
    text = ""
    for n, line in enumerate(lines[at : at + _MOST_BROKEN], start=1):
        if not line.strip() or _QUOTED.match(line):
            return 0
        text = f"{text} {plain(line)}".strip()
        if _ATTRIBUTION.fullmatch(text):
            # The date stands in the first line; "Hello" above it is no part of it.
            return n if n == 1 or re.search(r"\d", lines[at]) else 0
    return 0


def _is_quoted_next(lines: list[str], at: int) -> bool:
    return bool(_QUOTED.match(next((line for line in lines[at:] if line.strip()), "")))


def _without_signature(lines: list[str]) -> tuple[list[str], int]:
    """Return the lines without a signature, which ends before what is quoted below it."""
    for at, line in enumerate(lines):
        if not _SIGNATURE.fullmatch(line):
            continue
        end = next((n for n in range(at + 1, len(lines)) if _ends_signature(lines, n)), len(lines))
        n_lines = sum(bool(text.strip()) for text in lines[at:end])
        # The sign may also part paragraphs.
        if n_lines <= _LONGEST_SIGNATURE:
            return lines[:at] + lines[end:], n_lines
    kept = [line for line in lines if not _DEVICE.fullmatch(plain(line))]
    return kept, len(lines) - len(kept)


def _ends_signature(lines: list[str], at: int) -> bool:
    return bool(_QUOTED.match(lines[at])) or _attribution_lines(lines, at) > 0


def _paragraphs(lines: list[str]) -> str:
    """Return the lines as paragraphs, those joined that were broken at the end of a window."""
    while lines and re.fullmatch(r"[-_=*\s]*", lines[-1]):
        lines = lines[:-1]
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

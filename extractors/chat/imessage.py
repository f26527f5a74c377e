"""Read the texts that imessage-exporter writes of the chats in Apple's Messages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from memoirist.extractors.chat.base import Chat, Message, Rule, label, others, plain
from memoirist.extractors.chat.chat_files import ChatFile, heads
from memoirist.extractors.word_tables import table

_TIME = r"(?P<time>[A-Z][a-z]{2} \d{2}, \d{4} {1,2}\d{1,2}:\d{2}:\d{2} [AP]M)"
_HEADER = re.compile(rf"{_TIME}(?P<read> \((?:Read|Delivered) .{{0,80}}\))?")
# A notice stands behind its time.
_NOTICE = re.compile(rf"{_TIME} (?!\()(?P<notice>\S.*)")
_MONTHS = {name: n for n, name in enumerate(table("imessage")["months"].split(), start=1)}
_REACTIONS = re.compile(r"(?:Tapbacks|Reactions):")
_EDITED = re.compile(r"\n?Edited .{1,60}? later: ")
_FILE = re.compile(r"(?:[^\s/]{0,200}/){1,20}[^/\n]{1,200}\.\w{2,5}|Attachment missing!")
_STICKER = re.compile(r"(?:\w+ )?Sticker from .{1,200}")
_EFFECT = re.compile(r"Sent with [A-Z][\w ]{2,30}")
_DELETED = re.compile(
    r"This message was deleted from the conversation!"
    r"|\S.{0,80} (?:deleted|unsent) (?:a|this) message(?: part)?[!.]?(?: .{1,60} after sending!?)?"
)
_REPLY = "This message responded to an earlier message."


def is_imessage(path: Path) -> bool:
    """Tell whether a file is a text of imessage-exporter."""
    return any(_begins(head) for _, head in heads(path, (".txt",)))


def _begins(head: str) -> bool:
    lines = [line.rstrip() for line in head.split("\n")]
    first = next((line for line in lines if line), "")
    return bool(_HEADER.fullmatch(first) or _NOTICE.fullmatch(first)) and any(
        _HEADER.fullmatch(line) for line in lines
    )


def read_imessage(file: ChatFile) -> list[Chat]:
    """Return the one chat of a text."""
    messages = list(_messages(file.text.replace("\r\n", "\n").split("\n")))
    return [Chat(name=others(messages), messages=messages)] if messages else []


def _messages(lines: Sequence[str]) -> Iterator[Message]:
    header: re.Match[str] | None = None
    body: list[str] = []
    before = ""
    for line in lines:
        # A time within a message, as before the first words of a changed one, begins none.
        begins = not before.strip()
        before = line
        notice = _NOTICE.fullmatch(line.rstrip()) if begins else None
        match = _HEADER.fullmatch(line.rstrip()) if begins else None
        if match is None and notice is None:
            body.append(line)
            continue
        if header is not None:
            yield _message(header, body)
        header, body = match, []
        if notice is not None and match is None:
            yield Message(text=plain(notice["notice"]), time=_time(notice), rule="system_message")
    if header is not None:
        yield _message(header, body)


def _time(match: re.Match[str]) -> datetime | None:
    month, day, year, clock, half = match["time"].replace(",", "").split()
    hour, minute, second = map(int, clock.split(":"))
    hour = hour % 12 + (12 if half == "PM" else 0)
    try:
        return datetime(int(year), _MONTHS[month], int(day), hour, minute, second, tzinfo=UTC)
    except (ValueError, KeyError):
        return None


def _message(header: re.Match[str], lines: Sequence[str]) -> Message:
    sender = label(lines[0]) if lines else None
    words, rule = _words(lines[1:])
    return Message(
        text=words or "[no text]",
        sender=sender,
        time=_time(header),
        rule=rule or (None if words else "media"),
    )


def _words(lines: Sequence[str]) -> tuple[str, Rule | None]:
    """Return the words of a message, and the rule that sets it aside if it has none.

    Answers to it, which stand indented below, come again at their own time.
    """
    kept: list[str] = []
    rule: Rule | None = None
    indented = reactions = False
    for line in lines:
        indented = line.startswith("    ") and (indented or bool(_HEADER.match(line.strip())))
        reactions = bool(_REACTIONS.fullmatch(line)) or (reactions and " by " in line)
        if indented or reactions or line == _REPLY or _EFFECT.fullmatch(line):
            continue
        if _DELETED.fullmatch(line):
            rule = "deleted_message"
        elif _FILE.fullmatch(line) or _STICKER.fullmatch(line):
            rule = rule or ("sticker" if _STICKER.fullmatch(line) else "media")
        else:
            kept.append(line)
    text = plain("\n".join(kept))
    edited = list(_EDITED.finditer(text))
    if edited:
        text = text[edited[-1].end() :]
    return (text, None) if text else ("\n".join(filter(None, map(plain, lines)))[:500], rule)

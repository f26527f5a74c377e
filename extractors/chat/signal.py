"""Read the chats that signal-export writes, as Markdown or as JSON lines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from memoirist.extractors.chat.base import (
    BadMessage,
    Chat,
    Message,
    Rule,
    above,
    entries,
    from_text,
    label,
    mapping,
    others,
    parsed,
    plain,
    without_quotes,
)
from memoirist.extractors.chat.chat_files import ChatFile, heads
from memoirist.extractors.chat.whatsapp_lines import Line, lines_of, looks_like_messages

_FIRST_LINE = re.compile(r"\[\d{4}-\d\d-\d\d,? \d\d:\d\d(?::\d\d)?\] [^\n:]{1,80}: ", re.MULTILINE)
_JSON_KEYS = tuple(rf'"{key}"\s*:' for key in ("date", "sender", "body", "quote", "reactions"))
_NO_SENDER = "No-Sender"
_REACTIONS = re.compile(r"\n?\(- .{1,2000} -\)")
_STICKER = re.compile(
    r"\n?\(\( .{0,80} \)\)|\[[^\[\]\n]{0,80}\]\(\.\./exported_stickers/[^()\n]+\)"
)
_ATTACHMENT = re.compile(
    r"!?\[[^\[\]\n]{0,300}\]\((?:\./)?media/[^()\n]*\)"
    r"|\((?:media|attachment|image|audio|video) not exported\)"
)
_DELETED = "(This message was deleted)"
_CALL = re.compile(r"(?:Incoming|Outgoing|Missed)(?: voice| video)? call(?: \([^()\n]{1,40}\))?")


def is_signal(path: Path) -> bool:
    """Tell whether a file is a chat that signal-export wrote."""
    return any(
        all(re.search(key, head.split("\n", 1)[0]) for key in _JSON_KEYS)
        if name.lower().endswith(".json")
        else bool(_FIRST_LINE.match(head.lstrip("\ufeff\n"))) and looks_like_messages(head)
        for name, head in heads(path, (".md", ".json"))
    )


def read_signal(file: ChatFile) -> list[Chat]:
    """Return the one chat of a file."""
    bad: list[BadMessage] = []
    if file.name.lower().endswith(".json"):
        messages = _from_json(file.text, bad)
    else:
        lines, n_above = lines_of(file.text)
        messages, bad = [_from_line(line) for line in lines], above(n_above)
    return [Chat(name=others(messages), messages=messages, bad=bad)] if messages else []


def _from_line(line: Line) -> Message:
    text = plain(line.text)
    if text == _DELETED:
        return Message(text=text, sender=_name(line.sender), time=line.time, rule="deleted_message")
    text = _REACTIONS.sub("", text)
    text, n_stickers = _STICKER.subn("", text)
    text, n_files = _ATTACHMENT.subn("", text)
    words, n_quoted = without_quotes(plain(text))
    rule: Rule | None = None
    if line.sender in {None, _NO_SENDER} or _CALL.fullmatch(words):
        rule = "system_message"
    elif not words:
        rule = "sticker" if n_stickers else "quoted_only" if n_quoted and not n_files else "media"
    return Message(
        text=words or plain(line.text) or "[no text]",
        sender=None if rule == "system_message" else _name(line.sender),
        time=line.time,
        rule=rule,
        cuts={"quoted_reply": n_quoted} if n_quoted and rule is None else None,
    )


def _from_json(text: str, bad: list[BadMessage]) -> list[Message]:
    messages: list[Message] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        row = mapping(parsed(line))
        if not isinstance(row.get("body"), str):
            bad.append(BadMessage(f"line {number}", "it is not a message"))
            continue
        messages.append(_from_row(row))
    return messages


def _from_row(row: dict[str, Any]) -> Message:
    body, n_quoted = without_quotes(plain(str(row["body"])))
    rule: Rule | None = None
    if row.get("deleted") is True:
        rule = "deleted_message"
    elif row.get("call") is True or _CALL.fullmatch(body):
        rule = "system_message"
    elif not body:
        rule = "sticker" if row.get("sticker") else "media"
    return Message(
        text=body or f"[{'sticker' if row.get('sticker') else _names(row)}]",
        sender=None if rule == "system_message" else _name(row.get("sender")),
        time=from_text(row.get("date")),
        rule=rule,
        cuts={"quoted_reply": n_quoted} if n_quoted and rule is None else None,
    )


def _names(row: dict[str, Any]) -> str:
    names = [mapping(item).get("name") for item in entries(row.get("attachments"))]
    return ", ".join(str(name) for name in names if name) or "no text"


def _name(value: object) -> str | None:
    name = label(value)
    return None if name == _NO_SENDER else name

"""Read the messages in a download of one's data from Facebook or Instagram, and Messenger's own.

Both write the bytes of UTF-8 as if each were a letter, "Ã©" for "é", and the newest message first.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from memoirist.extractors.chat.base import (
    Chat,
    Message,
    Rule,
    bad_messages,
    entries,
    from_epoch,
    label,
    mapping,
    others,
    parsed_export,
    plain,
)
from memoirist.extractors.chat.chat_files import ChatFile, heads
from memoirist.extractors.word_tables import any_of

_SHAPES = (
    (r'"sender_name"\s*:', r'"timestamp_ms"\s*:', r'"messages"\s*:\s*\['),
    # Chats with end-to-end encryption are downloaded in a form of their own.
    (r'"senderName"\s*:', r'"threadName"\s*:|"isUnsent"\s*:', r'"messages"\s*:\s*\['),
)
_MEDIA = ("photos", "videos", "audio_files", "files", "gifs", "media", "share")
_NOTICES = {"subscribe", "unsubscribe", "call", "plan", "payment"}


def is_facebook(path: Path) -> bool:
    """Tell whether a file holds the messages of one chat of Facebook, Instagram or Messenger."""
    return any(
        any(all(re.search(key, head) for key in shape) for shape in _SHAPES)
        for _, head in heads(path, (".json",))
    )


def read_facebook(file: ChatFile) -> list[Chat]:
    """Return the one chat of a file, the oldest message first."""
    root, bad = parsed_export(file.text, file.name)
    items = entries(root.get("messages"))
    if not any(isinstance(item, dict) and _sender(item) for item in items):
        return [Chat(name=None, messages=(), bad=bad)] if bad else []
    messages = [_message(item) for item in items if isinstance(item, dict)]
    times = [message.time for message in messages if message.time]
    if times and times[0] > times[-1]:
        messages.reverse()
    people = [mapping(row).get("name", row) for row in entries(root.get("participants"))]
    names = [name for name in (label(repaired(person)) for person in people) if name]
    title = label(repaired(root.get("title"))) or label(repaired(root.get("threadName")))
    return [
        Chat(
            name=re.sub(r"_\d+$", "", title) if title else others(messages),
            messages=messages,
            key=str(root.get("thread_path") or root.get("threadName") or ""),
            bad=[*bad_messages(items, "message"), *bad],
            people=names,
            thread=str(root.get("thread_path") or _folder(file.name)),
        )
    ]


def _folder(name: str) -> str:
    """Return the folder of a file that is one of the numbered parts of a chat."""
    path = PurePosixPath(name)
    return str(path.parent) if re.fullmatch(r"message_\d+\.json", path.name) else ""


def repaired(value: object) -> str:
    """Return a text whose letters were the bytes of UTF-8; any other text as it is."""
    if not isinstance(value, str):
        return ""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


def _sender(item: dict[str, Any]) -> str | None:
    return label(repaired(item.get("sender_name") or item.get("senderName")))


def _message(item: dict[str, Any]) -> Message:
    text = plain(repaired(item.get("content") or item.get("text")))
    sender = _sender(item)
    rule = _rule(item, text, sender)
    return Message(
        text=text or (f"[{_kind(item)}]" if rule else ""),
        sender=None if rule == "system_message" else sender,
        time=from_epoch(item.get("timestamp_ms") or item.get("timestamp"), scale=1000),
        rule=rule,
    )


def _rule(item: dict[str, Any], text: str, sender: str | None) -> Rule | None:
    if item.get("is_unsent") is True or item.get("isUnsent") is True:
        return "deleted_message"
    if str(item.get("type", "")).casefold() in _NOTICES or "call_duration" in item:
        return "system_message"
    if item.get("sticker"):
        return "sticker"
    has_media = any(item.get(key) for key in _MEDIA)
    if not text:
        return "media"
    name = (sender or "").split(" ")[0]
    match = _notice().fullmatch(text)
    if match and (match["who"] is None or match["who"] in {sender, name, "You"}):
        return "media" if has_media else "system_message"
    return None


@cache
def _notice() -> re.Pattern[str]:
    """Return the pattern of what Messenger and Instagram write themselves."""
    acts, alone = any_of("chat", "messenger_acts"), any_of("chat", "messenger_notices")
    return re.compile(rf"(?P<who>\S.{{0,60}}?) {acts}|{alone}")


def _kind(item: dict[str, Any]) -> str:
    """Return what a message without words holds."""
    keys = ("sticker", *_MEDIA, "call_duration")
    return next((key for key in keys if item.get(key)), "no text")

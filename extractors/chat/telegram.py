"""Read what Telegram Desktop exports as JSON: one chat, or all chats of an account."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from memoirist.extractors.chat.base import (
    BadMessage,
    Chat,
    Cut,
    Message,
    Rule,
    bad_messages,
    entries,
    from_epoch,
    from_text,
    label,
    mapping,
    others,
    parsed_export,
    plain,
)
from memoirist.extractors.chat.chat_files import ChatFile, heads

_ACCOUNT = (r'"chats"\s*:\s*\{|"left_chats"\s*:\s*\{', r'"personal_information"\s*:|"list"\s*:')
_CHAT = (
    r'"messages"\s*:\s*\[',
    r'"type"\s*:\s*"(?:message|service)"',
    r'"(?:from|from_id|actor|actor_id)"\s*:',
    r'"date"\s*:\s*"\d{4}-\d\d-\d\dT',
)
_START = re.compile(r"\s*\{")
_MEDIA_KEYS = ("photo", "file", "contact_information", "location_information", "game_title")
_MORE_MEDIA_KEYS = ("media_type", "invoice_information", "place_name", "giveaway_information")


def is_telegram(path: Path) -> bool:
    """Tell whether a file is a chat or an account that Telegram Desktop exported."""
    return any(
        _START.match(head)
        and any(all(re.search(key, head) for key in keys) for keys in (_CHAT, _ACCOUNT))
        for _, head in heads(path, (".json",))
    )


def read_telegram(file: ChatFile) -> list[Chat]:
    """Return the chats of an export; what an account says about itself is nobody's message."""
    root, bad = parsed_export(file.text, file.name)
    if "messages" in root:
        return [_chat(root, 0, bad=bad)]
    owner = f"user{mapping(root.get('personal_information')).get('user_id')}"
    folders = [mapping(root.get(key)) for key in ("chats", "left_chats")]
    rows = [row for folder in folders for row in entries(folder.get("list"))]
    contacts = [_full_name(row) for row in entries(mapping(root.get("contacts")).get("list"))]
    people = [name for name in contacts if name]
    whole = [row for row in rows if isinstance(row, dict)]
    chats = [_chat(row, n, people, () if n else bad) for n, row in enumerate(whole)]
    return [replace(chat, messages=[_own(m, owner) for m in chat.messages]) for chat in chats]


def _own(message: Message, owner: str) -> Message:
    return replace(message, sender_id="") if message.sender_id == owner else message


def _full_name(contact: object) -> str | None:
    names = [mapping(contact).get(key) for key in ("first_name", "last_name")]
    return label(" ".join(name for name in names if isinstance(name, str)))


def _chat(
    row: dict[str, Any], n: int, people: Sequence[str] = (), bad: Sequence[BadMessage] = ()
) -> Chat:
    items = entries(row.get("messages"))
    bot = f"user{row.get('id')}" if row.get("type") == "bot_chat" else None
    messages = [_message(item, bot) for item in items if isinstance(item, dict)]
    # The notes to oneself have no name.
    name = label(row.get("name")) or label(row.get("type")) or others(messages)
    return Chat(
        name=name,
        messages=messages,
        key=str(row.get("id", n)),
        bad=[*_bad(items), *bad],
        people=people,
    )


def _bad(items: list[Any]) -> Iterator[BadMessage]:
    yield from bad_messages(items, "message")
    for number, item in enumerate(items, start=1):
        if isinstance(item, dict) and not isinstance(item.get("text", ""), str | list):
            yield BadMessage(f"message {number}", "its text is neither a string nor a list")


def _message(item: dict[str, Any], bot: str | None) -> Message:
    sender = item.get("from") or item.get("actor") or item.get("from_id") or item.get("actor_id")
    text, n_quoted = _text(item.get("text") or item.get("text_entities"))
    cuts: dict[Cut, int] = {"quoted_reply": n_quoted} if n_quoted else {}
    rule = _rule(item, text, bot, quoted=bool(n_quoted))
    return Message(
        text=text or (f"[{_kind(item)}]" if rule else ""),
        sender=None if rule == "system_message" else label(sender),
        sender_id=None if rule == "system_message" else label(item.get("from_id")),
        time=from_text(item.get("date")) or from_epoch(item.get("date_unixtime")),
        rule=rule,
        cuts=cuts if rule is None else None,
    )


def _rule(item: dict[str, Any], text: str, bot: str | None, *, quoted: bool) -> Rule | None:
    if item.get("type") != "message":
        return "system_message"
    if item.get("media_type") == "sticker":
        return "sticker"
    if "poll" in item:
        return "poll"
    # The name is null where the first sender hides it.
    if "forwarded_from" in item or "saved_from" in item:
        return "forward"
    if item.get("via_bot") or (bot and item.get("from_id") == bot):
        return "bot"
    if text:
        return None
    return "quoted_only" if quoted else "media"


def _kind(item: dict[str, Any]) -> str:
    """Return what a message without words holds."""
    if item.get("type") != "message":
        return str(item.get("action") or "service")
    if item.get("media_type") == "sticker":
        return f"sticker {item.get('sticker_emoji') or ''}".strip()
    keys = [key for key in (*_MORE_MEDIA_KEYS, *_MEDIA_KEYS) if item.get(key)]
    return str(item["media_type"]) if "media_type" in keys else (keys[0] if keys else "no text")


def _text(value: object) -> tuple[str, int]:
    """Return the words of a string, or of a list of strings and entities, and the quoted lines."""
    parts: list[str] = []
    n_quoted = 0
    for part in value if isinstance(value, list) else [value]:
        words = part if isinstance(part, str) else mapping(part).get("text")
        if not isinstance(words, str):
            continue
        if mapping(part).get("type") == "blockquote":
            n_quoted += words.strip().count("\n") + 1
            parts.append("\n")
        else:
            parts.append(words)
    return plain("".join(parts)), n_quoted

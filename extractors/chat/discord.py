"""Read the channels and direct messages that DiscordChatExporter writes as JSON."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from memoirist.extractors.chat.base import (
    Chat,
    Message,
    Rule,
    bad_messages,
    entries,
    from_text,
    label,
    mapping,
    others,
    parsed_export,
    plain,
    without_quotes,
)
from memoirist.extractors.chat.chat_files import ChatFile, heads

_KEYS = (
    r'"guild"\s*:\s*\{',
    r'"channel"\s*:\s*\{',
    r'"messages"\s*:\s*\[',
    r'"exportedAt"\s*:|"dateRange"\s*:|"timestampEdited"\s*:|"isPinned"\s*:',
)
# Other types are notices: who joined, what was pinned, a call.
_SPOKEN = {"Default", "Reply", "0", "19", ""}
_MENTION = re.compile(r"<@!?(\d+)>")
_EMOJI = re.compile(r"<a?(:\w+:)\d+>")


def is_discord(path: Path) -> bool:
    """Tell whether a file is a channel that DiscordChatExporter wrote."""
    return any(all(re.search(key, head) for key in _KEYS) for _, head in heads(path, (".json",)))


def read_discord(file: ChatFile) -> list[Chat]:
    """Return the one channel of a file."""
    root, bad = parsed_export(file.text, file.name)
    items = entries(root.get("messages"))
    channel = mapping(root.get("channel"))
    if not items or not channel:
        return [Chat(name=None, messages=(), bad=bad)] if bad else []
    messages = [_message(item) for item in items if isinstance(item, dict)]
    return [
        Chat(
            name=label(channel.get("name")) or others(messages),
            messages=messages,
            key=str(channel.get("id", "")),
            bad=[*bad_messages(items, "message"), *bad],
        )
    ]


def _message(item: dict[str, Any]) -> Message:
    author = mapping(item.get("author"))
    names = {
        str(user.get("id")): label(user.get("nickname")) or label(user.get("name")) or "?"
        for user in map(mapping, entries(item.get("mentions")))
    }
    content = item.get("content")
    content = content if isinstance(content, str) else ""
    content = _MENTION.sub(lambda match: f"@{names.get(match[1], match[1])}", content)
    text, n_quoted = without_quotes(plain(_EMOJI.sub(r"\1", content)))
    rule = _rule(item, author, text, quoted=n_quoted > 0)
    return Message(
        text=text or (f"[{_kind(item)}]" if rule else ""),
        sender=None
        if rule == "system_message"
        else label(author.get("nickname")) or label(author.get("name")),
        sender_id=None if rule == "system_message" else f"user{author.get('id')}",
        time=from_text(item.get("timestamp")),
        rule=rule,
        cuts={"quoted_reply": n_quoted} if n_quoted and rule is None else None,
    )


def _rule(item: dict[str, Any], author: dict[str, Any], text: str, *, quoted: bool) -> Rule | None:
    if str(item.get("type", "")) not in _SPOKEN:
        return "system_message"
    if author.get("isBot") is True or item.get("interaction"):
        return "bot"
    if item.get("forwardedMessage"):
        return "forward"
    if item.get("poll"):
        return "poll"
    if text:
        return None
    if quoted:
        return "quoted_only"
    return "sticker" if entries(item.get("stickers")) else "media"


def _kind(item: dict[str, Any]) -> str:
    """Return what a message without words holds."""
    if forwarded := mapping(item.get("forwardedMessage")).get("content"):
        return plain(str(forwarded))[:2000]
    found = [key for key in ("attachments", "embeds", "stickers") if entries(item.get(key))]
    return ", ".join(found) or str(item.get("type") or "no text")

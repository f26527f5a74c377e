"""Read the chats that WhatsApp exports: a text, or a zip file with the text and the media."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from pathlib import Path

from memoirist.extractors.chat.base import (
    Chat,
    Message,
    Rule,
    above,
    label,
    others,
    plain,
    without_direction,
)
from memoirist.extractors.chat.chat_files import ChatFile, heads
from memoirist.extractors.chat.whatsapp_lines import Line, lines_of, looks_like_messages
from memoirist.extractors.word_tables import table

_HEAD_CHARS = 1 << 18
_MARKS = ("\u200e", "\u200f")
_EDITED = re.compile(r"\s*<([^<>\n]{4,60})>\s*$")
_FILE_NAME = r"[^\n/]{1,200}\.\w{2,5}"
# "IMG-20230517-WA0001.jpg (file attached)" on Android, in whatever language.
_ANDROID_FILE = re.compile(rf"({_FILE_NAME}) \([^()\n]{{3,40}}\)")
# "<attached: 00000035-PHOTO.jpg>" on iPhones, "2015-PHOTO.jpg <attached>" on older ones.
_IPHONE_FILE = re.compile(
    rf"<[^<>:\n]{{2,40}}:\s?({_FILE_NAME})>|(\S{{1,200}}\.\w{{2,5}}) <[^<>:\n]{{3,30}}>"
)
_PLACEHOLDER = re.compile(r"<[^<>\n]{3,60}>")
_PLACE = re.compile(
    r"[^\n:]{0,40}:?\s?https?://(?:maps\.google\.com/\?q=\S+|\S*foursquare\.com/\S+)", re.IGNORECASE
)
_POLL = re.compile(r"[^\W\d_]{3,16}:\n[^\n]+(?:\n[^\W\d_]{3,16}: [^\n]*\(\d+ [^()\n]+\))+")
# The phone isolates the name of a contact from the direction of the text.
_MENTION = re.compile(r"@\u2068([^\u2068\u2069\n]{1,200})\u2069")
_NAMED_FILE = re.compile(r"[^\n]{1,200}\.\w{2,5}(?: • [^\n]{1,30})?")


def is_whatsapp(path: Path) -> bool:
    """Tell whether a text, or one in a zip file, is an exported chat of WhatsApp."""
    return any(looks_like_messages(head) for _, head in heads(path, (".txt",)))


def read_whatsapp(file: ChatFile) -> list[Chat]:
    """Return the one chat of an exported text, none where it holds no message."""
    text = file.text
    lines, n_above = lines_of(text) if looks_like_messages(text[:_HEAD_CHARS]) else ([], 0)
    messages = [_message(line) for line in lines]
    if not messages:
        return []
    mentioned = dict.fromkeys(name for line in lines for name in _MENTION.findall(line.text))
    people = [name for name in map(label, mentioned) if name and re.search(r"[^\W\d_]", name)]
    return [Chat(name=others(messages), messages=messages, bad=above(n_above), people=people)]


def _message(line: Line) -> Message:
    if line.sender is None:
        return Message(text=plain(line.text), time=line.time, rule="system_message")
    rule, text = _classify(line.text, in_brackets=line.in_brackets)
    # An iPhone writes the other's name, or the group's, before its notices.
    sender = None if rule == "system_message" else line.sender
    return Message(text=text, sender=sender, time=line.time, rule=rule)


def _classify(raw: str, *, in_brackets: bool) -> tuple[Rule | None, str]:
    """Return the rule that sets a message aside, None for words, and its text without marks."""
    text = plain(raw)
    edited = _EDITED.search(text)
    if edited and _normal(edited[1]) in _phrases("edited"):
        text = text[: edited.start()]
    if not text:
        return "deleted_message", "[empty]"
    first, _, rest = text.partition("\n")
    if _POLL.fullmatch(text):
        return "poll", text
    if (rule := _notice(first, rest)) is not None:
        return rule, text
    if (split := _without_media(raw, first)) is not None:
        rule, caption = split
        words = "\n".join(part for part in (caption, rest.strip()) if part)
        # A file without a caption may be told by its name.
        return (None, words) if words and not _NAMED_FILE.fullmatch(words) else (rule, text)
    # On iPhones a mark of direction begins what WhatsApp itself writes.
    if in_brackets and raw.lstrip(" ").startswith(_MARKS):
        return "system_message", text
    return None, text


def _notice(first: str, rest: str) -> Rule | None:
    """Return the rule of a whole message that WhatsApp writes in place of one."""
    normal = _normal(first)
    if not rest and normal in _phrases("deleted"):
        return "deleted_message"
    if normal.partition(",")[0] in _phrases("call"):
        return "system_message"
    is_place = _PLACE.fullmatch(first) or normal in _phrases("live")
    return "media" if is_place and not rest else None


def _without_media(raw: str, first: str) -> tuple[Rule, str] | None:
    """Return rule and caption of a line that stands for a file, None for a line of words."""
    if match := _ANDROID_FILE.fullmatch(first):
        return _rule_of_file(match[1]), ""
    if match := _IPHONE_FILE.search(first):
        caption = (first[: match.start()] + first[match.end() :]).strip()
        named = _NAMED_FILE.fullmatch(caption)
        return _rule_of_file(match[1] or match[2]), "" if named else caption
    if (rule := _placeholder(first)) is not None:
        return rule, ""
    # "Letter.pdf • 2 pages document omitted": a mark of direction stands before what is WhatsApp's.
    before, mark, last = raw.partition("\n")[0].rpartition("\u200e")
    if not mark:
        before, mark, last = raw.partition("\n")[0].rpartition("\u200f")
    if mark and before.strip(" \u200e\u200f") and (rule := _placeholder(last)) is not None:
        caption = plain(before)
        return rule, "" if _NAMED_FILE.fullmatch(caption) else caption
    return None


def _placeholder(text: str) -> Rule | None:
    normal = _normal(text)
    if normal in _phrases("sticker"):
        return "sticker"
    if normal in _phrases("media") or normal in _phrases("contact"):
        return "media"
    return "media" if _PLACEHOLDER.fullmatch(plain(text)) else None


def _rule_of_file(name: str) -> Rule:
    return "sticker" if re.search(r"\bSTK|STICKER", name) or name.endswith(".webp") else "media"


def _normal(text: str) -> str:
    """Return a phrase as the table has it: in small letters, without brackets and full stop."""
    phrase = unicodedata.normalize("NFC", without_direction(text)).casefold().strip(" <>.。।۔")
    return " ".join(phrase.split())


@cache
def _phrases(key: str) -> frozenset[str]:
    return frozenset(filter(None, map(_normal, table("whatsapp")[key].splitlines())))

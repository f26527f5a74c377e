"""Define what every reader of chats returns, and read the values that exports have in common."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.data.transcripts.speakers import ME

Rule = Literal[
    "system_message",
    "deleted_message",
    "media",
    "link",
    "sticker",
    "forward",
    "poll",
    "bot",
    "quoted_only",
]
Cut = Literal["quoted_reply", "signature"]
# The year of messages in exports that leave it out, as old ones do for the year of the export.
NO_YEAR = 2000
_LINKS = re.compile(r"(?:\s*(?:https?://|www\.)\S+)+\s*", re.IGNORECASE)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)
_DIRECTION = dict.fromkeys(
    map(ord, "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
)
_SPACES = dict.fromkeys(map(ord, "\u00a0\u1680\u2007\u2009\u200a\u202f\u205f\u3000"), " ")
_INVISIBLE = _DIRECTION | dict.fromkeys(map(ord, "\u200b\u2060\ufeff\u00ad")) | _SPACES


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message: what was written, by whom, and when.

    `rule` sets it aside: its text is nobody's own words. `cuts` tells how many lines were taken out
    of it. `time` is UTC, or the clock of the export as if it were, where it has no time zone.
    `sender_id` tells people of one name apart; that of the export's owner is empty.
    """

    text: str
    sender: str | None = None
    sender_id: str | None = None
    time: datetime | None = None
    rule: Rule | None = None
    cuts: Mapping[Cut, int] | None = None


@dataclass(frozen=True, slots=True)
class BadMessage:
    """An entry of an export that is no message; `where` is its place, `reason` why."""

    where: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """The messages of one chat in the order of the export.

    `key` tells the chats of one export apart. `whole` chats, such as threads of mail, do not end
    after a gap. `people` are persons whom the export names beside the senders. Chats of one
    `thread` are parts of one chat that the export divides into files.
    """

    name: str | None
    messages: Sequence[Message]
    key: str = ""
    bad: Sequence[BadMessage] = ()
    whole: bool = False
    people: Sequence[str] = ()
    thread: str = ""


def plain(text: str) -> str:
    """Return a text without invisible characters and marks of direction, with plain spaces."""
    lines = without_direction(text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(line.rstrip() for line in lines).strip()


def without_direction(text: str) -> str:
    """Return a text without marks of direction, with plain spaces."""
    return text if text.isascii() else text.translate(_INVISIBLE)


def without_link(message: Message) -> Message:
    """Return a message, set aside if it holds links alone."""
    is_link = message.rule is None and _LINKS.fullmatch(message.text)
    return replace(message, rule="link", cuts=None) if is_link else message


def told_apart(chats: Sequence[Chat]) -> list[Chat]:
    """Return the chats with the id behind the name of each sender who shares it with others."""
    pairs = {(m.sender, m.sender_id) for c in chats for m in c.messages if m.sender_id is not None}
    n_ids = Counter(sender for sender, _ in pairs)

    def named(message: Message) -> Message:
        if not message.sender_id or n_ids[message.sender] < 2:
            return message
        return replace(message, sender=f"{message.sender} ({message.sender_id})")

    return [replace(chat, messages=[named(m) for m in chat.messages]) for chat in chats]


def label(value: object) -> str | None:
    """Return the name of a sender in one line, None where there is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return " ".join(plain(value).split())[:200] or None if isinstance(value, str) else None


def parsed(text: str) -> object:
    """Return the value of a JSON text, None where it is broken."""
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


def parsed_export(text: str, name: str) -> tuple[dict[str, Any], list[BadMessage]]:
    """Return the object of an export; of one that breaks off, what stands above the break.

    Raise SourceUnreadable where nothing whole stands above it.
    """
    text = text.lstrip("\ufeff")
    try:
        return mapping(json.loads(text, strict=False)), []
    except RecursionError:
        place, reason = "its beginning", "it is nested too deeply"
        whole: object = None
    except json.JSONDecodeError as fault:
        place, reason = f"line {fault.lineno}, column {fault.colno}", fault.msg
        whole = parsed(_above(text, fault.pos))
    if not isinstance(whole, dict):
        raise SourceUnreadable(
            f"{name!r} is not valid JSON at {place}: {reason}",
            "export the chat again, or get a complete copy of the file",
        )
    return whole, [BadMessage(place, f"{reason}; the rest of the file is not read")]


def _above(text: str, end: int) -> str:
    """Return a JSON text up to the last object of a list that ends before `end`, closed."""
    stack: list[str] = []
    best, closers = 0, ""
    for token in _TOKEN.finditer(text, 0, end):
        sign = token.group()
        if sign in "{[":
            stack.append("}" if sign == "{" else "]")
        elif sign in "}]" and stack:
            stack.pop()
            if sign == "}" and stack and stack[-1] == "]":
                best, closers = token.end(), "".join(reversed(stack))
    return text[:best] + closers


def entries(value: object) -> list[Any]:
    """Return a list as it is, anything else as an empty one."""
    return value if isinstance(value, list) else []


def mapping(value: object) -> dict[str, Any]:
    """Return an object as it is, anything else as an empty one."""
    return value if isinstance(value, dict) else {}


def from_epoch(value: object, scale: float = 1.0) -> datetime | None:
    """Return the UTC time of so many seconds since 1970 (or their `scale` parts), None for none."""
    if isinstance(value, bool):
        return None
    try:
        seconds = float(str(value)) / scale
    except ValueError:
        return None
    # 1980: a smaller number is no time of a message.
    if not math.isfinite(seconds) or not 3.2e8 < seconds < _LATEST.timestamp():
        return None
    return datetime.fromtimestamp(seconds, UTC)


def from_text(value: object) -> datetime | None:
    """Return an ISO date and time; one without an offset is taken for UTC."""
    if not isinstance(value, str):
        return None
    text = re.sub(r"^(\d{4})[/.](\d{1,2})[/.](\d{1,2})", r"\1-\2-\3", value.strip())
    text = re.sub(r"(\.\d{6})\d+", r"\1", re.sub(r"(?<=\d),(?=\s)", "", text))
    match = re.match(r"(\d{4})-(\d{1,2})-(\d{1,2})[T ]+(\d{1,2}):(.*)", text)
    if match:
        year, month, day, hour, rest = match.groups()
        text = f"{year}-{int(month):02}-{int(day):02}T{int(hour):02}:{rest}"
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    try:
        time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except OverflowError:
        return None
    return time if 1980 <= time.year < _LATEST.year else None


def bad_messages(items: Sequence[object], noun: str) -> Iterator[BadMessage]:
    """Yield a fault for each entry that is no object."""
    for number, item in enumerate(items, start=1):
        if not isinstance(item, dict):
            yield BadMessage(f"{noun} {number}", f"{json.dumps(item)[:40]} is not a message")


def without_quotes(text: str) -> tuple[str, int]:
    """Return a text without the lines that quote others, and how many lines that were.

    ">" quotes a line, ">>>" all to the end, as Discord has it.
    """
    own: list[str] = []
    lines = text.split("\n")
    for line in lines:
        if line.startswith(">>> "):
            break
        if not re.match(r">(?:\s|>|$)", line):
            own.append(line)
    return "\n".join(own).strip(), len(lines) - len(own)


def above(n_lines: int) -> list[BadMessage]:
    """Return the fault of lines that stand above the first message, none for no line."""
    return (
        [BadMessage(f"the first {n_lines:,} lines", "no message begins there")] if n_lines else []
    )


def others(messages: Sequence[Message], own: str | None = None) -> str | None:
    """Return the names of up to three senders beside one's own as the name of a chat."""
    counts = Counter(m.sender for m in messages if m.sender and m.sender not in {own, ME})
    return ", ".join(name for name, _ in counts.most_common(3)) or None

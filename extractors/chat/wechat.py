"""Read the tables and JSON files that exporters of WeChat write.

The columns are those of MemoTrace (WeChatMsg), in both of its tables, of PyWxDump and WeFlow, and
of chatlog; the JSON is that of echotrace, WeFlow and chatlog.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from memoirist.data.transcripts.speakers import ME
from memoirist.extractors.chat.base import (
    BadMessage,
    Chat,
    Message,
    Rule,
    bad_messages,
    entries,
    from_epoch,
    from_text,
    label,
    mapping,
    others,
    parsed,
    parsed_export,
    plain,
)
from memoirist.extractors.chat.chat_files import ChatFile, heads
from memoirist.extractors.word_tables import table, word_set

_HEADERS = [frozenset(header.split()) for header in table("wechat")["headers"]]
_JSON_KEYS = (r'"(?:isSend|isSelf)"\s*:', r'"(?:createTime|time)"\s*:', r'"(?:content|type)"\s*:')
_JSON_START = re.compile(r'\s*\{\s*"(?:session|weflow)"|\s*\[\s*\{\s*"(?:seq|sortSeq|time)"')
_RULES: dict[Rule, frozenset[str]] = {
    "sticker": word_set("wechat", "sticker"),
    "system_message": word_set("wechat", "system"),
    "forward": word_set("wechat", "forward"),
}
_WORDS = word_set("wechat", "words")
_OWN = {"1", "true"}
_TAKEN_BACK = re.compile(r"撤回了?一条消息|recalled a message", re.IGNORECASE)
# What a reply quotes stands behind it, or before it in "「...」" and a line of dashes.
_QUOTED = re.compile(
    r"\n+\s*(?:\[引用\]|引用[:：]|【引用】).*\Z|\A「.*?」\n[-—\s]{5,}\n", re.DOTALL
)
_GROUP_SENDER = re.compile(r"\A[\w@.\-]{4,40}:\n")
_MARKUP = re.compile(r"\A\s*<(?:\?xml|msg|sysmsg|appmsg)\b")
_BRACKETED = re.compile(r"\[[^\[\]\n]{1,12}\]")


def is_wechat(path: Path) -> bool:
    """Tell whether a file is a table or a JSON file of an exporter of WeChat."""
    return any(
        _JSON_START.match(head) is not None and all(re.search(key, head) for key in _JSON_KEYS)
        if name.lower().endswith(".json")
        else _is_table(head)
        for name, head in heads(path, (".csv", ".json"))
    )


def _is_table(head: str) -> bool:
    line = re.split(r"[\r\n]", head, maxsplit=1)[0].replace("\x00", "")
    try:
        header = {_key(name) for name in next(csv.reader([line]), [])}
    except csv.Error:  # a field beyond csv's limit
        return False
    return any(known <= header for known in _HEADERS)


def _key(name: object) -> str:
    return plain(str(name)).casefold()


def read_wechat(file: ChatFile) -> list[Chat]:
    """Return the chats of a file: a table of all messages holds many."""
    bad: list[BadMessage] = []
    if file.name.lower().endswith(".json"):
        text = file.text.lstrip("\ufeff \t\r\n")
        # chatlog writes the list alone.
        text = f'{{"messages": {text}}}' if text.startswith("[") else text
        root, bad = parsed_export(text, file.name)
        items = entries(root.get("messages"))
        bad += bad_messages(items, "message")
        rows = [{_key(k): v for k, v in row.items()} for row in items if isinstance(row, dict)]
        session = mapping(root.get("session"))
        keys = ("displayName", "remark", "nickname")
        title = next((name for key in keys if (name := label(session.get(key)))), None)
    else:
        rows = list(_rows(file.text, bad))
        title = None
    by_chat: dict[str, list[Message]] = defaultdict(list)
    names: dict[str, str | None] = {}
    for row in rows:
        key = str(_first(row, "talkerid", "room_name", "talkername") or "")
        names.setdefault(key, label(_first(row, "talkername")))
        by_chat[key].append(_message(row))
    return [
        Chat(
            name=title or names[key] or others(messages) or file.stem,
            messages=messages,
            key=key,
            bad=bad if n == 0 else (),
        )
        for n, (key, messages) in enumerate(by_chat.items())
    ]


def _rows(text: str, bad: list[BadMessage]) -> Iterator[dict[str, Any]]:
    text = text.replace("\x00", "").replace("\r\n", "\n").replace("\r", "\n")
    reader = csv.reader(io.StringIO(text))
    header: list[str] | None = None
    number = 0
    while True:
        number += 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as fault:
            bad.append(BadMessage(f"row {number}", str(fault)))
            continue
        if header is None:
            header = [_key(name) for name in row]
        elif any(cell.strip() for cell in row):
            if len(row) < min(4, len(header)):
                bad.append(BadMessage(f"row {number}", f"it has {len(row)} columns"))
            else:
                yield dict(zip(header, row, strict=False))


def _first(row: Mapping[str, Any], *keys: str) -> object:
    """Return the first value that is there and not empty."""
    return next((row[key] for key in keys if row.get(key) not in (None, "")), None)


def _message(row: Mapping[str, Any]) -> Message:
    is_own = str(_first(row, "issender", "is_sender", "issend", "isself")).casefold() in _OWN
    text = _text(row)
    words, n_cut = _QUOTED.subn("", text)
    words = plain(words)
    rule = _rule(row, words)
    time = _first(row, "strtime", "时间", "createtime", "time", "formattedtime")
    return Message(
        text=words or f"[{_first(row, 'type_name', '类型', 'type') or 'no text'}]",
        sender=None if rule == "system_message" else _sender(row, is_own=is_own),
        time=from_text(time) or from_epoch(time) or from_epoch(row.get("createtime")),
        rule=rule or ("quoted_only" if n_cut and not words else None),
        cuts={"quoted_reply": n_cut} if n_cut and words and rule is None else None,
    )


def _text(row: Mapping[str, Any]) -> str:
    value = _first(row, "strcontent", "内容", "msg", "content")
    if not isinstance(value, str):
        return ""
    if value.lstrip().startswith("{"):
        # PyWxDump puts words and file into one column.
        value = str(mapping(parsed(value)).get("msg", value))
    return plain(_GROUP_SENDER.sub("", value.replace("\r\n", "\n")))


def _rule(row: Mapping[str, Any], words: str) -> Rule | None:
    kind = str(_first(row, "type_name", "类型", "type") or "1").strip().casefold()
    sub = _first(row, "subtype", "sub_type")
    kinds = {kind, f"{kind}:{sub}"}
    if _TAKEN_BACK.search(words) and not kinds & _WORDS:
        return "deleted_message"
    for rule, names in _RULES.items():
        if kinds & names:
            return rule
    if not kinds & _WORDS or not words or _MARKUP.match(words) or _BRACKETED.fullmatch(words):
        return "media"
    return None


def _sender(row: Mapping[str, Any], *, is_own: bool) -> str | None:
    named = label(_first(row, "发送人", "sendername", "senderdisplayname"))
    if named is None and "strcontent" in row:
        named = label(
            _first(row, "nickname", "remark") if is_own else _first(row, "remark", "nickname")
        )
    if (is_own and named is None) or named == "我":
        return ME
    return named or label(_first(row, "talker", "sender", "senderusername"))

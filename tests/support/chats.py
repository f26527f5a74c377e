"""One small talk as each messenger exports it; all names are invented."""

from __future__ import annotations

import json
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from memoirist.data.schema.records import Rows, Source
from memoirist.extractors import ExtractSettings, discover, extract, read_source
from tests.support.rows import NOW

ADA, TOM = "Ada Marrow", "Tom Reed"
# Who writes what, and how many minutes after the message before.
TALK = (
    (TOM, "How did you start at the mill?", 0),
    (ADA, "My uncle took me there when I was fourteen, and I swept the floor for a year.", 3),
    (TOM, "Were you paid for the sweeping?", 3),
    (ADA, "Four shillings a week", 3),
    (ADA, "and a hot dinner on Fridays, which was worth more to me than the money.", 0),
    (TOM, "What did your mother think of it?", 3),
    (ADA, "She wanted me in school, but she had five of us to feed, so she mended my coat.", 4),
)
START = datetime(2023, 5, 17, 21, 15, tzinfo=UTC)
# What becomes of it: Ada's two messages in a row are one turn.
TURNS = [
    (TOM, TALK[0][1]),
    (ADA, TALK[1][1]),
    (TOM, TALK[2][1]),
    (ADA, f"{TALK[3][1]}\n{TALK[4][1]}"),
    (TOM, TALK[5][1]),
    (ADA, TALK[6][1]),
]


def timed() -> list[tuple[str, str, datetime]]:
    """Return the messages of the talk with their times."""
    time = START
    messages: list[tuple[str, str, datetime]] = []
    for sender, text, minutes in TALK:
        time += timedelta(minutes=minutes)
        messages.append((sender, text, time))
    return messages


def whatsapp(stamp: str = "{0.day}/{0.month}/{0.year}, {0:%H:%M} - ") -> str:
    """Return the talk as WhatsApp exports it, each line behind its stamp."""
    return "".join(f"{stamp.format(time)}{sender}: {text}\n" for sender, text, time in timed())


def telegram(name: str | None = TOM, **more: Any) -> dict[str, Any]:
    """Return the talk as one chat of Telegram, with a call and a sticker."""
    rows: list[dict[str, Any]] = [
        {"type": "service", "date": "2023-05-17T21:12:05", "actor": TOM, "action": "phone_call"}
    ]
    for sender, text, time in timed():
        first, _, rest = text.partition(" ")
        rows.append(
            {
                "type": "message",
                "date": f"{time:%Y-%m-%dT%H:%M:%S}",
                "from": sender,
                "from_id": "user1" if sender == TOM else "user2",
                "text": [{"type": "bold", "text": first}, f" {rest}"],
            }
        )
    rows.append({**rows[-1], "text": "", "media_type": "sticker", "sticker_emoji": "👍"})
    for number, row in enumerate(rows):
        row["id"] = number
    return {"name": name, "type": "personal_chat", "id": 11, "messages": rows, **more}


def put(path: Path, content: Any) -> Path:
    """Write a file: bytes and texts as they are, members of a zip file by name, JSON else."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, member in content.items():
                archive.writestr(name, member if isinstance(member, str) else json.dumps(member))
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def read(path: Path, **settings: Any) -> tuple[Source, Rows]:
    """Return the source of a file and its rows."""
    source = read_source(discover([str(path)])[0], NOW)
    return source, extract(source, ExtractSettings.model_validate(settings))


def turns(rows: Rows) -> list[tuple[str | None, str]]:
    """Return speaker and text of each turn."""
    return [(block.speaker, block.text) for block in rows.blocks if block.kind == "turn"]


def aside(rows: Rows) -> dict[str, str]:
    """Return the rule by the text of each block that is set aside."""
    texts = {block.id: block.text for block in rows.blocks}
    dropped = [verdict for verdict in rows.verdicts if not verdict.keep]
    return {texts.get(verdict.subject_id, verdict.reason): verdict.rule for verdict in dropped}


def discord(**more: Any) -> dict[str, Any]:
    """Return the talk as DiscordChatExporter writes it; `more` are keys of further messages."""
    rows = [
        {
            "id": str(n),
            "type": "Default",
            "timestamp": f"{time:%Y-%m-%dT%H:%M:%S}.123+00:00",
            "timestampEdited": None,
            "isPinned": False,
            "content": text,
            "author": {"id": sender, "name": sender[:3], "nickname": sender, "isBot": False},
            "attachments": [],
            "embeds": [],
            "stickers": [],
            "mentions": [],
        }
        for n, (sender, text, time) in enumerate(timed())
    ]
    return {
        "guild": {"id": "0", "name": "Direct Messages"},
        "channel": {"id": "7", "type": "DirectTextChat", "name": TOM},
        "dateRange": {"after": None, "before": None},
        "messages": [*rows, *({**rows[-1], **row} for row in more.get("further", ()))],
        "messageCount": len(rows),
    }


def mojibake(text: str) -> str:
    """Return a text as Facebook writes it: each byte of UTF-8 is a letter."""
    return text.encode("utf-8").decode("latin-1")


def facebook(further: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """Return the talk as Facebook and Instagram write it, the newest message first."""
    rows: list[dict[str, Any]] = [
        {
            "sender_name": mojibake(sender),
            "timestamp_ms": int(time.timestamp() * 1000) + n,
            "content": mojibake(text),
            "is_geoblocked_for_viewer": False,
        }
        for n, (sender, text, time) in enumerate(timed())
    ]
    rows += [{**rows[-1], "content": None, **row} for row in further]
    return {
        "participants": [{"name": TOM}, {"name": ADA}],
        "messages": rows[::-1],
        "title": TOM,
        "is_still_participant": True,
        "thread_path": "inbox/tomreed_12",
    }


def wechat(header: str, row: str) -> str:
    """Return the talk as a table; `row` has the fields n, own, sender, text and time."""
    lines = [header]
    for n, (sender, text, time) in enumerate(timed()):
        own = int(sender == ADA)
        lines.append(row.format(n=n, own=own, sender=sender, text=f'"{text}"', time=time))
    return "\ufeff" + "\r\n".join(lines) + "\r\n"


def signal(stamp: str = "[{0:%Y-%m-%d %H:%M:%S}] ") -> str:
    """Return the talk as signal-export writes it, whose owner is "Me"."""
    names = {ADA: "Me", TOM: TOM}
    lines = (f"{stamp.format(time)}{names[who]}: {text}  \n" for who, text, time in timed())
    return "\n".join(lines)


def imessage() -> str:
    """Return the talk as imessage-exporter writes it."""
    return "".join(
        f"{time:%b %d, %Y} {time:%l:%M:%S %p}{read}\n{name}\n{text}\n\n"
        for sender, text, time in timed()
        for read, name in [
            ("", "Me") if sender == ADA else (" (Read by you after 1 minute)", sender)
        ]
    )


def mails() -> list[str]:
    """Return the talk as mails that answer each other and quote what they answer."""
    result: list[str] = []
    before = ""
    for n, (sender, text, time) in enumerate(timed()):
        quoted = "".join(f"> {line}\n" for line in before.splitlines())
        attribution = f"On Wed, 17 May 2023, somebody <x@example.org>\nwrote:\n\n{quoted}"
        head = f"From: {sender} <{sender[:3].lower()}@example.org>\nTo: Kit Lane <k@example.org>\n"
        head += f"Date: {time:%a, %d %b %Y %H:%M:%S} +0000\nMessage-ID: <{n}@example.org>\n"
        head += f"Subject: {'Re: ' if n else ''}The mill\nMIME-Version: 1.0\n"
        head += f"In-Reply-To: <{n - 1}@example.org>\n" if n else ""
        body = f"{text}\n\n{attribution if before else ''}\n-- \n{sender}\nMill Lane 4\n"
        result.append(f"{head}Content-Type: text/plain; charset=utf-8\n\n{body}")
        before = text
    return result


def mbox(letters: list[str]) -> str:
    """Return mails as a mailbox."""
    return "".join(f"From - Wed May 17 21:15:00 2023\n{letter}\n" for letter in letters)


def seeds(folder: Path) -> list[Path]:
    """Write the talk in every form into a folder, and return the files."""
    header = "id,MsgSvrID,type_name,is_sender,talker,room_name,content,CreateTime"
    row = "{n},9,文本,{own},{sender},{sender},{text},{time:%Y-%m-%d %H:%M:%S}"
    contents: dict[str, Any] = {
        "android.txt": whatsapp(),
        "iphone.txt": whatsapp("[{0:%d/%m/%Y}, {0:%H:%M:%S}] "),
        "imessage.txt": imessage(),
        "telegram.json": telegram(),
        "account.json": {"personal_information": {}, "chats": {"list": [telegram()]}},
        "discord.json": discord(),
        "facebook.json": facebook(),
        "wechat.csv": wechat(header, row),
        "signal.md": signal(),
        "box.mbox": mbox(mails()),
        "one.eml": mails()[1],
        "WhatsApp Chat with Tom.zip": {"WhatsApp Chat with Tom.txt": whatsapp(), "IMG-1.jpg": "x"},
        "inbox.zip": {"inbox/tom/message_1.json": facebook()},
    }
    return [put(folder / name, content) for name, content in contents.items()]

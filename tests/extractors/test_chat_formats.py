"""The other messengers and mail: one talk in each of their forms, and what is set aside."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.data.transcripts.speakers import find_name
from memoirist.extractors.detection.sniff import format_of
from tests.extractors.test_whatsapp import FILES
from tests.support.chats import (
    ADA,
    START,
    TALK,
    TOM,
    TURNS,
    aside,
    discord,
    facebook,
    imessage,
    mails,
    mbox,
    mojibake,
    put,
    read,
    signal,
    telegram,
    turns,
    wechat,
)

ME = [("Me" if sender == ADA else sender, text) for sender, text in TURNS]
MEMOTRACE = "localId,TalkerId,Type,SubType,IsSender,CreateTime,Status,StrContent,StrTime"
MEMOTRACE += ",Remark,NickName,Sender"
TIME = "{time:%Y-%m-%d %H:%M:%S}"
TABLES = [
    (
        MEMOTRACE,
        "{n},3,1,0,{own},{time:%s},,{text},{time:%Y-%m-%d %H:%M:%S},{sender},{sender},w{own}",
    ),
    (
        "消息ID,类型,发送人,时间,内容,备注,昵称,更多信息",
        "{n},文本,{sender},{time:%Y-%m-%d %H:%M:%S},{text},,,",
    ),
    (
        "id,MsgSvrID,type_name,is_sender,talker,room_name,msg,src,CreateTime",
        "{n},9,text,0,{sender},{sender},{text},,{time:%Y-%m-%dT%H:%M:%S}.000Z",
    ),
    (
        "Time,SenderName,Sender,TalkerName,Talker,Content",
        "{time:%Y-%m-%d %H:%M:%S},{sender},w,Tom,t,{text}",
    ),
]


def echotrace() -> dict[str, Any]:
    rows = [
        {
            "localId": n,
            "createTime": int(START.timestamp()) + 180 * n,
            "type": "文本消息",
            "content": text,
            "isSend": int(sender == ADA),
            "senderUsername": f"wxid_{sender}",
            "senderDisplayName": sender,
        }
        for n, (sender, text, _) in enumerate(TALK)
    ]
    return {"session": {"wxid": "w", "displayName": TOM, "type": "私聊"}, "messages": rows}


@pytest.mark.parametrize(
    ("name", "content", "wanted", "found"),
    [
        ("result.json", telegram(), "telegram", TURNS),
        ("saved.json", telegram(None), "telegram", TURNS),
        ("channel.json", discord(), "discord", TURNS),
        ("message_1.json", facebook(), "facebook", TURNS),
        *(
            (f"chat{n}.csv", wechat(*columns), "wechat", TURNS)
            for n, columns in enumerate(TABLES[:2])
        ),
        ("chatlog.csv", wechat(*TABLES[3]), "wechat", TURNS),
        ("wechat.json", echotrace(), "wechat", TURNS),
        ("chat.md", signal(), "signal", ME),
        ("old.md", signal("[{0:%Y-%m-%d, %H:%M}] "), "signal", ME),
        ("Tom Reed.txt", imessage(), "imessage", ME),
        ("Inbox.mbox", mbox(mails()), "mail", TURNS),
        ("Inbox", mbox(mails()), "mail", TURNS),
        ("one.eml", mails()[1], "mail", TURNS[1:2]),
        ("one.txt", mails()[1], "mail", TURNS[1:2]),
        ("all.zip", {"a/message_1.json": facebook(), "a/photos/1.jpg": "x"}, "facebook", TURNS),
        ("export.zip", {"result.json": telegram(), "photos/1.jpg": "x"}, "telegram", TURNS),
        ("mail.zip", {f"{n}.eml": mail for n, mail in enumerate(mails()[:1])}, "mail", TURNS[:1]),
    ],
)
def test_every_messenger_gives_the_same_talk(
    tmp_path: Path, name: str, content: Any, wanted: str, found: list[tuple[str, str]]
) -> None:
    path = put(tmp_path / name, content)
    source, rows = read(path)
    assert (source.kind, source.format) == ("chat", wanted)
    assert turns(rows) == found
    assert rows.documents[0].published == START.date()
    starts = [block.start_seconds for block in rows.blocks if block.kind == "turn"]
    assert starts == sorted(starts, key=lambda second: second or 0.0)
    again = read(path)[1]
    assert [block.id for block in again.blocks] == [block.id for block in rows.blocks]


@pytest.mark.parametrize("name", ["telegram_one.json", "telegram_account.json"])
def test_telegram_reads_every_chat(name: str) -> None:
    _, rows = read(FILES / name)
    assert len(rows.documents) == (1 if "one" in name else 2)
    assert turns(rows)[1] == (
        ADA,
        "My uncle took me there when I was fourteen, and I swept the floor for a year before anyone"
        " let me touch a loom.",
    )
    assert {"system_message", "sticker"} == set(aside(rows).values())


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ({"forwarded_from": "Kit Lane", "text": "The river rises."}, "forward"),
        ({"forwarded_from": None, "text": "The river rises."}, "forward"),
        ({"via_bot": "@gif", "text": "the river"}, "bot"),
        ({"poll": {"question": "When?", "answers": []}, "text": ""}, "poll"),
        ({"media_type": "voice_message", "file": "(File not included)", "text": ""}, "media"),
        ({"photo": "photos/1.jpg", "text": ""}, "media"),
        ({"photo": "photos/1.jpg", "text": "The mill in snow."}, None),
        ({"type": "service", "actor": TOM, "action": "pin_message", "text": ""}, "system_message"),
        ({"text": [{"type": "blockquote", "text": "Another's words"}]}, "quoted_only"),
    ],
)
def test_telegram_rules(tmp_path: Path, row: dict[str, Any], rule: str | None) -> None:
    chat = telegram()
    chat["messages"].append({**chat["messages"][1], "date": "2023-05-17T22:00:00", **row})
    _, rows = read(put(tmp_path / "result.json", chat))
    rules = list(aside(rows).values())
    assert rules[2:] == ([rule] if rule else [])
    assert (turns(rows)[-1][1] == row["text"]) is (rule is None)


def test_two_people_of_one_name_are_two_speakers(tmp_path: Path) -> None:
    chat = telegram()
    chat["messages"][2]["from_id"] = "user44"
    names = [name for name, _ in turns(read(put(tmp_path / "a.json", chat))[1])]
    assert names == [TOM, f"{ADA} (user44)", TOM, f"{ADA} (user2)", TOM, f"{ADA} (user2)"]
    account = {"personal_information": {"user_id": 2}, "chats": {"list": [chat]}}
    names = [name for name, _ in turns(read(put(tmp_path / "b.json", account))[1])]
    assert names == [TOM, f"{ADA} (user44)", TOM, ADA, TOM, ADA]
    channel = discord()
    for n, author in enumerate(row["author"] for row in channel["messages"]):
        author["id"] = "9" if n == 1 else "8"
    names = [name for name, _ in turns(read(put(tmp_path / "c.json", channel))[1])]
    assert names[:4] == [TOM, f"{ADA} (user9)", TOM, f"{ADA} (user8)"]
    # Neither is the persona until the user says who.
    assert find_name(names, [ADA]) is None
    assert find_name([f"{ADA} (user9)", ADA], [ADA]) == ADA


def test_telegram_quotations_and_accounts_that_are_gone(tmp_path: Path) -> None:
    quote = [{"type": "blockquote", "text": "What is it?\nTell me"}, "A loom, of course."]
    chat = telegram()
    more = {"date": "2023-05-17T23:00:00", "from": None, "from_id": "user77", "text": quote}
    chat["messages"].append({**chat["messages"][1], **more})
    _, rows = read(put(tmp_path / "result.json", chat))
    assert turns(rows)[-1] == ("user77", "A loom, of course.")
    (flag,) = [verdict for verdict in rows.verdicts if verdict.rule == "quoted_reply"]
    assert (flag.keep, flag.score) == (True, 2.0)


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ({"type": "ChannelPinnedMessage", "content": "Pinned a message."}, "system_message"),
        ({"type": "GuildMemberJoin", "content": "Joined the server."}, "system_message"),
        ({"author": {"name": "Loom", "nickname": "Loom", "isBot": True}}, "bot"),
        ({"forwardedMessage": {"content": "The river rises."}, "content": ""}, "forward"),
        ({"content": "", "stickers": [{"name": "loom"}]}, "sticker"),
        ({"content": "", "attachments": [{"fileName": "a.png"}]}, "media"),
        ({"type": "Reply", "content": "Of course.", "reference": {"messageId": "1"}}, None),
        ({"content": "> What is it?\nA loom.", "type": "Reply"}, None),
        ({"content": "> What is it?"}, "quoted_only"),
    ],
)
def test_discord_rules(tmp_path: Path, row: dict[str, Any], rule: str | None) -> None:
    late = {"timestamp": "2023-05-17T22:30:00+00:00", **row}
    _, rows = read(put(tmp_path / "channel.json", discord(further=[late])))
    assert list(aside(rows).values()) == ([rule] if rule else [])
    last = row.get("content", "").removeprefix("> What is it?\n")
    assert (turns(rows)[-1][1] == last) is (rule is None)


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ({"photos": [{"uri": "1.jpg"}]}, "media"),
        ({"photos": [{"uri": "1.jpg"}], "content": "The mill in snow"}, None),
        ({"sticker": {"uri": "1.png"}}, "sticker"),
        ({"is_unsent": True}, "deleted_message"),
        ({"call_duration": 12, "content": "Ada called Tom."}, "system_message"),
        ({"content": "Ada Marrow sent an attachment.", "share": {"link": "x"}}, "media"),
        ({"content": "Ada named the group Mill."}, "system_message"),
        ({"content": "Liked a message"}, "system_message"),
        ({"content": mojibake("Reacted 👍 to your message ")}, "system_message"),
        ({"content": "We named the mill after him."}, None),
        ({"content": mojibake("Ça dépend – café à 5 €? 👍")}, None),
    ],
)
def test_facebook_rules(tmp_path: Path, row: dict[str, Any], rule: str | None) -> None:
    late = {"timestamp_ms": int(START.timestamp() * 1000) + 7_200_000}
    _, rows = read(put(tmp_path / "message_1.json", facebook(({**late, **row},))))
    assert list(aside(rows).values()) == ([rule] if rule else [])
    said = row.get("content", "").encode("latin-1").decode()
    assert (turns(rows)[-1][1] == said) is (rule is None)


@pytest.mark.parametrize("path", ["inbox/tom_1", None])
def test_parts_of_a_thread_of_facebook_are_one_chat(tmp_path: Path, path: str | None) -> None:
    chat = facebook() | {"thread_path": path}
    newest, oldest = chat["messages"][:3], chat["messages"][3:]
    members = {
        "inbox/tom_1/message_1.json": chat | {"messages": [*newest, 7]},
        "inbox/tom_1/message_2.json": chat | {"messages": oldest},
        "inbox/tom_2/message_1.json": facebook() | {"thread_path": path and "inbox/tom_2"},
    }
    _, rows = read(put(tmp_path / "a.zip", members))
    assert (len(rows.documents), turns(rows)) == (2, TURNS * 2)
    assert "inbox/tom_1/message_1.json: message 4: 7 is not a message" in aside(rows)


def test_encrypted_chats_of_messenger_have_a_form_of_their_own(tmp_path: Path) -> None:
    rows = [
        {"isUnsent": False, "media": [], "senderName": sender, "text": text, "timestamp": ms}
        for n, (sender, text, _) in enumerate(TALK)
        for ms in [int(START.timestamp() * 1000) + n]
    ]
    rows.append({**rows[-1], "isUnsent": True, "text": ""})
    chat = {"participants": [TOM, ADA], "threadName": "Tom Reed_7", "messages": rows[::-1]}
    _, found = read(put(tmp_path / "Tom Reed_7.json", chat))
    assert turns(found) == TURNS
    assert found.documents[0].title == "Tom Reed, 2023-05-17"
    assert list(aside(found).values()) == ["deleted_message"]


def test_wechat_owners_have_no_name_in_some_tables(tmp_path: Path) -> None:
    header = "id,MsgSvrID,type_name,is_sender,talker,room_name,content,CreateTime"
    lines = [
        '1,9,系统通知,0,tom,tom,"{""src"": """", ""msg"": ""你已添加了 Tom""}",2023-08-12 23:22:41',
        '2,9,文本,0,tom,tom,"{""src"": """", ""msg"": ""在吗""}",2023-08-12 23:22:54',
        '3,9,文本,1,我,tom,"{""src"": """", ""msg"": ""在，刚从磨坊回来""}",2023-08-12 23:23:02',
        '4,9,图片,1,我,tom,"{""src"": ""a.jpg"", ""msg"": ""图片""}",2023-08-12 23:23:05',
        '5,9,动画表情,1,我,tom,"{""src"": """", ""msg"": ""表情""}",2023-08-12 23:23:06',
        '6,9,引用回复,0,tom,tom,"{""msg"": ""真的吗\n\n[引用](2023-08-12)我:在，刚从磨坊回来""}",'
        "2023-08-12 23:24:06",
        '7,9,合并转发的聊天记录,0,tom,tom,"{""msg"": ""群聊的聊天记录""}",2023-08-12 23:24:07',
        "8,9",
    ]
    _, rows = read(put(tmp_path / "chat.csv", "\r\n".join([header, *lines])))
    assert turns(rows) == [("tom", "在吗"), ("Me", "在，刚从磨坊回来"), ("tom", "真的吗")]
    rules = ["bad_row", "system_message", "media", "sticker", "forward"]
    assert list(aside(rows).values()) == rules
    assert [verdict.rule for verdict in rows.verdicts if verdict.keep] == ["quoted_reply"]


def test_signal_attachments_quotations_and_calls(tmp_path: Path) -> None:
    day = "[2023-05-17 22:{}] Me: "
    lines = [
        day.format("00:00")
        + "\n\n> Were you paid\n> for it?\n\nFour shillings  \n(- Tom Reed: 👍 -)",
        day.format("10:00") + "![loom.jpg](./media/loom.jpg)  ",
        day.format("10:30") + "\n(( 👍 ))",
        day.format("11:00") + "(This message was deleted)",
        day.format("12:00") + "Incoming voice call (accepted, 2m 3s)  ",
        day.format("13:00") + "My loom ![loom.jpg](./media/loom.jpg)  ",
    ]
    _, rows = read(put(tmp_path / "chat.md", signal() + "\n" + "\n\n".join(lines)))
    assert [text for _, text in turns(rows)[-2:]] == ["Four shillings", "My loom"]
    rules = ["media", "sticker", "deleted_message", "system_message"]
    assert list(aside(rows).values()) == rules
    row = {"date": "2023-05-17T21:15:00", "sender": TOM, "body": "Hello  ", "quote": "\n\n> a\n\n"}
    row |= {"sticker": None, "reactions": [], "attachments": [], "deleted": False, "call": False}
    path = put(tmp_path / "data.json", "\n".join([json.dumps(row), "{broken"]))
    _, rows = read(path)
    assert turns(rows) == [(TOM, "Hello")]
    assert list(aside(rows).values()) == ["bad_row"]


def test_imessage_tapbacks_answers_and_edits(tmp_path: Path) -> None:
    more = (
        "May 17, 2023 10:00:00 PM\nMe\nThe loom of my uncle\nTapbacks:\nLoved by Tom Reed\n"
        "    May 17, 2023 10:05:00 PM\n    Tom Reed\n    Which one?\n\n"
        "May 17, 2023 10:05:00 PM\nTom Reed\nWhich one?\n"
        "This message responded to an earlier message.\n\n"
        "May 17, 2023 10:06:00 PM\nMe\nMay 17, 2023 10:06:00 PM The tal one\n"
        "Edited 12 seconds later: The tall one\n\n"
        "May 17, 2023 10:30:00 PM\nMe\n/Users/ada/Library/Messages/Attachments/a/b.heic\n\n"
        "May 17, 2023 10:40:00 PM Tom Reed renamed the conversation to Mill\n\n"
    )
    _, rows = read(put(tmp_path / "Tom.txt", imessage() + more))
    assert turns(rows)[-3:] == [
        ("Me", "The loom of my uncle"),
        (TOM, "Which one?"),
        ("Me", "The tall one"),
    ]
    assert list(aside(rows).values()) == ["media", "system_message"]


def letter(body: str, **headers: str) -> str:
    head = {"From": f"{ADA} <ada@example.org>", "Date": "Wed, 17 May 2023 21:15:00 +0200"}
    head |= {"Subject": "The mill", "MIME-Version": "1.0", "Message-ID": "<m@example.org>"}
    head |= {"Content-Type": "text/plain; charset=utf-8"}
    head |= {name.replace("_", "-"): value for name, value in headers.items()}
    return "".join(f"{name}: {value}\n" for name, value in head.items()) + f"\n{body}"


OWN = "I swept the floor for a year before anyone let me touch it."


@pytest.mark.parametrize(
    "body",
    [
        OWN,
        f"{OWN}\n\nOn Wed, 17 May 2023 at 21:15, Tom Reed <t@x.org> wrote:\n> And then?\n> Tell",
        f"{OWN}\n\nAm 17.05.23 um 21:15 schrieb Tom Reed:\n> Und dann?\n",
        f"{OWN}\n\nLe mer. 17 mai 2023 à 21:15, Tom Reed <t@x.org> a\nécrit :\n\n> Alors ?",
        f"Am 17.05.23 schrieb Tom Reed:\n> Und dann?\n\n{OWN}\n",
        f"{OWN}\n\n-----Original Message-----\nFrom: Tom Reed\nSent: May\nTo: Ada\n\nAnd then?",
        f"{OWN}\n\n____________________\nVon: Tom Reed\nGesendet: Mittwoch\n\nUnd dann?",
        f"{OWN}\n\nFrom: Tom Reed <t@x.org>\nSent: May\nTo: Ada\nSubject: Re\n\nAnd then?",
        f"{OWN}\n\n-- \nAda Marrow\nMill Lane 4\n",
        f"{OWN}\n\nSent from my iPhone\n",
        f"{OWN}\n\nVon meinem iPhone gesendet\n\n> Am 17.05.2023 um 21:15 schrieb Tom:\n> Und?\n",
        f"{OWN}\n\n---------- Forwarded message ---------\nFrom: Tom\nDate: May\n\nAnd then?",
        OWN.replace("year ", "year before anyone\n").replace("anyone\nbefore anyone", "anyone"),
    ],
)
def test_mail_keeps_the_senders_own_words(tmp_path: Path, body: str) -> None:
    _, rows = read(put(tmp_path / "a.eml", letter(body)))
    ((speaker, text),) = turns(rows)
    assert speaker == ADA
    assert text.replace("\n", " ") == OWN
    flags = {verdict.rule for verdict in rows.verdicts if verdict.keep}
    assert flags <= {"quoted_reply", "signature"}
    assert bool(flags) is (body.strip().replace("\n", " ") != OWN)


@pytest.mark.parametrize(
    ("mail", "rule"),
    [
        (letter("I am away until Monday.", Auto_Submitted="auto-replied"), "bot"),
        (letter("Your parcel is here.", From="Shop <no-reply@example.org>"), "bot"),
        (letter("> And then?\n> Tell me\n"), "quoted_only"),
        (letter("---------- Forwarded message ---------\nFrom: Tom\n\nAnd?"), "forward"),
        (letter("", Content_Type="application/pdf"), "media"),
    ],
)
def test_mail_rules(tmp_path: Path, mail: str, rule: str) -> None:
    _, rows = read(put(tmp_path / "a.mbox", mbox([*mails(), mail])))
    assert list(aside(rows).values()) == [rule]


def test_mail_in_html_and_odd_encodings(tmp_path: Path) -> None:
    page = f"<html><body><p>{OWN}</p><blockquote><p>And then?</p></blockquote></body></html>"
    html = letter(page, Content_Type="text/html; charset=utf-8")
    assert turns(read(put(tmp_path / "a.eml", html))[1]) == [(ADA, OWN)]
    name = "=?iso-8859-1?Q?Ada_M=E1rrow?="
    head = letter("", From=f"{name} <a@example.org>", Content_Type="text/plain; charset=iso-8859-1")
    mail = head.replace("Version: 1.0", "Version: 1.0\nContent-Transfer-Encoding: quoted-printable")
    assert turns(
        read(put(tmp_path / "b.eml", f"{mail}La b=E9cane de mon oncle=\n =E9tait ici."))[1]
    ) == [("Ada Márrow", "La bécane de mon oncle était ici.")]
    folded = f"{OWN[:30]} \n{OWN[31:]}" if OWN[30] == " " else OWN.replace(" for", " \nfor", 1)
    flowed = letter(folded, Content_Type="text/plain; charset=no-such; format=flowed")
    assert turns(read(put(tmp_path / "c.eml", flowed))[1])[0][1].replace("  ", " ") == OWN


def test_mail_threads_are_conversations(tmp_path: Path) -> None:
    other = letter("What of the coat?", Subject="The coat", Message_ID="<c1@x>")
    # An answer that names no mail is told by its subject.
    answer = letter("My mother mended it.", Subject="AW: The coat", Message_ID="<c2@x>")
    late = letter(OWN, Subject="Re: The mill", In_Reply_To="<6@example.org>", Message_ID="<c3@x>")
    late = late.replace("17 May", "25 May")
    box = mbox([*mails(), other, answer, late, other])
    _, rows = read(put(tmp_path / "a.mbox", box))
    assert [document.title for document in rows.documents] == ["The mill", "The coat"]
    counts = [sum(b.document_id == d.id for b in rows.blocks) for d in rows.documents]
    assert counts == [7, 1]
    (bad,) = [verdict for verdict in rows.verdicts if verdict.rule == "bad_row"]
    assert bad.reason == "mail 11: it is a copy of an earlier mail"


def test_an_address_of_mail_is_one_speaker(tmp_path: Path) -> None:
    shown = (f"{ADA} <ada@example.org>", "Ada <Ada@example.org>", "ada@example.org")
    shown += ("Tom Reed via Mill <list@example.org>", "Kit Lane via Mill <list@example.org>")
    box = [letter(OWN, From=who, Message_ID=f"<{n}@x>") for n, who in enumerate(shown)]
    names = [name for name, _ in turns(read(put(tmp_path / "a.mbox", mbox(box)))[1])]
    assert sorted(set(map(str, names))) == [ADA, "Kit Lane via Mill", "Tom Reed via Mill"]


def test_names_are_masked_on_wish(tmp_path: Path) -> None:
    chat = telegram()
    texts = [
        "Tom, tom's coat, TOM REED and Reed came; the atom and Ada stayed.",
        "Write to tom.reed@example.org or +44 7700 900123 or @tomreed or https://t.me/tomreed",
        "Will you? Kit and kit",
    ]
    for n, text in enumerate(texts):
        sender = "Kit Will" if n == 2 else ADA
        more = {
            "date": f"2023-05-17T22:0{n}:00",
            "from": sender,
            "from_id": f"user{n // 2 + 2}",
            "text": text,
        }
        chat["messages"].append({**chat["messages"][1], **more})
    own = {"anonymise": True, "own_names": [ADA]}
    source, rows = read(put(tmp_path / "Tom Reed.json", chat), **own)
    assert {speaker for speaker, _ in turns(rows)} == {ADA, "Person 1", "Person 2"}
    assert [text for _, text in turns(rows)[-2:]] == [
        "Person 1, Person 1's coat, Person 1 and Person 1 came; the atom and Ada stayed.\n"
        "Write to [e-mail] or [phone] or [handle] or [link]",
        "Person 2 you? Person 2 and Person 2",
    ]
    everything = repr((rows.documents, rows.blocks, rows.verdicts, rows.told, rows.title))
    for name in ("Tom", "Reed", "Kit", "7700"):
        assert name not in everything
    assert (rows.documents[0].title, rows.title) == ("Person 1, 2023-05-17", "Person 1")
    assert source.title == "Tom Reed"
    _, open_rows = read(tmp_path / "Tom Reed.json")
    assert open_rows.title is None


def test_chinese_names_are_masked(tmp_path: Path) -> None:
    text = "2023/5/17 21:15 - 王小明: 老李在吗\n"
    text += "2023/5/17 21:16 - 李大山: 小明你好，王小明的书在这里\n"
    _, rows = read(put(tmp_path / "a.txt", text), anonymise=True, own_names=["李大山"])
    assert turns(rows)[1] == ("李大山", "Person 1你好，Person 1的书在这里")


@pytest.mark.parametrize("make", [telegram, discord, facebook, echotrace])
def test_broken_entries_are_counted(tmp_path: Path, make: Callable[[], dict[str, Any]]) -> None:
    chat = make()
    chat["messages"] += [7, None, "text", []]
    _, rows = read(put(tmp_path / "a.json", chat))
    assert list(aside(rows).values()).count("bad_row") == 4
    assert len(turns(rows)) == len(TURNS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.eml", "no mail at all"),
        ("a.mbox", "\n\n"),
        ("a.json", {**telegram(), "messages": telegram()["messages"][:1]}),
        ("a.csv", wechat(*TABLES[0]).split("\r\n")[0]),
    ],
)
def test_an_export_without_words_is_refused(tmp_path: Path, name: str, content: Any) -> None:
    with pytest.raises(
        SourceUnreadable, match=r"the chat .* contains no written message"
    ) as refused:
        read(put(tmp_path / name, content))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("a.json", {"messages": [{"role": "user", "content": "Why?"}]}, "dataset"),
        ("a.csv", "question,answer\nWhy?,So.\n", "dataset"),
        ("a.csv", "speaker,text,start\nBen,Why?,1\nAda,So.,2\n", "turn-table"),
        ("a.md", "# Diary\n\n[2023-05-17 10:00] I went to town.\n", "markdown"),
        (
            "a.txt",
            "From the mill we went to town in 1923.\nAnd so on and so forth, all day.\n",
            "text",
        ),
    ],
)
def test_what_is_no_chat_is_read_as_before(
    tmp_path: Path, name: str, content: Any, wanted: str
) -> None:
    known = format_of(put(tmp_path / name, content))
    assert known is not None
    assert known.name == wanted


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            '<div class="message default clearfix"><div class="from_name">Tom</div></div>',
            "a Telegram chat as HTML; export it again as machine-readable JSON",
        ),
        (
            '<div class="_3-95 _a6-g"><div class="_a6-h">Tom</div><div class="_a6-p">Hi</div>',
            "a page of a download from Facebook or Instagram; download your messages again",
        ),
        ('<div class="chatlog__message-group">', "a Discord channel as HTML; export it again"),
    ],
)
def test_pages_of_chats_are_refused_with_the_form_to_export(
    tmp_path: Path, body: str, told: str
) -> None:
    """A page would be read as a book, with everybody's words in one voice."""
    page = f"<!DOCTYPE html><html><body>{body}<p>{TALK[1][1]}</p></body></html>"
    with pytest.raises(SourceUnreadable, match=told):
        read(put(tmp_path / "messages.html", page))


@pytest.mark.parametrize(
    ("head", "told"),
    [
        ("Tom 님과 카카오톡 대화\n저장한 날짜 : 2023-05-18\n\n", "KakaoTalk chat as text; write"),
        ("KakaoTalk Chats with Tom\n\n", "a KakaoTalk chat as text; write each message as a line"),
        ("[Tom] [오후 9:00] Hi.\n", "KakaoTalk chat as text; write"),
        ("\ufeff[LINE] Chat history with Tom\r\n\r\n", "a LINE chat as text; write"),
        (f"{'=' * 62}\nGuild: Mill\n{'=' * 62}\n\n", "as text; export it again as JSON"),
    ],
)  # fmt: skip
def test_unknown_chats_as_text_are_refused(tmp_path: Path, head: str, told: str) -> None:
    with pytest.raises(SourceUnreadable, match=told):
        read(put(tmp_path / "chat.txt", head + TALK[1][1]))

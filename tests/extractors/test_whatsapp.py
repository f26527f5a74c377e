"""Chats of WhatsApp: the layouts of phones and languages, and what is nobody's words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.extractors import discover, skipped_files
from memoirist.extractors.chat.whatsapp_lines import lines_of
from memoirist.extractors.detection.sniff import format_of
from tests.support.chats import ADA, START, TOM, TURNS, aside, put, read, turns, whatsapp

FILES = Path(__file__).parent / "chats"
LRM, NNBSP = "\u200e", "\u202f"


@pytest.mark.parametrize("name", ["whatsapp_android.txt", "whatsapp_ios.txt"])
def test_an_export_becomes_turns_of_its_speakers(name: str) -> None:
    source, rows = read(FILES / name)
    assert (source.kind, source.format) == ("chat", "whatsapp")
    assert {speaker for speaker, _ in turns(rows)} == {ADA, TOM}
    texts = [text for _, text in turns(rows)]
    assert len(texts) == 12
    assert texts[3].startswith("Four shillings a week\nand a hot dinner on Fridays")
    assert texts[4] == "What did your mother think of it?"
    assert texts[-1].startswith("Watch the thread and never the clock.")
    assert sorted(aside(rows).values()) == ["media", "system_message"]
    (document,) = rows.documents
    assert (str(document.published), document.title) == (
        "2023-05-17",
        "Ada Marrow, Tom Reed, 2023-05-17",
    )
    starts = [block.start_seconds for block in rows.blocks]
    assert starts == sorted(starts, key=lambda second: second or 0.0)


# Stamps as phones write them: country and system, and the month or the day first.
STAMPS = [
    "{0.month}/{0.day}/{0:%y}, {0:%-I:%M} PM - ",  # Android, United States
    f"{{0.month}}/{{0.day}}/{{0:%y}}, {{0:%-I:%M}}{NNBSP}PM - ",  # the same since 2023
    "{0:%d/%m/%Y}, {0:%-I:%M} pm - ",  # India
    "{0:%d/%m/%y} {0:%-I:%M} p. m. - ",  # Colombia
    "{0:%d/%m/%Y}, {0:%-I:%M} in the evening - ",
    "{0:%d.%m.%y}, {0:%H:%M} - ",  # Germany
    "{0:%d-%m-%Y} {0:%H:%M} - ",  # Netherlands
    "{0:%Y/%m/%d}, {0:%H:%M} - ",  # South Africa
    "{0:%Y-%m-%d}, {0:%-I:%M} p.m. - ",  # Canada
    "{0.year}/{0.month}/{0.day} 下午{0:%-I:%M} - ",  # Taiwan
    "{0.year}年{0.month}月{0.day}日 {0:%H:%M} - ",
    "{0.year}년 {0.month}월 {0.day}일 오후 {0:%-I:%M} - ",  # Korea
    "[{0:%d/%m/%Y}, {0:%H:%M:%S}] ",  # iPhone, Britain
    f"{LRM}[{{0.month}}/{{0.day}}/{{0:%y}}, {{0:%-I:%M:%S}}{NNBSP}PM] ",
    "[{0:%d.%m.%y}, {0:%H:%M:%S}] ",
    "[{0:%d.%m.%Y} klo {0:%H.%M.%S}] ",  # Finland
    "[{0:%d/%m/%y} {0:%H.%M.%S}] ",  # Indonesia
    "[{0:%H:%M:%S}, {0.day}/{0.month}/{0.year}] ",  # Vietnam
    "[{0.year}. {0.month}. {0.day}. 오후 {0:%-I:%M:%S}] ",
    "[{0.month}/{0.day}/2566 BE, {0:%H:%M:%S}] ",  # Buddhist calendar
    "[{0.month}/{0.day}/R5, {0:%H:%M:%S}] ",  # Japanese calendar
    "\u200f[١٧\u200f/٥\u200f/٢٠٢٣، {0:%-I:%M:%S} م] ",
    "{0.month}/{0.day}/{0:%y}, {0:%H:%M:%S}: ",  # iPhone before 2017
    "{0:%H:%M}, {0.day} May {0.year} - ",  # Android before 2015
]


@pytest.mark.parametrize("stamp", STAMPS)
def test_every_layout_gives_the_same_talk(tmp_path: Path, stamp: str) -> None:
    source, rows = read(put(tmp_path / "a.txt", whatsapp(stamp)))
    assert source.format == "whatsapp"
    assert turns(rows) == TURNS
    assert rows.documents[0].published == START.date()
    assert [block.start_seconds for block in rows.blocks][:2] == [0.0, 180.0]


def test_the_order_of_day_and_month_is_found_in_the_whole_file() -> None:
    days = [(4, 5), (5, 5), (12, 5), (3, 6), (13, 6)]
    for form, wanted in (("{0}/{1}/23", "05-04"), ("{1}/{0}/23", "05-04")):
        text = "".join(f"{form.format(*day)}, 10:00 - Ada: Hello\n" for day in days)
        assert f"{lines_of(text)[0][0].time:%m-%d}" == wanted
    # Nothing above 12: what lies in order of time is right.
    text = "".join(
        f"{month}/{day}/23, 10:00 - Ada: Hi\n" for day, month in ((2, 3), (9, 3), (1, 4))
    )
    assert [f"{line.time:%m-%d}" for line in lines_of(text)[0]] == ["03-02", "03-09", "04-01"]
    # A single day: as the United States write it only with their half days.
    assert f"{lines_of('3/4/23, 9:12 PM - Ada: Hi')[0][0].time:%m-%d}" == "03-04"
    assert f"{lines_of('03/04/23, 9:12 pm - Ada: Hi')[0][0].time:%m-%d}" == "04-03"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("<Media omitted>", "media"),
        ("<Medien ausgeschlossen>", "media"),
        ("<Mídia oculta>", "media"),
        ("<Без медиафайлов>", "media"),
        ("<省略多媒体文件>", "media"),
        ("<whatever a new version writes>", "media"),
        ("IMG-20230517-WA0001.jpg (file attached)", "media"),
        ("PTT-20230517-WA0002.opus (Datei angehängt)", "media"),
        ("Tom Reed.vcf (archivo adjunto)", "media"),
        ("STK-20230517-WA0003.webp (file attached)", "sticker"),
        ("location: https://maps.google.com/?q=51.5,-0.12", "media"),
        ("Live location shared", "media"),
        ("This message was deleted", "deleted_message"),
        ("Du hast diese Nachricht gelöscht.", "deleted_message"),
        ("此消息已删除", None),
        ("您删除这个信息", "deleted_message"),
        ("null", "deleted_message"),
        ("", "deleted_message"),
        ("Missed voice call", "system_message"),
        ("Verpasster Sprachanruf", "system_message"),
        ("POLL:\nWhen do we meet?\nOPTION: At six (2 votes)\nOPTION: At seven (0 votes)", "poll"),
        ("<3 you all", None),
        ("I saw image omitted in the export", None),
    ],
)
def test_what_stands_for_something_else_is_set_aside(
    tmp_path: Path, text: str, rule: str | None
) -> None:
    line = f"17/05/2023, 21:40 - {ADA}: {text}\n"
    _, rows = read(put(tmp_path / "a.txt", whatsapp() + line))
    assert list(aside(rows).values()) == ([rule] if rule else [])
    assert (turns(rows)[-1][1].endswith(text)) is (rule is None or text == "")


def test_iphones_mark_what_whatsapp_writes(tmp_path: Path) -> None:
    stamp = "[17/05/2023, 21:40:00] "
    lines = [
        f"{stamp}{TOM}: {LRM}Your security code with Ada changed. {LRM}Tap to learn more.",
        f"{LRM}{stamp}{ADA}: {LRM}image omitted",
        f"{LRM}{stamp}{ADA}: {LRM}стикер не добавлен",
        f"{LRM}{stamp}{ADA}: Letter.pdf • {LRM}2 pages {LRM}document omitted",
        f"{LRM}{stamp}{ADA}: {LRM}<attached: 00000035-PHOTO-2023-05-17-21-40-00.jpg>",
        f"{LRM}{stamp}{ADA}: The loom of my uncle {LRM}<attached: 00000036-PHOTO.jpg>",
        f"{stamp}{ADA}: It runs to this day {LRM}<This message was edited>",
        f"{stamp}Mill: {LRM}Tom added you",
    ]
    export = whatsapp("[{0:%d/%m/%Y}, {0:%H:%M:%S}] ") + "\n".join(lines)
    _, rows = read(put(tmp_path / "_chat.txt", export))
    rules = list(aside(rows).values())
    assert rules == ["system_message", "media", "sticker", "media", "media", "system_message"]
    assert turns(rows)[-1] == (ADA, "The loom of my uncle\nIt runs to this day")


def test_captions_stay_without_their_file(tmp_path: Path) -> None:
    lines = "17/05/2023, 21:50 - Ada: <Media omitted>\nThe mill in snow\n"
    lines += "17/05/2023, 22:50 - Ada: IMG-1.jpg (file attached)\nMy coat\n"
    lines += "17/05/2023, 23:50 - Ada: <Media omitted>\nLetter.pdf\n"
    _, rows = read(put(tmp_path / "a.txt", whatsapp() + lines))
    assert [text for _, text in turns(rows)[-2:]] == ["The mill in snow", "My coat"]
    assert list(aside(rows).values()) == ["media"]


def test_names_and_texts_of_all_kinds(tmp_path: Path) -> None:
    stamp = "17/05/2023, 21:15 - "
    lines = [
        f'{stamp}Ada created group "Family: Reeds and Marrows"',
        f"{stamp}Tom joined using this group's invite link",
        f"{stamp}+44 7700 900123: I am new here: hello",
        f"{stamp}Mum: home: Come to dinner\nand bring bread\n\n19:30 at the latest",
        f"{stamp}Mum: home: Please",
        f"{stamp}Mum: home: Soon",
        f"{stamp}Ada 🧵: http://example.org: read it",
        f'{stamp}Tom "Reed\'s son" Reed: Yes: all of it',
        f"{stamp}~{NNBSP}Kit: Me too",
    ]
    _, rows = read(put(tmp_path / "a.txt", "\n".join(lines)))
    assert turns(rows) == [
        ("+44 7700 900123", "I am new here: hello"),
        (
            "Mum: home",
            "Come to dinner\nand bring bread\n\n19:30 at the latest\nPlease\nSoon",
        ),
        ("Ada 🧵", "http://example.org: read it"),
        ('Tom "Reed\'s son" Reed', "Yes: all of it"),
        ("Kit", "Me too"),
    ]
    assert list(aside(rows).values()) == ["system_message"] * 2


def test_messages_are_joined_and_parted_by_time(tmp_path: Path) -> None:
    times = [("17/05/2023, 21:00", "a"), ("17/05/2023, 21:04", "b"), ("17/05/2023, 21:11", "c")]
    times += [("18/05/2023, 05:12", "d")]
    path = put(tmp_path / "a.txt", "".join(f"{at} - Ada: {text}\n" for at, text in times))
    _, rows = read(path)
    assert [text for _, text in turns(rows)] == ["a\nb", "c", "d"]
    assert [block.end_seconds for block in rows.blocks] == [240.0, 660.0, 0.0]
    assert [document.title for document in rows.documents] == ["Ada, 2023-05-17", "Ada, 2023-05-18"]
    _, rows = read(path, chat_gap_hours=9, chat_join_minutes=10)
    assert [text for _, text in turns(rows)] == ["a\nb\nc", "d"]
    assert len(rows.documents) == 1


def test_messages_are_in_order_of_time(tmp_path: Path) -> None:
    def order(*times: str) -> list[str]:
        lines = "".join(f"{at} - P{n}: {at[-5:]}\n" for n, at in enumerate(times))
        return [text for _, text in turns(read(put(tmp_path / "a.txt", lines))[1])]

    day = "17/05/2023, "
    assert order(f"{day}21:00", f"{day}21:06", f"{day}21:03") == ["21:00", "21:03", "21:06"]
    # At the end of daylight saving time the clock goes through an hour twice.
    night = "29/10/2023, "
    hours = ["02:10", "02:50", "02:05", "02:40", "03:10"]
    assert order(*(night + hour for hour in hours)) == hours
    # Two exports in one file are not shuffled into each other.
    both = [f"{n}/05/2023, 10:00" for n in range(1, 6)] * 2
    lines = "".join(f"{at} - P{n}: m{n}\n" for n, at in enumerate(both))
    _, rows = read(put(tmp_path / "b.txt", lines))
    assert [text for _, text in turns(rows)] == [f"m{n}" for n in range(10)]
    assert rows.documents[5].title.endswith("(2)")


def test_names_of_mentions_are_masked_in_full(tmp_path: Path) -> None:
    asked = "Did @\u2068Anna Karlsson\u2069 or @\u2068+44 7700 900123\u2069 ask? Karlsson!"
    path = put(tmp_path / "a.txt", whatsapp() + f"17/5/2023, 22:15 - {TOM}: {asked}\n")
    _, rows = read(path, anonymise=True, own_names=[ADA])
    assert turns(rows)[-1][1] == "Did @Person 2 or @[phone] ask? Person 2!"


def test_a_zip_file_is_read_beside_its_media(tmp_path: Path) -> None:
    members = {"IMG-1.jpg": "x", "WhatsApp Chat with Tom.txt": whatsapp(), "list.txt": "Bread\nTea"}
    path = put(tmp_path / "WhatsApp Chat with Tom.zip", members)
    source, rows = read(path)
    assert (source.kind, source.format, turns(rows)) == ("chat", "whatsapp", TURNS)
    (flag,) = [verdict for verdict in rows.verdicts if verdict.rule == "files_not_read"]
    assert flag.keep
    assert flag.reason == "files of the export that are not read, such as pictures: 2"
    put(tmp_path / "photos.zip", {"a.jpg": "x"})
    assert [ref.path.name for ref in discover([str(tmp_path)])] == [path.name]
    assert [file.name for file in skipped_files([str(tmp_path)])] == ["photos.zip"]
    with pytest.raises(SourceUnreadable, match="a zip archive; unpack it"):
        discover([str(tmp_path / "photos.zip")])


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("diary.txt", "12/05/2023, 10:30 - We went to town and bought bread.\n" * 9, "text"),
        ("server.txt", "2023-05-17 21:12:05 - INFO: started the loom\n" * 9, "text"),
        ("talk.txt", "Ben: What did you do?\nAda: I went.\n" * 4, "dialogue"),
        ("talk.txt", "[00:01:02] Ben: What did you do?\n[00:01:05] Ada: I went.\n" * 4, "dialogue"),
        ("chat", whatsapp(), "whatsapp"),
        ("chat.txt", whatsapp().encode("utf-16"), "whatsapp"),
        ("chat.txt", b"\xef\xbb\xbf" + whatsapp().encode(), "whatsapp"),
        ("chat.txt", whatsapp().replace("\n", "\r\n"), "whatsapp"),
    ],
)
def test_chats_are_known_by_their_lines(
    tmp_path: Path, name: str, content: str | bytes, wanted: str
) -> None:
    path = put(tmp_path / name, content)
    known = format_of(path)
    assert known is not None
    assert known.name == wanted
    if wanted == "whatsapp":
        assert turns(read(path)[1]) == TURNS


def test_a_chat_without_words_is_refused_in_one_line(tmp_path: Path) -> None:
    path = put(tmp_path / "a.txt", "17/05/2023, 21:15 - Ada: <Media omitted>\n" * 3)
    with pytest.raises(SourceUnreadable, match=r"contains no written message \(it has 3 media\)"):
        read(path)


def test_a_rerun_and_a_longer_export_keep_the_ids(tmp_path: Path) -> None:
    _, before = read(put(tmp_path / "a.txt", whatsapp()))
    source, again = read(tmp_path / "a.txt")
    assert [block.id for block in again.blocks] == [block.id for block in before.blocks]
    longer = f"{whatsapp()}19/05/2023, 10:00 - {TOM}: And then?\n"
    _, rows = read(put(tmp_path / "a.txt", longer))
    assert json.dumps([d.title for d in rows.documents]).count("2023-05") == 2
    assert len({document.id for document in rows.documents}) == 2
    assert source.title == "A"


def test_what_stands_above_the_first_message_is_counted(tmp_path: Path) -> None:
    path = put(
        tmp_path / "a.txt", f"and the end of a message\n\nof which half is lost\n{whatsapp()}"
    )
    _, rows = read(path)
    assert turns(rows) == TURNS
    assert aside(rows) == {"the first 2 lines: no message begins there": "bad_row"}

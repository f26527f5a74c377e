"""Transcripts of every format: turns with speakers and seconds, and what is wrong in them."""

from __future__ import annotations

import json
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.data.schema.records import Block, Rows
from memoirist.extractors import ExtractSettings, SourceRef, extract, read_source
from memoirist.extractors.detection.sniff import format_of

NOW = datetime(2026, 11, 21, tzinfo=UTC)
Said = list[tuple[str | None, str]]


def read(path: Path) -> Rows:
    known = format_of(path)
    assert known is not None
    assert known.kind == "podcast"
    source = read_source(SourceRef(path=path, format=known.name), NOW)
    return extract(source, ExtractSettings())


def write(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def dump(tmp_path: Path, value: Any, name: str = "talk.json") -> Path:
    return write(tmp_path, name, json.dumps(value))


def turns(rows: Rows) -> list[Block]:
    return [block for block in rows.blocks if block.kind == "turn"]


def said(rows: Rows) -> Said:
    return [(turn.speaker, turn.text) for turn in turns(rows)]


def rules(rows: Rows) -> list[str]:
    return [verdict.rule for verdict in rows.verdicts]


ROLLING = """WEBVTT
Kind: captions
Language: en

00:00:00.160 --> 00:00:02.550 align:start position:0%
{blank}
so<00:00:00.320><c> we</c><00:00:00.480><c> began</c>

00:00:02.550 --> 00:00:02.560 align:start position:0%
so we began
{blank}

00:00:02.560 --> 00:00:05.110 align:start position:0%
so we began
with<00:00:02.720><c> the</c><00:00:02.879><c> keel</c>

00:00:05.110 --> 00:00:05.120 align:start position:0%
with the keel
{blank}

00:00:05.120 --> 00:00:07.000 align:start position:0%
with the keel
and<00:00:05.300><c> the</c><00:00:05.500><c> ribs</c>
""".replace("{blank}", " ")


def test_rolling_captions_show_each_line_once(tmp_path: Path) -> None:
    rows = read(write(tmp_path, "auto.vtt", ROLLING))
    assert said(rows) == [(None, "so we began with the keel and the ribs")]
    assert (turns(rows)[0].start_seconds, turns(rows)[0].end_seconds) == (0.16, 7.0)
    assert not rows.verdicts


def test_captions_that_grow_word_by_word(tmp_path: Path) -> None:
    lines = ["I", "I built", "I built boats", "I built boats in Hull.", "Then I", "Then I stopped."]
    cues = [f"{n}\n00:00:0{n},000 --> 00:00:0{n},900\n{text}\n" for n, text in enumerate(lines)]
    rows = read(write(tmp_path, "grow.srt", "\n".join(cues)))
    assert said(rows) == [(None, "I built boats in Hull. Then I stopped.")]


def test_a_word_said_twice_stays_twice(tmp_path: Path) -> None:
    cues = ["No.", "No.", "I never saw it.", "Who did?", "My aunt saw it.", "She told me so."]
    text = "WEBVTT\n\n" + "\n\n".join(
        f"00:0{n}.000 --> 00:0{n}.900\n{cue}" for n, cue in enumerate(cues)
    )
    assert said(read(write(tmp_path, "twice.vtt", text))) == [(None, " ".join(cues))]


def test_srt_names_its_speaker_only_when_he_changes(tmp_path: Path) -> None:
    text = (
        "﻿1\r\n00:00:01,000 --> 00:00:02,500\r\nAnn: What came\r\nfirst?\r\n\r\n"
        "2\r\n00:00:03,000 --> 00:00:04,000\r\nBo: The keel. My rule: oak\r\n\r\n"
        "3\r\n00:00:04,000 --> 00:00:05,000\r\nor nothing.\r\n\r\n"
        "4\r\n00:00:06,000 --> 00:00:07,000\r\n{\\an8}<i>Ann:</i> And then?\r\n\r\n"
        "5\r\n00:00:08,000 --> 00:00:09,000\r\n- Bo: Then the ribs.\r\n"
    )
    rows = read(write(tmp_path, "talk.srt", text))
    assert said(rows) == [
        ("Ann", "What came first?"),
        ("Bo", "The keel. My rule: oak or nothing."),
        ("Ann", "And then?"),
        ("Bo", "Then the ribs."),
    ]
    assert (turns(rows)[1].start_seconds, turns(rows)[1].end_seconds) == (3.0, 5.0)


def test_arrows_and_dashes_open_turns(tmp_path: Path) -> None:
    text = (
        "1\n00:00:01,000 --> 00:00:02,000\n>> ANN: Ready? >> Quite.\n\n"
        "2\n00:00:02,000 --> 00:00:03,000\n>> ANN: Go on.\n\n"
        "3\n00:00:03,000 --> 00:00:04,000\n>> BO LEE: I will.\n\n"
        "4\n00:00:04,000 --> 00:00:05,000\n>> BO LEE: I did.\n"
    )
    assert said(read(write(tmp_path, "news.srt", text))) == [
        ("ANN", "Ready?"),
        (None, "Quite."),
        ("ANN", "Go on."),
        ("BO LEE", "I will. I did."),
    ]


def test_broken_captions_lose_no_words(tmp_path: Path) -> None:
    text = (
        "1\n00:00:01,000 --> 00:00:02,000\nOne.\n"  # no blank line before the next number
        "2\n00:00:0x,000 --> 00:00:03,000\nTwo.\n\n"
        "3\n00:00:09,000 --> 00:00:04,000\nThree.\n\n"
        "4\n00:00:10,000 --> 00:00:11,000\n\n"
        "5\n00:00:10,500 --> 00:00:13,000\nFour,\n\nand a blank line inside.\n"
    )
    rows = read(write(tmp_path, "broken.srt", text))
    assert said(rows) == [(None, "One. Two. Three. Four, and a blank line inside.")]
    assert rules(rows) == ["bad_time", "bad_time", "empty_cue"]
    assert [verdict.keep for verdict in rows.verdicts] == [True, True, False]
    assert all(verdict.next_step for verdict in rows.verdicts)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "latin-1", "cp1252"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    text = "WEBVTT\n\n00:01.000 --> 00:02.000\n<v Zoë>Das Öl, né à Köln.\n"
    rows = read(write(tmp_path, "e.vtt", text.encode(encoding)))
    assert said(rows) == [("Zoë", "Das Öl, né à Köln.")]


def test_stage_directions_are_cut_and_told(tmp_path: Path) -> None:
    text = (
        "**Ann:** [laughter] So you left? \\[00:12\\] (applause)\n\n"
        "**Bo:** I did [unintelligible 00:03:10.02] in May (that was 1931). [he] went ♪ la la ♪\n\n"
        "**Break:** \\[19:24\\]\n\n"
        "**Ann:** [music]\n\n"
        "**Bo:** *laughs* I *really* did. He held \\[the tiller\\].\n"
    )
    rows = read(write(tmp_path, "stage.md", text))
    assert said(rows) == [
        ("Ann", "So you left?"),
        ("Bo", "I did … in May (that was 1931). [he] went"),
        ("Bo", "I really did. He held [the tiller]."),
    ]
    assert [block.text for block in rows.blocks if block.kind == "boilerplate"] == [
        "Break: [19:24]",
        "[music]",
    ]
    assert rules(rows) == ["stage_direction"] * 3
    assert "[laughter], (applause)" in rows.verdicts[0].reason.replace("[00:12], ", "")


WHISPER = {
    "text": "all of it",
    "language": "en",
    "segments": [
        {"id": 0, "start": 0.0, "end": 1.5, "text": " What came first?", "speaker": "SPEAKER_00"},
        {"id": 1, "start": 1.5, "end": 3.0, "text": " The keel", "speaker": "SPEAKER_01"},
        {"id": 2, "start": 3.0, "end": 4.0, "text": " and the ribs,", "speaker": None},
        {"id": 3, "start": 4.0, "end": 5.0, "text": " of oak.", "speaker": "SPEAKER_01"},
        {"id": 4, "start": 5.0, "end": 6.0, "text": "  "},
        {"id": 5, "start": "soon", "end": 7.0, "text": "Oak?", "speaker": "SPEAKER_00"},
    ],
}


def test_whisper_segments_with_and_without_speakers(tmp_path: Path) -> None:
    path = dump(tmp_path, WHISPER)
    assert format_of(path).name == "whisper"  # type: ignore[union-attr]
    rows = read(path)
    assert said(rows) == [
        ("SPEAKER_00", "What came first?"),
        ("SPEAKER_01", "The keel and the ribs, of oak."),
        ("SPEAKER_00", "Oak?"),
    ]
    assert (turns(rows)[1].start_seconds, turns(rows)[1].end_seconds) == (1.5, 5.0)
    assert rules(rows) == ["bad_row", "bad_time"]


def test_whisperx_words_part_a_segment_of_two_speakers(tmp_path: Path) -> None:
    words = [
        {"word": "Ready?", "start": 0.0, "end": 0.5, "speaker": "SPEAKER_00"},
        {"word": "Not", "start": 0.6, "end": 0.8, "speaker": "SPEAKER_01"},
        {"word": "quite.", "start": 0.8},
    ]
    segment = {"start": 0.0, "end": 1.2, "text": "Ready? Not quite.", "words": words}
    rows = read(dump(tmp_path, {"segments": [segment], "word_segments": words}))
    assert said(rows) == [("SPEAKER_00", "Ready?"), ("SPEAKER_01", "Not quite.")]
    assert turns(rows)[1].start_seconds == 0.6


def test_whisper_cpp_times(tmp_path: Path) -> None:
    entry = {"timestamps": {"from": "00:01:00,000", "to": "00:01:02,500"}, "text": " Hello there."}
    rows = read(dump(tmp_path, {"systeminfo": "x", "transcription": [entry]}))
    assert [(t.start_seconds, t.end_seconds, t.text) for t in turns(rows)] == [
        (60.0, 62.5, "Hello there.")
    ]


def test_podcasting_json_joins_its_words(tmp_path: Path) -> None:
    told = [("Ann", "Is"), ("Ann", "it?"), ("Bo", "It"), ("Bo", "is.")]
    segments = [
        {"speaker": name, "startTime": n, "endTime": n + 0.5, "body": word}
        for n, (name, word) in enumerate(told)
    ]
    path = dump(tmp_path, {"version": "1.0.0", "segments": segments})
    assert format_of(path).name == "podcast-json"  # type: ignore[union-attr]
    assert said(read(path)) == [("Ann", "Is it?"), ("Bo", "It is.")]


def test_podlove_entries_without_speaker(tmp_path: Path) -> None:
    entries = [
        {"start": "00:00:00.0", "end": "00:00:43.1", "text": "Intro"},
        {"start": "00:00:43.1", "end": "00:01:17.2", "speaker": "1", "voice": "Tim", "text": "Ja?"},
        {"start": "00:01:17.2", "end": "01:00:58.6", "speaker": "lyndal", "text": "Guten Tag."},
    ]
    path = dump(tmp_path, entries)
    assert format_of(path).name == "podlove"  # type: ignore[union-attr]
    rows = read(path)
    assert said(rows) == [("Tim", "Ja?"), ("lyndal", "Guten Tag.")]
    assert turns(rows)[1].end_seconds == 3658.6
    assert rows.blocks[0].kind == "boilerplate"


def test_podcasting_html(tmp_path: Path) -> None:
    text = (
        "<!DOCTYPE html><html><head><title>x</title><style>p {}</style></head><body>"
        "<cite>Ann:</cite><time>0:05</time><p>Who&#39;s there?</p>"
        "<cite>Bo:</cite><time>1:02:03</time><p>A <b>boat</b>-builder.</p><p>And his son.</p>"
        "<cite>Ann:</cite><time>soon</time><p>Come in.</p></body></html>"
    )
    rows = read(write(tmp_path, "talk.html", text))
    assert said(rows) == [
        ("Ann", "Who's there?"),
        ("Bo", "A boat-builder.\n\nAnd his son."),
        ("Ann", "Come in."),
    ]
    assert [turn.start_seconds for turn in turns(rows)] == [5.0, 3723.0, None]
    assert rules(rows) == ["bad_time"]


MARKDOWN = """---
title: "Boats: a talk"
date: 2021-03-04
speakers:
  - Ada Marrow
  - Ben Host
---
Listen: <https://example.org/ep1>

# The yard

**Ben Host:** What came [first](https://example.org)?

**Ada Marrow, PhD:** The keel.

\\[02:05\\] Then the ribs, which took a year.

## Later

**Ben Host:** And last?

**Ada Marrow, PhD:** The name.
"""


def test_markdown_with_front_matter_and_bold_names(tmp_path: Path) -> None:
    rows = read(write(tmp_path, "ep.md", MARKDOWN))
    assert (rows.documents[0].title, rows.documents[0].published) == (
        "Boats: a talk",
        date(2021, 3, 4),
    )
    assert said(rows) == [
        ("Ben Host", "What came first?"),
        ("Ada Marrow, PhD", "The keel.\n\nThen the ribs, which took a year."),
        ("Ben Host", "And last?"),
        ("Ada Marrow, PhD", "The name."),
    ]
    assert [(b.kind, b.text) for b in rows.blocks if b.kind != "turn"] == [
        ("boilerplate", "Listen: <https://example.org/ep1>"),
        ("heading", "The yard"),
        ("heading", "Later"),
    ]
    assert [turn.chapter for turn in turns(rows)] == ["The yard"] * 2 + ["Later"] * 2


def test_a_broken_head_is_told_and_the_talk_is_read(tmp_path: Path) -> None:
    rows = read(write(tmp_path, "ep.md", MARKDOWN.replace('title: "Boats', 'title: "Bo"ats')))
    assert len(turns(rows)) == 4
    assert rules(rows) == ["bad_front_matter"]


@pytest.mark.parametrize(
    "form",
    [
        "{name}: {text}\n",
        "{name}: {text}\n\n",
        "[00:00:{n:02}] {name}: {text}\n",
        "00:00:{n:02} {name}: {text}\n",
        "{name} (00:{n:02}): {text}\n",
        "{name}: 00:00:{n:02}\n\n{text}\n\n",
        "{name}  00:{n:02}\n{text}\n\n",
        "{name}:\n\n{text}\n\n",
        "**{name}** (0:{n:02}): {text}\n\n",
        "**{name}**: {text}\n\n",
        "- {name}: {text}\n",
    ],
)
@pytest.mark.parametrize("names", [("Ann Lee", "Bo"), ("ANN", "DR. BO LEE"), ("Q", "A")])
def test_plain_forms(tmp_path: Path, form: str, names: tuple[str, str]) -> None:
    texts = ["Who is it?", "It is me: the builder.", "Come in.", "I will, thank you."] * 2
    told = [(names[n % 2], text) for n, text in enumerate(texts)]
    text = "".join(form.format(name=who, text=what, n=n) for n, (who, what) in enumerate(told))
    rows = read(write(tmp_path, "talk.txt", text))
    assert said(rows) == told
    if "{n:02}" in form:
        assert [turn.start_seconds for turn in turns(rows)] == [float(n) for n in range(8)]


def test_full_width_colons(tmp_path: Path) -> None:
    text = "主持人：你从哪里来？\n王老师：我从杭州来。\n主持人：什么时候来的？\n王老师：去年。\n"
    rows = read(write(tmp_path, "talk.txt", text))
    assert said(rows)[:2] == [("主持人", "你从哪里来？"), ("王老师", "我从杭州来。")]


def test_times_before_lines_and_no_names(tmp_path: Path) -> None:
    lines = ["I began in May.", "It was", "cold then.", "We had no coal.", "So we sang.", "Always."]
    text = "\n\n".join(f"00:00:{n * 4:02} {line}" for n, line in enumerate(lines))
    rows = read(write(tmp_path, "talk.txt", text))
    assert said(rows) == [(None, " ".join(lines))]
    assert turns(rows)[0].start_seconds == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "# A yard\n\nMy rule: never lend.\n\nI kept to it.\n\nNote: he did not.\n\nNote: ever.\n",
        "Title: The Yard\nAuthor: A. Marrow\nLanguage: English\n\n" + "He went out. " * 50,
        "**Note:** do this.\n\n**Warning:** not that.\n\n**Note:** again.\n\n**Warning:** no.\n",
        "From: a@example.org\nTo: b@example.org\nSubject: boats\nDate: today\n\nDear Bo,\n",
        "",
    ],
)
def test_prose_is_no_dialogue(tmp_path: Path, text: str) -> None:
    known = format_of(write(tmp_path, "prose.md", text))
    assert known is not None
    assert known.name != "dialogue"


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("speaker,text,start,end", "t.csv"),
        ("Who;Utterance;Begin;End", "t.csv"),
        ("name\tTranscript\tstart_time\tend_time", "t.tsv"),
    ],
)
def test_tables_of_turns(tmp_path: Path, header: str, name: str) -> None:
    mark = next(c for c in "\t;," if c in header)
    rows = [
        ("Ann", '"Who, then?"' if mark == "," else "Who, then?", "0:01", "0:02"),
        ("Bo", "Me.", "2.5", "3"),
        ("Bo", "", "4", "5"),
        ("Bo", "And you?", "later", ""),
    ]
    text = "\n".join([header, *(mark.join(row) for row in rows)]) + "\n"
    found = read(write(tmp_path, name, text))
    assert said(found) == [("Ann", "Who, then?"), ("Bo", "Me. And you?")]
    assert turns(found)[0].start_seconds == 1.0
    assert rules(found) == ["bad_row", "bad_time"]


@pytest.mark.parametrize(
    "header", ["question,answer", "original,corrected,confidence", "role,text", "id,name,text"]
)
def test_other_tables_are_left_to_others(tmp_path: Path, header: str) -> None:
    width = header.count(",")
    known = format_of(write(tmp_path, "t.csv", f"{header}\nuser{',x' * width}\n"))
    assert known is None or known.kind != "podcast"


def test_hub_conversations_are_an_episode_a_row(tmp_path: Path) -> None:
    good = [
        {
            "id": f"ep-{n}",
            "conversation": [
                {"from": "Ann", "text": f"Who {n}?"},
                {"from": "Bo", "text": "Me.\n\nI am."},
                {"from": "Bo", "text": "[laughs] Still."},
            ],
        }
        for n in range(2)
    ]
    lines = [
        json.dumps(good[0]),
        '{"id": 3}',
        json.dumps(good[1]),
        "no json",
        '{"conversation": [{"from": "Ann"}]}',
    ]
    rows = read(write(tmp_path, "eps.jsonl", "\n".join(lines)))
    assert [document.title for document in rows.documents] == ["ep-0", "ep-1"]
    assert said(rows)[:2] == [("Ann", "Who 0?"), ("Bo", "Me.\n\nI am.\n\nStill.")]
    assert sorted(rules(rows)) == ["bad_row"] * 4 + ["stage_direction"] * 2
    assert len({document.id for document in rows.documents}) == 2


@pytest.mark.parametrize(
    "value",
    [
        [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}],
        {"conversation": [{"from": "human", "text": "a"}, {"from": "gpt", "text": "b"}]},
        {"conversation": [{"role": "user", "message": "a"}]},
        {"conversations": [{"from": "human", "value": "a"}]},
        [{"text": "a raw text"}],
        [{"text": "a span", "start": 4}],
        {"segments": [{"name": "a"}]},
        [],
        {},
        "text",
    ],
)
def test_other_json_is_left_to_others(tmp_path: Path, value: Any) -> None:
    known = format_of(dump(tmp_path, value))
    assert known is None or known.kind != "podcast"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.srt", "1\n"),
        ("b.vtt", "WEBVTT\n"),
        ("c.json", '{"language": "en", "segments": []}'),
        ("d.html", "<cite></cite><time></time><p></p>"),
        ("e.csv", "speaker,text\n"),
        ("f.vtt", "WEBVTT\n\n00:01.000 --> 00:02.000\n[music]\n"),
    ],
)
def test_a_transcript_without_words_is_one_line(tmp_path: Path, name: str, content: str) -> None:
    with pytest.raises(SourceUnreadable, match="has no cues") as caught:
        read(write(tmp_path, name, content))
    assert "\n" not in str(caught.value)


def test_real_transcripts_have_their_speakers(corpora: Path) -> None:
    podcasts = corpora / "podcasts"
    wanted = {
        "changelog-md/founders-talk-60.md": {"Adam Stacoviak", "Travis Kimmel"},
        "changelog-md/brain-science-1.md": {"Adam Stacoviak", "Mireille B. Reece, Psy.D"},
        "bitcoin-md/2020-01-28-pieter-wuille-part1.md": {"Pieter", "John", "Jonas"},
        "bitcoin-md/2020-02-16-waxwing-or-adam-gibson.md": {
            "Stephan Livera",
            "Waxwing (Adam Gibson)",
        },
        "bitcoin-md/silent-payments.md": {"Ruben", "Sjors", "Aaron"},
        "namespace/example.html": {"Travis", "Gilon", "Sarah"},
        "namespace/example.srt": {"Travis", "Gilon", "Sarah"},
        "podlove-json/fg45.json": {"timpritlove", "lyndalroper"},
    }
    for name, speakers in wanted.items():
        assert {turn.speaker for turn in turns(read(podcasts / name))} == speakers, name


def test_forms_of_one_talk_agree(corpora: Path) -> None:
    python = corpora / "podcasts" / "talkpython"
    texts = [
        " ".join(turn.text for turn in turns(read(python / name))).split()
        for name in ("transcripts_395-readme-tools.txt", "transcripts_395-readme-tools.vtt")
    ]
    assert texts[0] == texts[1]
    call = corpora / "podcasts" / "ethereum-vtt" / "acde_2026-08-13_243" / "transcript.vtt"
    derived = corpora / "derived" / "podcasts" / "acde_2026-08-13_243.whisperx.json"
    assert said(read(call)) == said(read(derived))


@pytest.mark.parametrize(
    "piece", ["[", "(", "*", "**a", "♪a", "[a](", "\\[", "[laugh", "<v ", "<a", ">> ", "a:", "\n"]
)
@pytest.mark.parametrize("name", ["long.vtt", "long.md"])
def test_a_wound_of_one_piece_takes_no_time(tmp_path: Path, name: str, piece: str) -> None:
    head = "WEBVTT\n\n00:01.000 --> 00:02.000\n" if name.endswith("vtt") else MARKDOWN
    path = write(tmp_path, name, f"{head}Word {piece * 40_000}")
    began = time.process_time()
    assert read(path).documents
    assert time.process_time() - began < 3

"""WebVTT transcripts: cues become turns with speakers and seconds."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.data.schema.records import Block
from memoirist.extractors import ExtractSettings, SourceRef, extract, read_source

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def turns_of(path: Path) -> list[Block]:
    source = read_source(SourceRef(path=path, format="vtt"), NOW)
    rows = extract(source, ExtractSettings())
    assert len(rows.documents) == 1
    return list(rows.blocks)


def turns_in(tmp_path: Path, *cues: str) -> list[Block]:
    path = tmp_path / "episode.vtt"
    path.write_text("WEBVTT\n\n" + "\n\n".join(cues) + "\n", "utf-8")
    return turns_of(path)


def cue(second: int, text: str) -> str:
    return f"00:00:{second:02}.000 --> 00:00:{second + 1:02}.500\n{text}"


def said(turns: list[Block]) -> list[tuple[str | None, str]]:
    return [(turn.speaker, turn.text) for turn in turns]


def test_voices_merge_into_turns_with_their_seconds(tmp_path: Path) -> None:
    turns = turns_in(
        tmp_path,
        "NOTE\nmade by hand --> not a cue",
        "STYLE\n::cue { color: red }",
        "intro-1\n00:01.000 --> 00:02.500 align:start\n<v.loud Ann Lee>Good <i>morning</i>,",
        cue(3, "<v Ann Lee>and welcome &amp; thanks.</v>"),
        "01:00:05,000 --> 01:00:06.250\n<v Bo>Thank you.",
    )
    assert said(turns) == [
        ("Ann Lee", "Good morning, and welcome & thanks."),
        ("Bo", "Thank you."),
    ]
    assert [(turn.start_seconds, turn.end_seconds) for turn in turns] == [
        (1.0, 4.5),
        (3605.0, 3606.25),
    ]
    assert {turn.kind for turn in turns} == {"turn"}


def test_two_voices_in_one_cue(tmp_path: Path) -> None:
    turns = turns_in(tmp_path, cue(1, "<v Ann>Ready?</v> <v Bo>Ready.</v>"))
    assert said(turns) == [("Ann", "Ready?"), ("Bo", "Ready.")]


def test_recurring_prefixes_are_speakers(tmp_path: Path) -> None:
    turns = turns_in(
        tmp_path,
        cue(1, "Ann: Where did it begin?"),
        cue(3, "Bo: In the shop. My rule was this: never lend."),
        cue(5, "I kept to it."),
        cue(7, "Ann: And then?"),
        cue(9, "Bo: Then I lent."),
    )
    assert said(turns) == [
        ("Ann", "Where did it begin?"),
        ("Bo", "In the shop. My rule was this: never lend. I kept to it."),
        ("Ann", "And then?"),
        ("Bo", "Then I lent."),
    ]


def test_one_colon_is_no_speaker(tmp_path: Path) -> None:
    turns = turns_in(tmp_path, cue(1, "My rule: never lend."), cue(3, "I kept to it."))
    assert said(turns) == [(None, "My rule: never lend. I kept to it.")]


def test_dashes_and_pauses_end_nameless_turns(tmp_path: Path) -> None:
    turns = turns_in(
        tmp_path, cue(1, "- Hello.\n- Hello,"), cue(3, "everyone."), cue(30, "Much later.")
    )
    assert said(turns) == [(None, "Hello."), (None, "Hello, everyone."), (None, "Much later.")]


def test_rerun_gives_the_same_ids_and_twins_differ(tmp_path: Path) -> None:
    cues = [cue(1, "<v A>Yes."), cue(3, "<v B>Yes."), cue(5, "<v A>Yes.")]
    first, again = turns_in(tmp_path, *cues), turns_in(tmp_path, *cues)
    assert first == again
    assert len({turn.id for turn in first}) == 3


@pytest.mark.parametrize("content", ["WEBVTT\n", "WEBVTT\n\nNOTE nothing here\n", "no cue at all"])
def test_transcript_without_cues(tmp_path: Path, content: str) -> None:
    path = tmp_path / "none.vtt"
    path.write_text(content)
    with pytest.raises(SourceUnreadable, match=r"none\.vtt' has no cues"):
        turns_of(path)


def test_real_episode_has_its_two_speakers(corpora: Path) -> None:
    turns = turns_of(corpora / "podcasts" / "talkpython" / "transcripts_553-all-our-tools.vtt")
    named = [turn.speaker for turn in turns if turn.speaker]
    assert set(named) == {"Michael Kennedy", "Calvin Hendryx-Parker"}
    assert not any("<" in turn.text for turn in turns)
    starts = [turn.start_seconds or 0.0 for turn in turns]
    assert starts == sorted(starts)

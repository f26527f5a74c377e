"""Cues out of time order are sorted, with a note; recordings that lie over each other are not."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from memoirist.data.schema.records import Rows
from tests.conftest import Command
from tests.extractors.test_transcript_formats import dump, read, rules, said, write

Cues = list[tuple[float, float, str, str]]
TALK: Cues = [
    (6 * n, 6 * n + 5, ("Tom Reed", "Ada Marrow")[n % 2], f"{words} {n}.")
    for n, words in enumerate(["What did you do in year", "I swept the floor in year"] * 6)
]
ORDERED = [(speaker, text) for _, _, speaker, text in TALK]


def clock(seconds: float) -> str:
    return f"00:{seconds // 60:02.0f}:{seconds % 60:06.3f}"


def srt(cues: Cues) -> str:
    return "\n".join(
        f"{n}\n{clock(start)} --> {clock(end)}\n{speaker}: {text}\n"
        for n, (start, end, speaker, text) in enumerate(cues, start=1)
    )


def vtt(cues: Cues) -> str:
    lines = (f"{clock(a)} --> {clock(b)}\n<v {who}>{text}\n" for a, b, who, text in cues)
    return "WEBVTT\n\n" + "\n".join(lines)


def whisper(cues: Cues) -> str:
    keys = ("start", "end", "speaker", "text")
    return json.dumps({"segments": [dict(zip(keys, cue, strict=True)) for cue in cues]})


def table(cues: Cues) -> str:
    rows = (f"{start},{end},{speaker},{text}\n" for start, end, speaker, text in cues)
    return "start,end,speaker,text\n" + "".join(rows)


FORMATS = {"talk.srt": srt, "talk.vtt": vtt, "talk.json": whisper, "talk.csv": table}
SHUFFLED = random.Random(4).sample(TALK, len(TALK))
ORDERS = {
    "two swapped": [*TALK[:3], TALK[7], *TALK[4:7], TALK[3], *TALK[8:]],
    "backwards": TALK[::-1],
    "shuffled": SHUFFLED,
    "the end first": TALK[6:] + TALK[:6],
    "speaker by speaker": TALK[::2] + TALK[1::2],
    "one at the end": [*TALK[:2], *TALK[3:], TALK[2]],
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("order", ORDERS)
def test_cues_are_sorted_by_their_start(tmp_path: Path, name: str, order: str) -> None:
    rows = read(write(tmp_path, name, FORMATS[name](ORDERS[order])))
    assert said(rows) == ORDERED
    (note,) = rows.verdicts
    assert (note.rule, note.keep) == ("out_of_order", True)
    assert "of 12 cues were out of time order and were sorted by their start" in note.reason


@pytest.mark.parametrize("name", FORMATS)
def test_cues_in_order_have_no_note(tmp_path: Path, name: str) -> None:
    rows = read(write(tmp_path, name, FORMATS[name](TALK)))
    assert (said(rows), rules(rows)) == (ORDERED, [])


def test_cues_of_one_start_stay_as_they_stand(tmp_path: Path) -> None:
    cues: Cues = [(3, 5, "Ann", "Third."), (1, 2, "Ann", "First."), (1, 2, "Bo", "Second.")]
    assert [text for _, text in said(read(write(tmp_path, "a.srt", srt(cues))))] == [
        "First.",
        "Second.",
        "Third.",
    ]


def test_a_cue_with_impossible_times_stays_behind_the_one_before(tmp_path: Path) -> None:
    text = srt(TALK).replace("00:00:18.000 --> 00:00:23.000", "00:18:00.000 --> 00:00:23.000")
    rows = read(write(tmp_path, "a.srt", text))
    assert (said(rows), rules(rows)) == (ORDERED, ["bad_time"])


def two_recordings(tmp_path: Path) -> Rows:
    first = [(start, end, who, f"First, {text}") for start, end, who, text in TALK]
    return read(write(tmp_path, "a.srt", srt(first) + "\n" + srt(TALK)))


def test_recordings_that_lie_over_each_other_stay_apart(tmp_path: Path) -> None:
    rows = two_recordings(tmp_path)
    assert said(rows)[12:] == ORDERED
    (note,) = rows.verdicts
    assert (note.rule, note.keep) == ("times_begin_anew", True)
    assert "11 of 24 cues overlap the times of others" in note.reason
    assert "its own file" in note.next_step


@pytest.mark.parametrize("n_cues", [2, 12])
def test_recordings_whose_numbers_begin_anew_stay_apart(tmp_path: Path, n_cues: int) -> None:
    # The cues of each fall into the pauses of the other.
    first = [(a, a + 2, who, text) for a, _, who, text in TALK[:n_cues]]
    second = [(a + 3, a + 5, who, f"Second, {text}") for a, _, who, text in TALK[:n_cues]]
    rows = read(write(tmp_path, "a.srt", srt(first) + "\n" + srt(second)))
    assert [text for _, text in said(rows)] == [text for *_, text in first + second]
    assert rules(rows) == ["times_begin_anew"]


def test_rolling_captions_are_sorted_before_their_repeats_go(tmp_path: Path) -> None:
    words = [f"line {n} of them" for n in range(8)]
    cues = [
        f"{clock(2 * n)} --> {clock(2 * n + 2)}\n{words[n]}\n{words[n + 1]}\n" for n in range(7)
    ]
    path = write(tmp_path, "a.vtt", "WEBVTT\n\n" + "\n".join(cues[4:] + cues[:4]))
    ((_, text),) = said(read(path))
    assert text == " ".join(words)


def test_who_talks_into_another_is_listed_as_the_file_does(tmp_path: Path) -> None:
    cues = [
        (0, 10, "A", "Long."),
        (10, 20, "A", "Longer."),
        (9, 10, "B", "Yes."),
        (20, 21, "A", "So."),
    ]
    segments = [{"start": a, "end": b, "speaker": w, "text": t} for a, b, w, t in cues]
    rows = read(dump(tmp_path, {"segments": segments}))
    assert (said(rows)[1], rules(rows)) == (("B", "Yes."), [])


def test_the_command_line_tells_that_it_sorted(memoirist: Command, tmp_path: Path) -> None:
    write(tmp_path, "talk.srt", srt(SHUFFLED))
    done = memoirist("extract", "talk.srt", "--persona", "Ada Marrow")
    assert "talk.srt: times: " in done.stderr
    assert "of 12 cues were out of time order and were sorted by their start" in done.stderr

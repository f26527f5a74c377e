"""A short run of the fuzzer, and that the fuzzer itself sees what it looks for."""

from __future__ import annotations

import gzip
import json
import random
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from memoirist.data.samples import SOURCES
from tests.extractors import test_dataset_files, test_message_turns, test_time_order
from tests.support import chats
from tests.tools import fuzz

_TOOLS = "\n".join(json.dumps(row) for row, _ in test_message_turns.TOOLS.values()).encode()
_THOUGHTS = json.dumps({"question": "Why?", "answer": test_message_turns.THOUGHT + "So."}).encode()
ROW_FILES = [
    *(("rows.json", text.encode()) for text in test_dataset_files.PLAIN.values()),
    ("rows.jsonl", test_dataset_files.PLAIN["pretty in a row"].encode("utf-16")),
    ("tools.jsonl", _TOOLS),
    ("tools.jsonl.gz", gzip.compress(_TOOLS)),
    ("tools.zst", pa.Codec("zstd").compress(_TOOLS, asbytes=True)),
    ("thoughts.jsonl", _THOUGHTS * 9),
    ("rows.csv", f'conversations\n"{test_dataset_files.ROWS[0]["conversations"]}"\n'.encode()),
    ("talk.srt", test_time_order.srt(test_time_order.SHUFFLED).encode()),
    ("talk.vtt", test_time_order.vtt(test_time_order.SHUFFLED).encode()),
]


@pytest.mark.slow
def test_damaged_samples_end_as_rows_or_refusals(tmp_path: Path) -> None:
    ended, faults = fuzz.fuzz(SOURCES, lambda n: n < 60, seed=3, folder=tmp_path)
    assert not faults
    assert ended.total() == 60
    assert {verdict for _, verdict in ended} > {"rows"}
    assert not list(tmp_path.iterdir())


@pytest.mark.medium
def test_damaged_chats_end_as_rows_or_refusals(tmp_path: Path) -> None:
    (tmp_path / "seeds").mkdir()
    (tmp_path / "cases").mkdir()
    seeds = chats.seeds(tmp_path / "seeds")
    ended, faults = fuzz.fuzz(seeds, lambda n: n < 140, seed=13, folder=tmp_path / "cases")
    assert not faults
    rows = {suffix for suffix, verdict in ended if verdict == "rows"}
    assert rows == {".txt", ".json", ".csv", ".md", ".mbox", ".eml", ".zip"}


def test_a_crash_and_a_hang_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(fuzz, "read_source", crash)
    assert fuzz.attempt(SOURCES[1]) == "FAULT ZeroDivisionError: planted"
    monkeypatch.setattr(fuzz, "LIMIT_SECONDS", 0.01)
    worker = fuzz.Worker()
    try:
        assert worker.run(SOURCES[0]).verdict == "FAULT no end after 0 s"
    finally:
        worker.close()


def test_archives_are_damaged_inside(tmp_path: Path) -> None:
    whole = tmp_path / "a.zip"
    with zipfile.ZipFile(whole, "w") as made:
        for n in range(5):
            made.writestr(f"{n}.txt", "words " * 50)
    chance = random.Random(1)
    damaged = [fuzz.mutate_zip(whole.read_bytes(), chance) for _ in range(20)]
    assert len(set(damaged)) > 10
    (tmp_path / "b.zip").write_bytes(damaged[0])
    assert zipfile.is_zipfile(tmp_path / "b.zip")


@pytest.mark.medium
def test_damaged_rows_cues_and_archives_end_as_rows_or_refusals(tmp_path: Path) -> None:
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    for number, (name, text) in enumerate(ROW_FILES):
        (seeds / f"{number}-{name}").write_bytes(text)
    ended, faults = fuzz.fuzz(sorted(seeds.iterdir()), lambda n: n < 40, 5, tmp_path)
    assert not faults
    assert ended.total() == 40
    assert {verdict for _, verdict in ended} > {"rows"}

"""A short run of the fuzzer, and that the fuzzer itself sees what it looks for."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import pytest

from memoirist.data.samples import SOURCES
from tests.support import chats
from tests.tools import fuzz


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

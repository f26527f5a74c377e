"""Pointers to sources: files, folders, globs, and plain text."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pydantic
import pytest

from memoirist.data.schema.errors import SourceMissing, SourceUnreadable
from memoirist.extractors import ExtractSettings, SourceRef, discover, read_source, skipped_files

NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name in ("b.vtt", "a.txt", "deep/c.jsonl", "cover.png", ".hidden/d.txt"):
        (tmp_path / name).write_text("x")
    return tmp_path


def test_folder_gives_known_files_sorted(folder: Path) -> None:
    found = discover([str(folder)])
    assert [(each.path.name, each.format) for each in found] == [
        ("a.txt", "text"),
        ("b.vtt", "vtt"),
        ("c.jsonl", "dataset"),
    ]


def test_glob_and_file_give_each_file_once(folder: Path) -> None:
    found = discover([f"{folder}/*", str(folder / "b.vtt"), f"{folder}/**/*.jsonl"])
    assert [each.path.name for each in found] == ["a.txt", "b.vtt", "c.jsonl"]


def test_a_folder_leaves_files_about_files_out(folder: Path) -> None:
    for name in ("README.md", "LICENSE.txt", "deep/CHANGELOG.md", "licence-to-fish.txt"):
        (folder / name).write_text("About the files.")
    found = {each.path.name for each in discover([str(folder)])}
    assert found == {"a.txt", "b.vtt", "c.jsonl", "licence-to-fish.txt"}
    left = {path.name for path in skipped_files([str(folder)])}
    assert left >= {"LICENSE.txt", "README.md", "CHANGELOG.md", "cover.png"}
    assert not left & found
    assert [each.path.name for each in discover([str(folder / "README.md")])] == ["README.md"]


@pytest.mark.parametrize("pointer", ["nowhere.pdf", "nothing/*.pdf"])
def test_pointer_to_nothing(pointer: str) -> None:
    with pytest.raises(SourceMissing, match=r"for '\S+'; check"):
        discover([pointer])


def test_unknown_formats_name_the_known_ones(folder: Path) -> None:
    with pytest.raises(SourceUnreadable, match=r"cover\.png'; give one of.*\.pdf"):
        discover([str(folder / "cover.png")])
    bare = folder / "bare"
    bare.mkdir()
    with pytest.raises(SourceUnreadable, match=r"the folder '.*bare' contains no.*\.vtt"):
        discover([str(bare)])
    with pytest.raises(
        SourceMissing, match=r"'hf://owner' is not the address of a hub dataset; write hf://org"
    ):
        discover(["hf://owner"])


def test_source_id_follows_the_bytes_alone(tmp_path: Path) -> None:
    one, two = tmp_path / "my_first-diary.txt", tmp_path / "copy.txt"
    one.write_text("Dear diary.")
    two.write_text("Dear diary.")
    first, second = (read_source(SourceRef(path=path, format="text"), NOW) for path in (one, two))
    assert first.id == second.id
    assert first.title == "My first diary"
    assert first.location == str(one)
    assert (first.kind, first.added_at) == ("text", NOW)


def test_missing_and_empty_source(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing, match=r"gone\.txt' is missing"):
        read_source(SourceRef(path=tmp_path / "gone.txt", format="text"), NOW)
    (tmp_path / "empty.txt").touch()
    with pytest.raises(SourceUnreadable, match=r"empty\.txt' is empty"):
        read_source(SourceRef(path=tmp_path / "empty.txt", format="text"), NOW)


def test_settings_refuse_unknown_keys_and_explain_each() -> None:
    with pytest.raises(pydantic.ValidationError):
        ExtractSettings.model_validate({"worker": 2})
    assert all(field.description for field in ExtractSettings.model_fields.values())

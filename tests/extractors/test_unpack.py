"""Archives: each file is a source as it would be by itself; bombs, locks and damage are refused."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from memoirist.data.schema.errors import SourceEncrypted, SourceError, SourceUnreadable
from memoirist.extractors import discover, skipped_files
from memoirist.extractors.detection import unpack as unpacking
from memoirist.extractors.detection.unpack import archive_of, unpack
from tests.conftest import Command
from tests.extractors.test_dataset_rows import exchanges
from tests.extractors.test_sniff import PROSE, SRT

PAIRS = [(f"How did year {n} go?", f"I swept the floor, {n}.") for n in range(4)]
ROWS = [json.dumps({"question": q, "answer": a}) for q, a in PAIRS]
TEXT = "\n".join(ROWS).encode() + b"\n"


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def formats(pointer: Path, folder: Path) -> dict[str, str]:
    return {each.path.name: each.format for each in discover([str(pointer)], folder)}


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "rows.jsonl.gz": gzip.compress,
    "rows.jsonl.bz2": bz2.compress,
    "rows.jsonl.xz": lzma.compress,
    "rows.jsonl.zst": lambda content: pa.Codec("zstd").compress(content, asbytes=True),
    "rows.jsonl": gzip.compress,  # under the wrong name
    "rows.GZ": gzip.compress,
}


@pytest.mark.parametrize("name", PACKED)
def test_packed_rows_are_read(tmp_path: Path, name: str) -> None:
    path = put(tmp_path / name, PACKED[name](TEXT))
    (found,) = discover([str(path)], tmp_path / "unpacked")
    assert found.format == "dataset"
    assert [each[3:] for each in exchanges(found.path)] == PAIRS


def test_members_of_one_stream_are_all_read(tmp_path: Path) -> None:
    half = TEXT.index(b"\n", len(TEXT) // 2) + 1
    for name in ("rows.jsonl.gz", "rows.jsonl.zst"):
        parts = PACKED[name](TEXT[:half]) + PACKED[name](TEXT[half:])
        (found,) = discover([str(put(tmp_path / name, parts))], tmp_path / "unpacked")
        assert found.path.read_bytes() == TEXT


@pytest.mark.parametrize("name", ["all.zip", "all.tar", "all.tar.gz", "all.tgz", "all.tar.xz"])
def test_each_file_of_an_archive_is_a_source(tmp_path: Path, name: str) -> None:
    files = {
        "set/rows.jsonl": TEXT, "set/more.csv": b"question,answer\nWhy?,So.\n",
        "talk.srt": SRT.encode(), "letters/one.txt": PROSE.encode() * 3, "README.md": b"about",
        "set/rows.jsonl.gz": gzip.compress(TEXT), "cover.png": b"\x89PNG\r\n\x1a\n\x00",
        ".DS_Store": b"\x00", "__MACOSX/._talk.srt": b"\x00",
    }  # fmt: skip
    path = tmp_path / name
    if name.endswith("zip"):
        zipped(path, files)
    else:
        mode = {"tar": "w", "xz": "w:xz"}.get(name.rpartition(".")[2], "w:gz")
        with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
            for member, content in files.items():
                entry = tarfile.TarInfo(member)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    folder = tmp_path / "unpacked"
    found = discover([str(path)], folder)
    assert sorted((each.path.name, each.format) for each in found) == [
        ("more.csv", "dataset"),
        ("one.txt", "text"),
        ("rows.jsonl", "dataset"),
        ("rows.jsonl", "dataset"),
        ("talk.srt", "srt"),
    ]
    assert {archive_of(str(each.path)) for each in found} <= {name, "rows.jsonl.gz", "all.tar"}
    left = {each.name for each in skipped_files([str(path)], folder)}
    assert left == {"README.md", "cover.png"}
    # A second time nothing is written; a changed archive is unpacked again.
    before = found[0].path.stat().st_mtime_ns
    assert discover([str(path)], folder) == found
    assert found[0].path.stat().st_mtime_ns == before


def test_a_changed_archive_is_unpacked_again(tmp_path: Path) -> None:
    folder = tmp_path / "unpacked"
    path = zipped(tmp_path / "a.zip", {"one.txt": b"x" * 40, "two.txt": b"y"})
    assert set(formats(path, folder)) == {"one.txt", "two.txt"}
    zipped(path, {"two.txt": b"z" * 99})
    assert set(formats(path, folder)) == {"two.txt"}


def test_archives_in_a_folder_are_read_with_it(tmp_path: Path) -> None:
    data, folder = tmp_path / "data", tmp_path / "unpacked"
    put(data / "part-0.jsonl.gz", gzip.compress(TEXT))
    zipped(put(data / "part-1.zip", b""), {"rows.json": b"[" + TEXT.replace(b"\n", b",") + b"]"})
    put(data / "plain.txt", PROSE.encode())
    assert set(formats(data, folder)) == {"part-0.jsonl", "rows.json", "plain.txt"}
    assert set(formats(data / "*.gz", folder)) == {"part-0.jsonl"}
    assert formats(data, folder).keys() == formats(data, folder).keys()


def test_books_that_are_zip_files_stay_whole(tmp_path: Path) -> None:
    path = zipped(tmp_path / "book.zip", {"META-INF/container.xml": b"<container/>"})
    assert formats(path, tmp_path / "unpacked") == {"book.zip": "epub"}


def test_nothing_is_written_outside(tmp_path: Path) -> None:
    names = ["../../out.txt", "/abs.txt", "C:\\win\\own.txt", "a/../b.txt", "a//c.txt", "same.txt"]
    path = zipped(tmp_path / "a.zip", dict.fromkeys(names, b"words"))
    with zipfile.ZipFile(path, "a") as file:
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("same.txt", b"others")
        link = zipfile.ZipInfo("link.txt")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/passwd")
    target = unpack(path, tmp_path / "unpacked")
    written = [each for each in target.rglob("*") if each.is_file()]
    assert len(written) == len(names) + 1
    assert not any(each.is_symlink() for each in target.rglob("*"))
    beside = {each.name for each in tmp_path.rglob("*.txt")} - {each.name for each in written}
    assert not beside


def test_a_locked_archive_asks_for_its_password(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.txt": b"words"})
    content = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + at] |= 1
    path.write_bytes(content)
    with pytest.raises(SourceEncrypted, match=r"locked with a password; unpack it with its pass"):
        discover([str(path)], tmp_path / "unpacked")


@pytest.mark.parametrize("name", ["bomb.zip", "bomb.gz", "bomb.zst"])
def test_bombs_are_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "_RATIO_COUNTS_FROM_BYTES", 1 << 20)
    bomb = b"\x00" * (8 << 20)
    path = tmp_path / name
    if name == "bomb.zip":
        zipped(path, {"a.txt": bomb})
    else:
        path.write_bytes(PACKED[f"rows.jsonl{path.suffix}"](bomb))
    with pytest.raises(
        SourceUnreadable, match=r"is compressed more than 250 to 1, as a zip bomb is; unpack"
    ):
        discover([str(path)], tmp_path / "unpacked")
    assert not list((tmp_path / "unpacked").glob("*/*"))
    monkeypatch.setattr(unpacking, "_MAX_FILES", 2)
    many = zipped(tmp_path / "many.zip", {f"{n}.txt": b"x" for n in range(3)})
    with pytest.raises(SourceUnreadable, match="contains more than 2 files"):
        discover([str(many)], tmp_path / "unpacked")


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.jsonl.bz2", "rows.jsonl.xz", "a.zip"])
def test_damaged_archives_are_one_clear_line(tmp_path: Path, name: str) -> None:
    whole = zipped(tmp_path / name, {"a.txt": TEXT}).read_bytes()
    if name != "a.zip":
        whole = PACKED[name](TEXT)
    for content in (whole[: len(whole) // 2], whole[:30] + b"\xff" * 9 + whole[39:]):
        put(tmp_path / name, content)
        with pytest.raises(SourceError) as refused:
            discover([str(tmp_path / name)], tmp_path / "unpacked")
        assert "\n" not in str(refused.value)
        assert name in str(refused.value)


def test_an_archive_without_a_source_names_its_files(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {f"{n}.png": b"\x89PNG\r\n\x1a\n\x00" for n in range(5)})
    why = r"no readable source \(its files: 0\.png, 1\.png, 2\.png \.\.\.\); give one of these"
    with pytest.raises(SourceUnreadable, match=why):
        discover([str(path)], tmp_path / "unpacked")
    with pytest.raises(SourceUnreadable, match="a zip archive; unpack it"):
        discover([str(path)])


def test_the_command_line_reads_archives(memoirist: Command, tmp_path: Path) -> None:
    files = {"rows.jsonl": TEXT, "note.xyz": b"\x00\x01"}
    zipped(tmp_path / "talks.zip", files)
    put(tmp_path / "data/more.jsonl.gz", gzip.compress(TEXT.replace(b"year", b"spring")))
    done = memoirist("extract", "talks.zip", "data", "--persona", "Ada Marrow")
    assert done.returncode == 0, done.stderr
    assert "rows.jsonl: schema question/answer" in done.stderr
    assert "more.jsonl: schema question/answer" in done.stderr
    assert "note.xyz in the given folders and archives are left out" in done.stderr
    again = memoirist("extract", "talks.zip", "data", "--persona", "Ada Marrow")
    assert "nothing new in 2 sources" in again.stderr
    zipped(tmp_path / "talks.zip", {"others.jsonl": TEXT.replace(b"year", b"winter")})
    gone = memoirist("extract", "talks.zip", "--persona", "Ada Marrow")
    assert "others.jsonl: schema question/answer" in gone.stderr
    assert "rows.jsonl' is missing" in gone.stderr

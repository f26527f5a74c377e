"""Files whose ending is wrong, missing or unknown are told by their content."""

from __future__ import annotations

import json
import shutil
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from memoirist.data.samples import SOURCES
from memoirist.data.schema.errors import SourceError, SourceUnreadable
from memoirist.extractors import ExtractSettings, discover, extract, read_source, skipped_files
from memoirist.extractors.detection.sniff import content_of, format_of
from tests.conftest import Command

NOW = datetime(2026, 11, 21, tzinfo=UTC)
PROSE = "My father carried the flour to the loft, and we counted the sacks until it was dark.\n"
VTT = "WEBVTT\n\n00:01.000 --> 00:04.000\n<v Ada Marrow>I went down to the yard.\n"
SRT = "1\n00:00:01,000 --> 00:00:04,000\nI went down to the yard.\n"
PAGE = f"<!DOCTYPE html>\n<html><body><p>{PROSE}</p></body></html>"
TALK = '{"version": "1.0.0", "segments": [{"speaker": "Ada", "startTime": 1, "body": "Yes."}]}'


def put(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def zipped(path: Path, **files: str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, text in files.items():
            file.writestr(name.replace("__", "/").replace("_", "."), text)
    return path


def named(path: Path) -> str | None:
    known = format_of(path)
    return known.name if known else None


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("memoir.pdf", PROSE * 3, "text"),
        ("memoir.epub", PROSE * 3, "text"),
        ("memoir", PROSE * 3, "text"),
        ("memoir.docx", PROSE.encode("utf-16"), "text"),
        ("回忆.pdf", "父亲把面粉搬到阁楼上，我们数着麻袋，直到天黑。\n" * 3, "text"),
        ("talk.pdf", "Ben: What did you do?\nAda: I went.\n" * 4, "dialogue"),
        ("page.pdf", PAGE, "html"),
        ("page.txt", f'<?xml version="1.0"?>\n<!-- saved -->\n{PAGE}', "html"),
        ("page.xml", PAGE, "html"),
        ("talk.txt", VTT, "vtt"),
        ("talk.srt", VTT, "srt"),
        ("talk.md", SRT, "srt"),
        ("talk.json.txt", TALK, "podcast-json"),
        ("chat.txt", '{"question": "a?", "answer": "b"}\n' * 3, "dataset"),
        # What only speaks of a format is text.
        ("about.txt", "%PDF-1.4 is how such a file begins.\n", "text"),
        ("about.txt", "ID3 is how decision trees began.\n", "text"),
        ("about.txt", "WEBVTT is how captions begin.\n", "text"),
        ("about.md", "1\n2\n[1] a note, [2] another\n", "markdown"),
        ("about.txt", '["a list", "of words"]\n', "text"),
        ("about.txt", "He said WAVE, and PAR1 was what the machine understood.\n", "text"),
        ("about.vtt", "no captions at all\n", "vtt"),
    ],
)
def test_content_says_the_format(
    tmp_path: Path, name: str, content: str | bytes, wanted: str
) -> None:
    assert named(put(tmp_path / name, content)) == wanted


def test_archives_are_told_apart(tmp_path: Path) -> None:
    container = {"mimetype": "application/epub+zip", "META-INF__container_xml": "<container/>"}
    assert named(zipped(tmp_path / "book.zip", **container)) == "epub"
    assert named(zipped(tmp_path / "book.txt", **container)) == "epub"
    assert named(zipped(tmp_path / "letter.pdf", word__document_xml="<w/>")) == "docx"
    assert named(zipped(tmp_path / "bare.epub", a_txt="x")) == "epub"
    assert named(zipped(tmp_path / "bare.zip", a_txt="x")) is None
    torn = tmp_path / "torn.epub"
    torn.write_bytes((tmp_path / "book.zip").read_bytes()[:40])
    assert named(torn) == "epub"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("cover.txt", b"\x89PNG\r\n\x1a\n\x00\x00", r"a PNG picture; make a PDF"),
        ("talk.mp3", b"ID3\x04\x00\x00", r"an MP3 recording; transcribe it"),
        ("talk.pdf", b"RIFF\x00\x00\x00\x00WAVEfmt ", r"a WAV recording"),
        ("rows.jsonl.gz", b"\x1f\x8b\x08\x00", r"a gzip archive; unpack it"),
        (
            "rows.txt",
            b"PAR1\x15\x04\x15",
            r"a Parquet table; rename it so that it ends in \.parquet",
        ),
        ("rows.csv", b"PAR1\x15\x04\x15", r"a Parquet table"),
        (
            "rows.txt",
            '[{"question": "a?", "answer": "b"}]',
            r"JSON; rename it so that it ends in \.json",
        ),
        ("notes.rtf", "{\\rtf1\\ansi notes}", r"an RTF document; open it"),
        ("notes.doc", bytes.fromhex("d0cf11e0a1b11ae1"), r"an old Office document; open it"),
        ("notes.tex", PROSE * 3, r"plain text; rename it so that it ends in \.txt"),
        ("feed.xml", '<?xml version="1.0"?><rss version="2.0">', r"a feed; give its address"),
    ],
)
def test_refusals_name_the_content(
    tmp_path: Path, name: str, content: str | bytes, told: str
) -> None:
    path = put(tmp_path / name, content)
    with pytest.raises(SourceUnreadable, match=rf"{name}': by its content it is {told}"):
        discover([str(path)])


def test_a_damaged_pdf_stays_a_pdf(tmp_path: Path) -> None:
    headless = put(
        tmp_path / "torn.pdf", "1 0 obj << /Type /Catalog >> endobj and more words\n" * 9
    )
    assert (named(headless), content_of(headless)) == ("pdf", None)
    assert named(put(tmp_path / "noise.pdf", bytes(range(256)) * 8)) == "pdf"
    assert named(put(tmp_path / "few.pdf", "no pdf")) == "pdf"


def test_a_pdf_named_text_gives_its_pages_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "memoir.txt"
    shutil.copy(SOURCES[0], path)
    (found,) = discover([str(path)])
    source = read_source(found, NOW)
    assert (source.format, source.kind) == ("pdf", "book")
    rows = extract(source, ExtractSettings(workers=1))
    assert max(block.page or 0 for block in rows.blocks) > 10
    (flag,) = [verdict for verdict in rows.verdicts if verdict.rule == "read_by_content"]
    assert (flag.keep, flag.subject, flag.subject_id) == (True, "documents", rows.documents[0].id)
    assert flag.reason == "read as a PDF by its content, not by its ending .txt"
    right = extract(read_source(discover([str(SOURCES[0])])[0], NOW), ExtractSettings(workers=1))
    assert not [verdict for verdict in right.verdicts if verdict.rule == "read_by_content"]


def test_a_folder_takes_known_endings_alone(tmp_path: Path) -> None:
    for name in ("a.txt", "b.zip", "c.txt", "d", "cover.txt"):
        put(tmp_path / name, PROSE * 3)
    shutil.copy(SOURCES[0], tmp_path / "c.txt")
    zipped(tmp_path / "b.zip", **{"META-INF__container_xml": "<container/>"})
    put(tmp_path / "cover.txt", b"\x89PNG\r\n\x1a\n\x00\x00")
    found = {each.path.name: each for each in discover([str(tmp_path)])}
    assert {name: each.format for name, each in found.items()} == {
        "a.txt": "text",
        "c.txt": "pdf",
        "cover.txt": "text",
    }
    with pytest.raises(SourceUnreadable, match=r"by its content it is a PNG picture"):
        read_source(found["cover.txt"], NOW)
    assert {path.name for path in skipped_files([str(tmp_path)])} == {"b.zip", "d"}
    assert [each.format for each in discover([f"{tmp_path}/*.zip"])] == ["epub"]
    assert {each.path.name for each in discover([f"{tmp_path}/*"])} == set(found)


@pytest.mark.parametrize("pointer", ["ftp://host/book.pdf", "s3://bucket/a", "file:///a/book.pdf"])
def test_other_addresses_have_their_own_line(pointer: str) -> None:
    scheme = pointer.partition(":")[0]
    with pytest.raises(
        SourceError, match=rf"the address {scheme}:// is not supported; give a file"
    ):
        discover([pointer])


def test_the_command_line_tells_what_it_read_by_content(memoirist: Command, tmp_path: Path) -> None:
    put(tmp_path / "talk.pdf", VTT)
    put(tmp_path / "cover.pdf", b"\x89PNG\r\n\x1a\n\x00\x00")
    done = memoirist("extract", "talk.pdf", "cover.pdf", "--persona", "Ada Marrow")
    assert done.returncode == 0, done.stderr
    assert "talk.pdf is read as WebVTT captions by its content" in done.stderr
    assert "by its content it is a PNG picture" in done.stderr
    told = memoirist("look", "coverage", "--format", "json")
    flags = {(row["subject"], row["flags"]) for row in json.loads(told.stdout)}
    assert ("documents", "read_by_content 1") in flags
    again = memoirist("extract", "talk.pdf", "--persona", "Ada Marrow")
    assert "nothing new in 1 source" in again.stderr

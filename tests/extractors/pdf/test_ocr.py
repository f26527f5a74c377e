"""Scans and locked files: what tesseract reads of a picture, and the passwords of PDFs."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from memoirist.data.schema.errors import SourceEncrypted, SourceWithoutText
from memoirist.data.schema.records import Rows
from memoirist.extractors import ExtractSettings, SourceRef, extract, read_source
from memoirist.extractors.pdf.engines.base import forget_passwords, remember_passwords
from memoirist.extractors.pdf.ocr import tesseract_codes
from tests.conftest import Command, environment

NOW = datetime(2026, 11, 21, tzinfo=UTC)
SECRET = "open sesame 7"
needs_tesseract = pytest.mark.skipif(
    shutil.which("tesseract") is None, reason="tesseract is not installed"
)


def rows_of(path: Path, settings: ExtractSettings) -> Rows:
    return extract(read_source(SourceRef(path=path, format="pdf"), NOW), settings)


def scanned(path: Path, *lines: str) -> Path:
    """Draw lines as a picture, 200 dots to the inch, and put it on a page."""
    picture = Image.new("L", (1100, 500), 255)
    font = ImageFont.load_default(size=34)
    for n, line in enumerate(lines):
        ImageDraw.Draw(picture).text((60, 60 + 60 * n), line, font=font, fill=0)
    canvas = Canvas(str(path), pagesize=(396, 180))
    canvas.drawImage(ImageReader(picture), 0, 0, 396, 180)
    canvas.showPage()
    canvas.setFont("Times-Roman", 11)
    canvas.drawString(30, 100, "This page was typed and needs no recognition.")
    canvas.save()
    return path


# --- OCR ---------------------------------------------------------------------------------------


@needs_tesseract
def test_a_scan_is_read_once_with_its_confidence(tmp_path: Path) -> None:
    path = scanned(
        tmp_path / "scan.pdf",
        "My father kept a boat on the river and",
        "never once let us row it by ourselves.",
    )
    settings = ExtractSettings(
        workers=1, ocr=True, ocr_languages=["en"], ocr_folder=str(tmp_path / "ocr")
    )
    rows = rows_of(path, settings)
    text = " ".join(block.text for block in rows.blocks)
    assert "My father kept a boat on the river and never once let us row it by ourselves." in text
    assert "This page was typed and needs no recognition." in text
    (verdict,) = rows.verdicts
    assert (verdict.rule, verdict.keep) == ("ocr_confidence", True)
    assert verdict.score is not None
    assert 0.8 < verdict.score <= 1
    assert verdict.reason.startswith("page 1: 17 words")
    kept = sorted((tmp_path / "ocr").iterdir())
    times = [each.stat().st_mtime_ns for each in kept]
    assert [each.suffix for each in kept] == [".json", ".pdf"]
    assert rows_of(path, settings).blocks == rows.blocks
    assert [each.stat().st_mtime_ns for each in kept] == times


@needs_tesseract
def test_a_page_of_doubtful_words_is_dropped_with_its_verdict(tmp_path: Path) -> None:
    path = scanned(tmp_path / "scan.pdf", "My father kept a boat on the river and")
    settings = ExtractSettings(
        workers=1, ocr=True, ocr_min_confidence=1.0, ocr_folder=str(tmp_path / "ocr")
    )
    rows = rows_of(path, settings)
    (verdict,) = (each for each in rows.verdicts if each.rule == "ocr_confidence")
    assert not verdict.keep
    assert "boat" not in " ".join(block.text for block in rows.blocks)


@needs_tesseract
def test_a_language_that_is_not_installed_is_named(tmp_path: Path) -> None:
    path = scanned(tmp_path / "scan.pdf", "Any text")
    settings = ExtractSettings(workers=1, ocr=True, ocr_languages=["xxq"])
    with pytest.raises(SourceWithoutText, match=r"lacks the language xxq; install it: apt"):
        rows_of(path, settings)


def test_a_missing_tesseract_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    path = scanned(tmp_path / "scan.pdf", "Any text")
    with pytest.raises(SourceWithoutText, match=r"tesseract is not installed; .*apt install"):
        rows_of(path, ExtractSettings(workers=1, ocr=True))


def test_languages_take_the_names_of_tesseract() -> None:
    assert tesseract_codes(["de", "en-GB"]) == ["deu", "eng"]
    assert tesseract_codes([""]) == ["eng"]
    assert tesseract_codes(["frk"]) == ["frk"]


# --- passwords ---------------------------------------------------------------------------------


@pytest.fixture
def no_passwords() -> Iterator[None]:
    yield
    forget_passwords()


def locked(path: Path, user: str = SECRET) -> Path:
    canvas = Canvas(str(path), encrypt=StandardEncryption(user, ownerPassword="the owner's"))
    canvas.drawString(40, 480, "Only who knows the word may read what is written here.")
    canvas.save()
    return path


@pytest.mark.usefixtures("no_passwords")
@pytest.mark.parametrize("engine", ["pdfium", "pdfminer", "auto"])
def test_a_locked_file_opens_with_its_password(tmp_path: Path, engine: str) -> None:
    path = locked(tmp_path / "locked.pdf")
    settings = ExtractSettings.model_validate({"workers": 1, "engine": engine})
    with pytest.raises(SourceEncrypted, match=r"locked with a password; .*--password"):
        rows_of(path, settings)
    remember_passwords(["wrong"])
    with pytest.raises(SourceEncrypted, match=r"none of the given passwords opens it") as caught:
        rows_of(path, settings)
    assert "wrong" not in str(caught.value)
    remember_passwords([SECRET])
    assert "Only who knows the word" in rows_of(path, settings).blocks[0].text


@pytest.mark.parametrize("engine", ["pdfium", "pdfminer"])
def test_an_empty_password_needs_no_asking(tmp_path: Path, engine: str) -> None:
    path = locked(tmp_path / "owned.pdf", user="")
    settings = ExtractSettings.model_validate({"workers": 1, "engine": engine})
    assert "Only who knows the word" in rows_of(path, settings).blocks[0].text


def test_the_flag_opens_a_file_and_the_password_stays_nowhere(
    tmp_path: Path, memoirist: Command
) -> None:
    locked(tmp_path / "locked.pdf")
    note = tmp_path / "note.txt"
    note.write_text("A note that anyone may read, and that says nothing of importance. " * 4)
    refused = memoirist("extract", "locked.pdf", "note.txt", "--password", "not it")
    assert refused.returncode == 0
    assert "none of the given passwords opens it" in refused.stderr
    told = memoirist("sql", "SELECT rule FROM verdicts WHERE subject = 'sources'").stdout
    assert "source_encrypted" in told
    opened = memoirist("extract", "locked.pdf", "--password", "not it", "--password", SECRET)
    assert opened.returncode == 0, opened.stderr
    found = memoirist("sql", "SELECT text FROM blocks").stdout
    assert "Only who knows the word" in found
    assert SECRET not in refused.stderr + opened.stderr + opened.stdout
    for path in (tmp_path / "workspace").rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path


def test_a_terminal_is_asked_for_the_password(tmp_path: Path) -> None:
    locked(tmp_path / "locked.pdf")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "memoirist.flows.cli", "extract", "locked.pdf"],
        cwd=tmp_path,
        env=environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        shown = ""
        for answer, wanted in ((b"wrong\n", "not open it"), (SECRET.encode() + b"\n", "1 block")):
            # What is typed while the terminal still echoes would be seen, and thrown away.
            while termios.tcgetattr(ours)[3] & termios.ECHO:
                time.sleep(0.02)
            os.write(ours, answer)
            while wanted not in shown:
                shown += os.read(ours, 4096).decode("utf-8", "replace")
        assert process.wait(60) == 0
    os.close(ours)
    assert shown.count("Password of locked.pdf") == 2
    assert SECRET not in shown

"""The processes that read PDFs: what they may take, and what happens when they take more."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.data.schema.records import Rows
from memoirist.extractors import ExtractSettings, SourceRef, extract, read_source
from tests.support.pdfs import GOOD_FONT, WORDS, raw_pdf

NOW = datetime(2026, 11, 21, tzinfo=UTC)
GOOD = (GOOD_FONT, WORDS % b"This page can be read without trouble.")
# Three million path operators: many seconds of work for pdfminer.
SLOW = (GOOD_FONT, b"/Filter /FlateDecode\n" + zlib.compress(b"0 0 m 9 9 l S " * 1_000_000))
# Six hundred megabytes of blanks, packed into a few.
BOMB = (GOOD_FONT, b"/Filter /FlateDecode\n" + zlib.compress(b" " * 600_000_000, 1))


def rows_of(path: Path, settings: ExtractSettings) -> Rows:
    return extract(read_source(SourceRef(path=path, format="pdf"), NOW), settings)


def hurried(engine: str, workers: int = 1, page_memory_mb: int = 400) -> ExtractSettings:
    return ExtractSettings.model_validate(
        {
            "engine": engine,
            "workers": workers,
            "opening_seconds": 3,
            "page_seconds": 0.5,
            "page_memory_mb": page_memory_mb,
        }
    )


@pytest.mark.medium
def test_a_page_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    path = raw_pdf(tmp_path / "slow.pdf", [GOOD, SLOW, GOOD])
    rows = rows_of(path, hurried("pdfminer"))
    (verdict,) = rows.verdicts
    assert verdict.rule == "unreadable_page"
    assert "page 2 " in verdict.reason
    assert "0.5 s" in verdict.reason
    assert sum(block.text.count("without trouble") for block in rows.blocks) == 2


@pytest.mark.parametrize("engine", ["pdfminer", "pdfium", "auto"])
def test_a_page_that_takes_too_much_memory_is_given_up(tmp_path: Path, engine: str) -> None:
    path = raw_pdf(tmp_path / "bomb.pdf", [GOOD, BOMB, GOOD])
    rows = rows_of(path, hurried(engine, page_memory_mb=100))
    assert sum(block.text.count("without trouble") for block in rows.blocks) == 2
    # PDFium shrugs the bomb off as a page without text; pdfminer has to unpack it.
    for verdict in rows.verdicts:
        assert verdict.rule == "unreadable_page"
        assert verdict.reason.startswith("page 2 ")
    assert engine == "pdfium" or rows.verdicts


@pytest.mark.slow
def test_a_file_of_nothing_but_slow_pages_ends_soon(tmp_path: Path) -> None:
    path = raw_pdf(tmp_path / "slow.pdf", [SLOW] * 40)
    with pytest.raises(SourceUnreadable, match=r"slow\.pdf'.*no page of it can be read"):
        rows_of(path, hurried("pdfminer", workers=2))


def test_progress_counts_every_page(tmp_path: Path) -> None:
    path = raw_pdf(tmp_path / "book.pdf", [GOOD] * 30)
    ticks: list[tuple[int, int]] = []
    source = read_source(SourceRef(path=path, format="pdf"), NOW)
    extract(source, ExtractSettings(workers=2), lambda done, total: ticks.append((done, total)))
    assert [done for done, _ in ticks] == [*range(1, 31), 30]
    assert {total for _, total in ticks} == {30}

"""The printed numbers of pages: from folios, counted on where there is none, or the file's own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter
from pypdf.constants import PageLabelStyle
from reportlab.lib.utils import simpleSplit
from reportlab.pdfgen.canvas import Canvas

from memoirist.data.schema.records import Block
from memoirist.extractors import ExtractSettings, SourceRef, extract, read_source
from memoirist.extractors.pdf.structure.running_heads import folio_value, roman_numeral

NOW = datetime(2026, 11, 21, tzinfo=UTC)
PROSE = (
    "The clerk of the ferry counted who went over and forgot who came back, so that by his book "
    "the far bank held the whole county before harvest, and the near one nobody but himself. "
)


def drawn(path: Path, folios: Sequence[str], head: str = "") -> Path:
    """Draw one page of prose for each folio; an empty one is not printed."""
    canvas = Canvas(str(path), pagesize=(360, 540))
    for n, folio in enumerate(folios):
        canvas.setFont("Times-Roman", 11)
        # No two pages begin or end alike: lines that recur would be running heads.
        words = (PROSE * 4).split()
        text = " ".join(["It", *words[7 * n :], *words[: 7 * n], "so."])
        for k, line in enumerate(simpleSplit(text, "Times-Roman", 11, 262)):
            canvas.drawString(40 if k else 54, 470 - 14 * k, line)
        if head:
            before, after = (f"{folio}   {head}", f"{head}   {folio}")
            canvas.drawString(40, 500, before if n % 2 else after)
        elif folio:
            canvas.drawCentredString(180, 40, folio)
        canvas.showPage()
    canvas.save()
    return path


def labels(path: Path, engine: str) -> list[str | None]:
    """Return the label of each page that has prose."""
    settings = ExtractSettings.model_validate({"workers": 1, "engine": engine})
    source = read_source(SourceRef(path=path, format="pdf"), NOW)
    blocks: Sequence[Block] = extract(source, settings).blocks
    first: dict[int, str | None] = {}
    for block in blocks:
        if block.kind == "paragraph" and block.page:
            first.setdefault(block.page, block.page_label)
    return [first[page] for page in sorted(first)]


@pytest.fixture(params=["pdfium", "pdfminer"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_numbers_are_counted_on_where_a_page_prints_none(tmp_path: Path, engine: str) -> None:
    folios = ["", "ii", "iii", "iv", "", "2", "3", "", "5", "6", ""]
    found = labels(drawn(tmp_path / "book.pdf", folios), engine)
    assert found == ["i", "ii", "iii", "iv", "1", "2", "3", "4", "5", "6", "7"]


def test_numbers_in_running_heads_count(tmp_path: Path, engine: str) -> None:
    folios = [str(n) for n in range(41, 47)]
    found = labels(drawn(tmp_path / "book.pdf", folios, head="THE FERRY BOOK"), engine)
    assert found == folios


def test_a_number_that_nothing_supports_is_not_believed(tmp_path: Path, engine: str) -> None:
    assert labels(drawn(tmp_path / "book.pdf", ["", "1912", "", ""]), engine) == [None] * 4


def test_the_files_own_labels_stand_in(tmp_path: Path, engine: str) -> None:
    writer = PdfWriter(clone_from=PdfReader(str(drawn(tmp_path / "bare.pdf", [""] * 4))))
    writer.set_page_label(0, 1, style=PageLabelStyle.LOWERCASE_ROMAN)
    writer.set_page_label(2, 3, style=PageLabelStyle.DECIMAL, start=9)
    writer.write(tmp_path / "labelled.pdf")
    assert labels(tmp_path / "labelled.pdf", engine) == ["i", "ii", "9", "10"]


@pytest.mark.parametrize(("value", "text"), [(4, "iv"), (49, "xlix"), (1994, "mcmxciv")])
def test_roman_numbers_go_both_ways(value: int, text: str) -> None:
    assert roman_numeral(value) == text
    assert folio_value(f"- {text.upper()} -") == -value

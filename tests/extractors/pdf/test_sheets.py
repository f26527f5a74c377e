"""Pages that do not lie as they are read: two on a sheet, out of order, turned; unknown letters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from reportlab.lib.utils import simpleSplit
from reportlab.pdfgen.canvas import Canvas

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.data.schema.records import Rows
from memoirist.extractors import ExtractSettings, SourceRef, extract, read_source
from tests.support.pdfs import GOOD_FONT, WORDS, raw_pdf

NOW = datetime(2026, 11, 21, tzinfo=UTC)
WIDTH, HEIGHT = 300, 420
OPENINGS = (
    "Nobody had told the miller",
    "Before it was light",
    "My aunt kept bees, which",
    "When the ferry came at last",
    "It rained, and the roof",
    "Three letters lay on the table",
    "Of the two brothers I knew",
    "She would not hear of it",
    "Under the bridge stood a horse",
    "Far too late we understood",
    "There is a photograph in which",
    "Every Thursday without fail",
    "On the quay they sold eels",
    "A clock struck somewhere",
    "What became of the dog",
    "His hands were cold, and",
)
Sheet = tuple[int, int]


@pytest.fixture(params=["pdfium", "pdfminer"])
def settings(request: pytest.FixtureRequest) -> ExtractSettings:
    return ExtractSettings.model_validate({"workers": 1, "engine": request.param})


def rows_of(path: Path, settings: ExtractSettings) -> Rows:
    return extract(read_source(SourceRef(path=path, format="pdf"), NOW), settings)


def texts(rows: Rows) -> list[str]:
    return [block.text for block in rows.blocks if block.kind == "paragraph"]


def told(page: int) -> str:
    parts = [OPENINGS[(page * step) % 16].lower() for step in (3, 5, 7, 9, 11, 13, 15)]
    return f"{OPENINGS[page - 1]} so {', then '.join(parts)}."


def draw_sheets(
    path: Path,
    sheets: Sequence[Sheet],
    *,
    turned: Callable[[int], bool] = lambda n: False,
    numbered: Callable[[int], bool] = lambda page: True,
) -> Path:
    """Draw two pages on each sheet; page 0 is blank."""
    canvas = Canvas(str(path), pagesize=(2 * WIDTH, HEIGHT))
    for n, sheet in enumerate(sheets):
        if turned(n):
            canvas.translate(2 * WIDTH, HEIGHT)
            canvas.rotate(180)
        for side, page in enumerate(sheet):
            if not page:
                continue
            left = side * WIDTH + 30
            canvas.setFont("Times-Roman", 11)
            for k, line in enumerate(simpleSplit(told(page), "Times-Roman", 11, WIDTH - 60)):
                canvas.drawString(left + (14 if k == 0 else 0), 360 - 14 * k, line)
            if numbered(page):
                canvas.drawCentredString(side * WIDTH + WIDTH / 2, 30, str(page))
        canvas.showPage()
    canvas.save()
    return path


IN_ORDER: list[Sheet] = [(n, n + 1) for n in range(1, 13, 2)]
# Two gatherings of two leaves and one of one, fronts and backs: first and last page share a sheet.
IMPOSED: list[Sheet] = [(8, 1), (2, 7), (6, 3), (4, 5), (16, 9), (10, 15), (14, 11), (12, 13)]


def test_two_pages_on_a_sheet_are_read_one_after_the_other(
    tmp_path: Path, settings: ExtractSettings
) -> None:
    rows = rows_of(draw_sheets(tmp_path / "sheets.pdf", IN_ORDER), settings)
    assert texts(rows) == [told(page) for page in range(1, 13)]
    blocks = [block for block in rows.blocks if block.kind == "paragraph"]
    assert [block.page for block in blocks] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
    assert [block.text for block in rows.blocks if block.kind == "folio"] == [
        str(page) for page in range(1, 13)
    ]
    assert list(rows.verdicts) == []


def test_sheets_imposed_for_binding_are_sorted_by_their_numbers(
    tmp_path: Path, settings: ExtractSettings
) -> None:
    path = draw_sheets(tmp_path / "imposed.pdf", IMPOSED, turned=lambda n: n % 2 == 1)
    assert texts(rows_of(path, settings)) == [told(page) for page in range(1, 17)]


def test_a_page_without_its_number_takes_the_place_that_its_sheet_leaves(
    tmp_path: Path, settings: ExtractSettings
) -> None:
    path = draw_sheets(tmp_path / "imposed.pdf", IMPOSED, numbered=lambda page: page != 7)
    assert texts(rows_of(path, settings)) == [told(page) for page in range(1, 17)]


def test_sheets_whose_order_cannot_be_told_are_refused(
    tmp_path: Path, settings: ExtractSettings
) -> None:
    path = draw_sheets(tmp_path / "imposed.pdf", IMPOSED, numbered=lambda page: page % 4 < 2)
    with pytest.raises(SourceUnreadable, match=r"out of order.*split it"):
        rows_of(path, settings)


def test_a_page_on_its_side_is_read_upright(tmp_path: Path, settings: ExtractSettings) -> None:
    canvas = Canvas(str(tmp_path / "side.pdf"), pagesize=(420, 540))
    for turn in (90, 180, 270):
        canvas.translate(210, 270)
        canvas.rotate(turn)
        canvas.drawString(-150, 50, f"The page that is turned by {turn} is read as well.")
        canvas.showPage()
    canvas.save()
    rows = rows_of(tmp_path / "side.pdf", settings)
    found = " ".join(block.text for block in rows.blocks)
    assert found == " ".join(
        f"The page that is turned by {n} is read as well." for n in (90, 180, 270)
    )
    assert list(rows.verdicts) == []


BITMAP_FONT = (
    b"<< /Type /Font /Subtype /Type3 /FontBBox [0 0 1000 1000] /FontMatrix [.001 0 0 .001 0 0]"
    b" /CharProcs << >> /Encoding << /Type /Encoding /Differences [0 /a0] >>"
    b" /FirstChar 0 /LastChar 255 /Widths [" + b"500 " * 256 + b"] >>"
)


@pytest.mark.parametrize(
    ("drawn", "read"),
    [
        (rb"The o\036ce was in \034ne order and sti\033 as ever.", "The office was in fine order"),
        (rb"The o\016ce was in \014ne order and sti\013 as ever.", "The office was in fine order"),
    ],
    ids=["T1", "OT1"],
)
def test_the_ligatures_of_bitmap_fonts_are_read(
    tmp_path: Path, settings: ExtractSettings, drawn: bytes, read: str
) -> None:
    path = raw_pdf(tmp_path / "bitmap.pdf", [(BITMAP_FONT, WORDS % drawn)])
    (text,) = texts(rows_of(path, settings))
    assert text == f"{read} and stiff as ever."


def test_a_page_whose_letters_are_unknown_gets_a_verdict(
    tmp_path: Path, settings: ExtractSettings
) -> None:
    clear = (GOOD_FONT, WORDS % b"This page can be read without trouble.")
    garbled = (BITMAP_FONT, WORDS % rb"\001\002\003\004\005\006\007 \002\003\004 \005\006 \001")
    rows = rows_of(raw_pdf(tmp_path / "some.pdf", [clear, garbled]), settings)
    (verdict,) = rows.verdicts
    assert (verdict.rule, verdict.keep) == ("unmapped_text", False)
    assert verdict.reason.startswith("page 2 ")
    assert verdict.score is not None
    assert verdict.score > 0.5
    assert texts(rows) == ["This page can be read without trouble."]
    with pytest.raises(SourceUnreadable, match=r"all\.pdf' do not map .* to Unicode"):
        rows_of(raw_pdf(tmp_path / "all.pdf", [garbled]), settings)


def test_two_codes_of_a_bitmap_font_are_no_text(tmp_path: Path, settings: ExtractSettings) -> None:
    path = raw_pdf(tmp_path / "sign.pdf", [(BITMAP_FONT, WORDS % rb"\031\022")])
    with pytest.raises(SourceUnreadable, match=r"do not map their characters to Unicode"):
        rows_of(path, settings)

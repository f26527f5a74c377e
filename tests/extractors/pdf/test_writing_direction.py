"""Writing that does not run from left to right: columns of Chinese, lines of Arabic and Hebrew."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from memoirist.data.schema.records import Rows
from memoirist.extractors import ExtractSettings, SourceRef, extract, read_source
from memoirist.extractors.pdf.layout.geometry import Glyph, Line
from memoirist.extractors.pdf.layout.writing_direction import (
    in_reading_order,
    is_visual_rtl,
    logical_order,
)

NOW = datetime(2026, 11, 21, tzinfo=UTC)
COLUMNS = (
    "昔年我家住在河東每日看船來船去",
    "父親常說水是路船是腳人是客",
    "我那時不懂後來才漸漸明白了",
)
NOTES = ("此處甚好", "讀者記之")


def rows_of(path: Path, engine: str) -> Rows:
    settings = ExtractSettings.model_validate({"workers": 1, "engine": engine})
    return extract(read_source(SourceRef(path=path, format="pdf"), NOW), settings)


def font_of(path: Path) -> Path:
    """Write a font with a box for each character.

    Embedded, it makes a page whose text PDFium finds on a system without any fonts.
    """
    names = {ord(char): f"uni{ord(char):04X}" for char in "".join((*COLUMNS, *NOTES))}
    pen = TTGlyphPen(None)
    for move, point in zip(
        (pen.moveTo, pen.lineTo, pen.lineTo, pen.lineTo),
        ((50, -70), (50, 830), (950, 830), (950, -70)),
        strict=True,
    ):
        move(point)
    pen.closePath()
    box, glyphs = pen.glyph(), [".notdef", *names.values()]
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(glyphs)
    font.setupCharacterMap(names)
    font.setupGlyf(dict.fromkeys(glyphs, box))
    font.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 50)))
    font.setupHorizontalHeader(ascent=880, descent=-120)
    font.setupNameTable({"familyName": "Boxes", "styleName": "Regular", "psName": "Boxes"})
    font.setupOS2(sTypoAscender=880, sTypoDescender=-120, sCapHeight=830)
    font.setupPost()
    font.save(path)
    return path


def draw_columns(path: Path, font: str = "Boxes") -> Path:
    """Draw columns from right to left, character by character, with a note in two small rows.

    Another font than the boxes is named in the file, and not embedded.
    """
    if font == "Boxes":
        pdfmetrics.registerFont(TTFont("Boxes", font_of(path.with_name("boxes.ttf"))))
    else:
        pdfmetrics.registerFont(UnicodeCIDFont(font))
    canvas = Canvas(str(path), pagesize=(300, 420))
    canvas.setFont(font, 16)
    for n, column in enumerate(COLUMNS):
        for k, char in enumerate(column):
            canvas.drawString(240 - 30 * n, 380 - 17 * k, char)
    canvas.setFont(font, 8)
    for n, note in enumerate(NOTES):
        for k, char in enumerate(note):
            canvas.drawString(219 - 9 * n, 140 - 9 * k, char)
    canvas.save()
    return path


@pytest.mark.parametrize("engine", ["pdfium", "pdfminer", "auto"])
def test_columns_are_read_from_right_to_left(tmp_path: Path, engine: str) -> None:
    rows = rows_of(draw_columns(tmp_path / "columns.pdf"), engine)
    body = "".join(block.text for block in rows.blocks if block.kind in ("paragraph", "quote"))
    assert body.replace(" ", "") == "".join(COLUMNS)
    notes = [block.text for block in rows.blocks if block.kind == "footnote"]
    assert "".join(notes) == "".join(NOTES)
    assert list(rows.verdicts) == []


def test_arabic_and_hebrew_are_put_into_reading_order() -> None:
    assert logical_order("םולש ינא") == "אני שלום"
    assert logical_order(".(1948) תנשב") == "בשנת (1948)."
    assert logical_order("the word םולש means peace") == "the word שלום means peace"
    # A vowel mark stays with its letter.
    assert logical_order("يبيبحَ") == "حَبيبي"


def test_a_page_from_right_to_left_is_mirrored() -> None:
    line = Line(page=1, x0=50, x1=280, y=100, size=10, text="םולש ינא")
    (read,) = in_reading_order([line], 300)
    assert (read.x0, read.x1, read.text) == (20, 250, "אני שלום")
    assert not is_visual_rtl([Glyph("plain", 0, 1, 0, 10, "F")])
    assert is_visual_rtl([Glyph("ש", 0, 1, 0, 10, "F")])


def test_pdfium_alone_does_not_guess_at_arabic(tmp_path: Path, corpora: Path) -> None:
    path = corpora / "pdf-gt" / "docling" / "right_to_left_01.pdf"
    text = " ".join(block.text for block in rows_of(path, "auto").blocks)
    assert "تحسين الإنتاجية وحل المشكلات من خلال البرمجة" in text
    with pytest.raises(Exception, match=r"engine = auto"):
        rows_of(path, "pdfium")

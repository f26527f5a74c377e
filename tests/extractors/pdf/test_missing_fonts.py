"""Fonts that are neither in the file nor on the machine: nothing of their text is lost unsaid."""

from __future__ import annotations

from pathlib import Path

import pytest

from memoirist.extractors.pdf.engines.auto import fuller_reading
from memoirist.extractors.pdf.layout.geometry import Line, PageLines
from tests.extractors.pdf.test_writing_direction import COLUMNS, draw_columns
from tests.support.fontless import draw_by_character, extracted
from tests.support.pdfs import raw_pdf

SONG = "昔年我家住在河東每日看船來船去父親常說水是路船是腳"
MINCHO = "昔々あるところにお爺さんとお婆さんが住んでいました"
MYEONGJO = "옛날옛적에할아버지와할머니가살았습니다"
AUTO = "--set sources.extract.engine=auto"


def turned(font: str, text: str, n_lines: int = 6) -> list[tuple[str, str]]:
    """Return lines that all differ."""
    return [(font, text[n:] + text[:n]) for n in range(n_lines)]


def whole(result: dict[str, list[str]]) -> str:
    return "".join("".join(result["text"]).split())


@pytest.mark.parametrize(
    ("font", "text"),
    [("STSong-Light", SONG), ("HeiseiMin-W3", MINCHO), ("HYSMyeongJo-Medium", MYEONGJO)],
)
def test_a_page_that_is_lost_whole(tmp_path: Path, font: str, text: str) -> None:
    lines = turned(font, text)
    path = draw_by_character(tmp_path / "book.pdf", lines)
    for engine in ("auto", "pdfminer"):
        result = extracted(path, engine)
        assert whole(result) == "".join(line for _, line in lines)
        assert result["verdicts"] == []
    refused = extracted(path, "pdfium")
    assert refused["rule"] == "source_unreadable"
    assert f"fonts that are neither embedded nor installed: {font}; " in refused["error"]
    assert AUTO in refused["error"]


def test_a_page_that_is_lost_in_part(tmp_path: Path) -> None:
    path = draw_by_character(tmp_path / "book.pdf", turned("STSong-Light", SONG), "Line")
    result = extracted(path, "auto")
    for n, (_, line) in enumerate(turned("STSong-Light", SONG)):
        assert f"Line{n}{line}" in whole(result)
    assert result["verdicts"] == []
    result = extracted(path, "pdfium")
    assert "Line0Line1" in whole(result)
    ((rule, reason, next_step),) = result["verdicts"]
    assert rule == "missing_font"
    assert "left out, in fonts that are neither embedded nor installed: STSong-Light" in reason
    assert AUTO in next_step


@pytest.mark.parametrize("engine", ["pdfium", "auto"])
def test_a_repeated_line_is_lost_by_pdfium_alone(tmp_path: Path, engine: str) -> None:
    """Without a height, lines of one text are one to PDFium: a refrain goes."""
    path = draw_by_character(tmp_path / "song.pdf", [("STSong-Light", SONG)] * 5, whole=True)
    result = extracted(path, engine)
    assert whole(result) == SONG * (5 if engine == "auto" else 1)
    assert [row[0] for row in result["verdicts"]] == ([] if engine == "auto" else ["missing_font"])


@pytest.mark.parametrize("engine", ["pdfium", "auto"])
def test_nothing_is_said_where_nothing_is_lost(tmp_path: Path, engine: str) -> None:
    lines = turned("STSong-Light", SONG)
    path = draw_by_character(tmp_path / "lines.pdf", lines, "Line", whole=True)
    result = extracted(path, engine)
    assert result["verdicts"] == []
    assert all(f"Line{n}{line}" in whole(result) for n, (_, line) in enumerate(lines))
    font = b"<< /Type /Font /Subtype /%s /BaseFont /%s /Encoding /WinAnsiEncoding >>"
    words = b"BT /F1 11 Tf 40 480 Td (The mill) Tj 60 0 Td ( ) Tj 20 0 Td (by the river) Tj ET"
    for kind, name in ((b"TrueType", b"Quorvane"), (b"Type1", b"Quorvane-Bold"),
                       (b"Type1", b"Times-Roman")):  # fmt: skip
        result = extracted(raw_pdf(tmp_path / "latin.pdf", [(font % (kind, name), words)]), engine)
        assert (whole(result), result["verdicts"]) == ("Themillbytheriver", [])


def test_columns_from_right_to_left_are_read_too(tmp_path: Path) -> None:
    path = draw_columns(tmp_path / "columns.pdf", "STSong-Light")
    assert "".join(COLUMNS) in whole(extracted(path, "auto"))
    assert AUTO in extracted(path, "pdfium")["error"]


def test_the_second_reading_has_to_be_of_the_same_text() -> None:
    def page(text: str, *, lost: bool = False, error: str | None = None) -> PageLines:
        line = Line(page=1, x0=0, x1=9, y=9, size=9, text=text)
        fonts = ("Song",) if lost else ()
        return PageLines(page=1, lines=(line,) if text else (), lost_fonts=fonts, error=error)

    known = page("the mill by the river", lost=True)
    fuller, other = page("the mill by the river 昔年"), page("裕笙葫倨蔆噴炳帾族湛皰京紨京曾俗堜杗")
    assert fuller_reading(known, fuller) == fuller
    assert fuller_reading(known, other).lost_fonts == ("Song",)
    assert fuller_reading(known, page("", error="broken")) == known
    assert fuller_reading(known, page("the mill by the river")).lost_fonts == ()
    assert fuller_reading(page("", lost=True), fuller) == fuller

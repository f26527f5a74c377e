"""Formulas in books: TeX's fonts of signs, exponents that are no notes, nameless bullets."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from memoirist.data.schema.records import Rows
from memoirist.extractors import ExtractSettings, SourceRef, extract, read_source
from memoirist.extractors.blocks import Draft
from memoirist.extractors.pdf.engines.auto import better_reading
from memoirist.extractors.pdf.layout.font_encodings import (
    ENCODINGS,
    compose_signs,
    hang_ems,
    sign_of,
)
from memoirist.extractors.pdf.layout.geometry import Line, PageLines
from memoirist.extractors.pdf.page_verdicts import without_unmapped
from memoirist.extractors.pdf.structure.footnotes import without_marks
from tests.support.pdfs import GOOD_FONT, raw_pdf

NOW = datetime(2026, 11, 21, tzinfo=UTC)
SIGNS = (
    b" /F2 << /Type /Font /Subtype /Type1 /BaseFont /ABCDEF+CMSY10 /FirstChar 0 /LastChar 127"
    b" /Widths [" + b"700 " * 128 + b"] /FontDescriptor << /Type /FontDescriptor /Flags 4"
    b" /FontName /ABCDEF+CMSY10 /FontBBox [0 0 900 900] /ItalicAngle 0 /Ascent 700 /Descent 0"
    b" /CapHeight 700 /StemV 80 >> >>"
)
FORMULA = (
    b"BT /F1 11 Tf 40 480 Td (Whoever holds that x ) Tj /F2 11 Tf (6) Tj /F1 11 Tf"
    b" (= y, and that x ) Tj /F2 11 Tf (2) Tj /F1 11 Tf ( M, is right.) Tj ET"
)


def rows_of(path: Path, engine: str) -> Rows:
    settings = ExtractSettings.model_validate({"workers": 1, "engine": engine})
    return extract(read_source(SourceRef(path=path, format="pdf"), NOW), settings)


def line(text: str, marks: tuple[tuple[int, int], ...] = ()) -> Line:
    return Line(page=1, x0=40, x1=300, y=500, size=11, text=text, marks=marks)


def page(text: str) -> PageLines:
    return PageLines(page=1, width=360, height=540, lines=(line(text),))


def test_every_code_of_a_font_of_signs_has_its_place() -> None:
    assert {len(encoding) for encoding in ENCODINGS.values()} == {128}
    known = [("CMSY10", 50, "∈"), ("CMSY7", 49, "∞"), ("CMMI12", 11, "α"), ("CMMIB10", 96, "ℓ")]
    known += [("CMEX10", 88, "∑"), ("MSAM10", 4, "■"), ("ABCDEF+MSBM10", 82, "R")]
    assert [sign_of(font, code) for font, code, _ in known] == [text for _, _, text in known]


def test_what_only_draws_says_nothing_and_other_fonts_stay_unknown() -> None:
    assert sign_of("CMEX10", 122) == sign_of("XYATIP-Medium", 47) == sign_of("LINE10", 18) == ""
    assert (
        sign_of("Wingdings", 110) == sign_of("CMSY10", 200) == sign_of("LINESeed", 40) == "\ufffd"
    )


def test_signs_of_two_pieces_become_one() -> None:
    struck = "\u0338"
    assert compose_signs(f"x {struck}= y") == f"x ={struck} y"
    assert compose_signs(f"x = {struck} y") == f"x ={struck} y"
    assert compose_signs("x ↦→ x + 1, U ↪→ V") == "x ↦ x + 1, U ↪ V"


def test_a_large_sign_joins_the_line_that_it_hangs_above(tmp_path: Path) -> None:
    up = 11 * hang_ems("CMEX10", 83)
    drawn = b"BT /F1 11 Tf 40 480 Td (Let A be ) Tj 44 %.2f Td /F2 11 Tf (S) Tj" % up
    drawn += b" 9 %.2f Td /F1 11 Tf ( B, which is open.) Tj ET" % -up
    font = GOOD_FONT + SIGNS.replace(b"CMSY", b"CMEX")
    rows = rows_of(raw_pdf(tmp_path / "large.pdf", [(font, drawn)]), "pdfminer")
    assert [block.text for block in rows.blocks] == ["Let A be ⋃ B, which is open."]
    assert hang_ems("CMEX10", 88) > hang_ems("CMEX10", 80) > 0.7
    assert hang_ems("CMR10", 80) == hang_ems("CMEX10", 48) == 0


def test_codes_that_pdfminer_takes_for_figures_are_read_as_signs(tmp_path: Path) -> None:
    path = raw_pdf(tmp_path / "signs.pdf", [(GOOD_FONT + SIGNS, FORMULA)])
    rows = rows_of(path, "pdfminer")
    (text,) = [block.text for block in rows.blocks]
    assert text == "Whoever holds that x ≠ y, and that x ∈ M, is right."
    assert list(rows.verdicts) == []


def test_the_second_engine_is_believed_only_where_it_fills_gaps() -> None:
    gaps = page("A \ufffd B and x ∈ M, y ∈ N")
    filled, guessed = page("A ⊆ B and x ∈ M, y ∈ N"), page("A ⊆ B and x 2 M, y 2 N")
    assert better_reading(gaps, filled) is filled
    assert better_reading(gaps, guessed) is gaps
    assert better_reading(filled, gaps) is filled


def test_exponents_stay_and_notes_go() -> None:
    def cleaned(text: str, *raised: str) -> str:
        places, at = [], 0
        for mark in raised:
            at = text.index(mark, at)
            places.append((at, at + 1))
            at += 1
        return without_marks(line(text, tuple(places)), {"2"})

    assert cleaned("(a + b)2 = c", "2") == "(a + b)2 = c"
    assert cleaned("in R2 is x2 + y2 = 1", "2", "2", "2") == "in R2 is x2 + y2 = 1"
    assert cleaned("the theorem2 says a = b", "2") == "the theorem says a = b"
    assert cleaned("as they said.2 Then", "2") == "as they said. Then"
    assert cleaned("from 2 ⁄3 inch", "2") == "from 2 ⁄3 inch"


def test_a_bullet_without_a_meaning_goes_alone() -> None:
    def kept(text: str) -> tuple[str, str]:
        draft = without_unmapped(Draft(kind="paragraph", text=text))
        return draft.kind, draft.text

    assert kept("\ufffd Bring the lamp.") == ("paragraph", "Bring the lamp.")
    assert kept("So it is shown. \ufffd") == ("paragraph", "So it is shown.")
    assert kept("If x \ufffd y, then so.") == ("boilerplate", "If x \ufffd y, then so.")
    assert kept("\ufffdne weather") == ("boilerplate", "\ufffdne weather")
    assert kept("\ufffd") == ("boilerplate", "\ufffd")


@pytest.mark.medium
@pytest.mark.parametrize("engine", ["auto", "pdfminer"])
def test_a_mathematics_book_keeps_its_prose(corpora: Path, engine: str) -> None:
    path = corpora / "pdf-bench" / "py-pdf" / "pdfs" / "GeoTopo-komprimiert.pdf"
    rows = rows_of(path, engine)
    lost = [each for each in rows.verdicts if each.rule == "unmapped_text"]
    assert len(lost) <= (0 if engine == "auto" else 12)
    prose = [block.text for block in rows.blocks if block.kind in ("paragraph", "quote")]
    assert any("ist ⋃ Ui ∈ T" in text for text in prose)
    assert any("ad − bc ≠ 0 und σ : C → C eine Abbildung" in text for text in prose)

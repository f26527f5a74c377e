"""Title and author of PDFs that do not tell them: read off the title page, or left open."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from reportlab.lib.utils import simpleSplit
from reportlab.pdfgen.canvas import Canvas

from memoirist.extractors import SourceRef, read_source
from memoirist.extractors.pdf.layout.geometry import Line, PageLines
from memoirist.extractors.pdf.structure.front_matter import title_page

NOW = datetime(2026, 11, 21, tzinfo=UTC)
PROSE = (
    "The ferry went over at noon, and whoever was late waited for the tide with the horses. " * 8
)


def book(path: Path, front: Sequence[tuple[str, float]]) -> Path:
    """Draw a title page of (text, size) lines and four pages of prose, without metadata."""
    canvas = Canvas(str(path), pagesize=(360, 540))
    canvas.setTitle("untitled")
    for n, (text, size) in enumerate(front):
        canvas.setFont("Times-Roman", size)
        canvas.drawCentredString(180, 430 - 60 * n, text)
    canvas.showPage()
    for _ in range(4):
        canvas.setFont("Times-Roman", 11)
        for n, line in enumerate(simpleSplit(PROSE * 2, "Times-Roman", 11, 262)):
            canvas.drawString(40, 490 - 14 * n, line)
        canvas.showPage()
    canvas.save()
    return path


def page(*lines: tuple[str, float], number: int = 1) -> PageLines:
    drawn = tuple(
        Line(page=number, x0=100, x1=260, y=500.0 - 40 * n, size=size, text=text)
        for n, (text, size) in enumerate(lines)
    )
    return PageLines(page=number, width=360, height=540, lines=drawn)


def names(*lines: tuple[str, float]) -> tuple[str | None, str | None]:
    return title_page([page(*lines), *(page(number=n) for n in (2, 3, 4))])


def test_the_title_page_names_the_book(tmp_path: Path) -> None:
    front = [("THE FERRY BOOK", 26), ("Being a Memoir", 13), ("Josiah T. Marrow", 15), ("1911", 11)]
    source = read_source(SourceRef(path=book(tmp_path / "4367-pdf.pdf", front), format="pdf"), NOW)
    assert (source.title, source.author) == ("The Ferry Book", "Josiah T. Marrow")
    again = read_source(SourceRef(path=tmp_path / "4367-pdf.pdf", format="pdf"), NOW)
    assert again.title == source.title


def test_an_author_follows_by_or_looks_like_a_name() -> None:
    assert names(("Salt", 24), ("by ADA VAN MARROW", 11))[1] == "Ada Van Marrow"
    assert names(("Le sel", 24), ("par Anne de la Tour", 11))[1] == "Anne de la Tour"
    assert names(("Salt", 24), ("Gantry Lane Books", 14), ("Ada Marrow", 12))[1] == "Ada Marrow"
    assert names(("Salt", 24), ("A Memoir", 14), ("London 1911", 12))[1] is None


def test_pages_that_are_no_title_page_name_nothing() -> None:
    assert names(("Preface", 24), ("It was cold.", 11)) == (None, None)
    assert names(("Contents", 24), ("The Weir", 11), ("The Mill", 11)) == (None, None)
    assert names(("All in one size", 11), ("Ada Marrow", 11)) == (None, None)
    prose = [
        (f"A line of prose that is as long as any other line of prose {n}.", 11.0) for n in "abcde"
    ]
    assert names(("The Weir", 18), *prose) == (None, None)
    assert title_page([page(("Salt", 24), ("Ada Marrow", 12))]) == (None, None)

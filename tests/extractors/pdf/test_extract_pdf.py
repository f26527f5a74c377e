"""PDF books: the bundled memoir, small books drawn here, and broken files of every kind."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.utils import simpleSplit
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

from memoirist.data.schema.errors import (
    SourceEncrypted,
    SourceMissing,
    SourceUnreadable,
    SourceWithoutText,
)
from memoirist.data.schema.records import Block, Rows, Source
from memoirist.extractors import ExtractSettings, SourceRef, extract, read_source
from tests.support.pdfs import BAD_FONT, GOOD_FONT, WORDS, raw_pdf

ROOT = Path(__file__).resolve().parents[3]
MEMOIR = ROOT / "data" / "samples" / "memoir.pdf"
NOW = datetime(2026, 11, 21, tzinfo=UTC)
ENGINES = ("pdfium", "pdfminer", "auto")


def source_of(path: Path) -> Source:
    return read_source(SourceRef(path=path, format="pdf"), NOW)


@pytest.fixture(scope="module", params=ENGINES)
def alone(request: pytest.FixtureRequest) -> ExtractSettings:
    """Give every engine in turn, with one process."""
    return ExtractSettings(workers=1, engine=request.param)


def rows_of(path: Path, settings: ExtractSettings) -> Rows:
    return extract(source_of(path), settings)


def texts(rows: Rows, *kinds: str) -> list[str]:
    return [block.text for block in rows.blocks if block.kind in kinds]


# --- a small scorer: word-3-gram F1 and the share of paragraphs that are exactly right ---------


def plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).lstrip("# ").split())


def trigrams(paragraphs: Sequence[str]) -> Counter[tuple[str, ...]]:
    words = re.findall(r"\w+", " ".join(plain(each) for each in paragraphs).lower())
    return Counter(zip(words, words[1:], words[2:], strict=False))


def f1(truth: Sequence[str], found: Sequence[str]) -> float:
    wanted, got = trigrams(truth), trigrams(found)
    return 2 * (wanted & got).total() / (wanted.total() + got.total())


def exact_share(truth: Sequence[str], found: Sequence[str]) -> float:
    got = {plain(each) for each in found}
    return sum(plain(each) in got for each in truth) / len(truth)


# --- the bundled memoir ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def memoir(alone: ExtractSettings) -> Rows:
    return rows_of(MEMOIR, alone)


@pytest.fixture(scope="module")
def memoir_truth() -> list[str]:
    lines = (MEMOIR.parent / "truth.txt").read_text("utf-8").splitlines()
    return [line for line in lines if line.strip()]


def test_memoir_text_is_the_truth(memoir: Rows, memoir_truth: list[str]) -> None:
    prose = [line for line in memoir_truth if not line.startswith("#")]
    found = texts(memoir, "paragraph", "quote")
    assert f1(prose, found) >= 0.998
    assert exact_share(prose, found) >= 0.98


def test_memoir_paragraphs_hold_no_page_furniture(memoir: Rows, memoir_truth: list[str]) -> None:
    # Every paragraph begins as one of the truth does: a head, folio or note would begin another.
    openings = {plain(line)[:25] for line in memoir_truth}
    strays = [t for t in texts(memoir, "paragraph", "quote") if plain(t)[:25] not in openings]
    assert strays == []
    kinds = Counter(block.kind for block in memoir.blocks)
    assert kinds["running_head"] > 20
    assert kinds["folio"] > 30
    assert kinds["footnote"] == 10
    assert not any(re.search(r"[a-z.,]\d( |$)", text) for text in texts(memoir, "paragraph"))


def test_memoir_chapters_carry_their_headings(memoir: Rows, memoir_truth: list[str]) -> None:
    titles = [line.lstrip("# ") for line in memoir_truth if line.startswith("#")]
    chapters = list(
        dict.fromkeys(block.chapter for block in memoir.blocks if block.kind == "paragraph")
    )
    assert [re.sub(r"^\d+\. ", "", chapter or "") for chapter in chapters] == titles
    pages = [block.page for block in memoir.blocks if block.kind == "paragraph"]
    assert pages == sorted(page for page in pages if page is not None)


def test_front_matter_is_named_and_kept(memoir: Rows) -> None:
    assert any("Contents" in text for text in texts(memoir, "contents"))
    assert any("provided without warranty" in text for text in texts(memoir, "boilerplate"))


def test_rerun_and_worker_count_change_nothing(memoir: Rows, alone: ExtractSettings) -> None:
    ticks: list[tuple[int, int]] = []
    settings = alone.model_copy(update={"workers": 2, "pages_per_chunk": 8})
    again = extract(source_of(MEMOIR), settings, lambda done, total: ticks.append((done, total)))
    assert again.documents == memoir.documents
    assert again.blocks == memoir.blocks
    assert ticks[-1][0] == ticks[-1][1]
    assert [done for done, _ in ticks] == sorted(done for done, _ in ticks)


def test_source_names_title_and_author() -> None:
    source = source_of(MEMOIR)
    assert (source.kind, source.format) == ("book", "pdf")
    assert source.title is not None
    assert source.title.startswith("Short Weight")
    assert source.author == "Edith Thackwray"


# --- small books drawn here --------------------------------------------------------------------

Chapter = tuple[str, Sequence[str]]


def draw_book(path: Path, chapters: Sequence[Chapter]) -> Path:
    """Draw a book with running heads, folios, headings and indented paragraphs."""
    canvas = Canvas(str(path), pagesize=(360, 540))
    page, y = 0, 0.0
    for title, paragraphs in chapters:
        lines = [(0.0, title, 18)]
        for paragraph in paragraphs:
            wrapped = simpleSplit(paragraph, "Times-Roman", 11, 262)
            lines += [(0.0 if n else 14.0, line, 11) for n, line in enumerate(wrapped)]
        for n, (indent, line, size) in enumerate(lines):
            if n == 0 or y < 80:
                if page:
                    canvas.showPage()
                page += 1
                y = 400 if n == 0 else 470
                canvas.setFont("Times-Italic", 9)
                if n:
                    canvas.drawCentredString(180, 505, title)
                canvas.drawCentredString(180, 40, str(page))
            canvas.setFont("Times-Roman", size)
            canvas.drawString(40 + indent, y, line)
            y -= 14 if n else 40
    canvas.showPage()
    canvas.save()
    return path


def paragraph(topic: str, n: int) -> str:
    return " ".join(
        f"The {topic} of the {word} year was long and nobody in the {topic} house said so aloud."
        for word in ("first", "second", "third", "fourth", "fifth")[: 2 + n % 4]
    )


BOOK: list[Chapter] = [
    (f"Chapter {n}", [paragraph(topic, k) for k in range(12)])
    for n, topic in enumerate(("winter", "harvest", "river"), start=1)
]


def test_drawn_book_comes_back_whole(tmp_path: Path, alone: ExtractSettings) -> None:
    rows = rows_of(draw_book(tmp_path / "book.pdf", BOOK), alone)
    assert texts(rows, "paragraph") == [text for _, each in BOOK for text in each]
    assert texts(rows, "heading") == [title for title, _ in BOOK]
    assert {block.chapter for block in rows.blocks if block.kind == "paragraph"} == {
        title for title, _ in BOOK
    }
    assert [block.ord for block in rows.blocks] == list(range(len(rows.blocks)))
    assert len({block.id for block in rows.blocks}) == len(rows.blocks)
    crossing = [block for block in rows.blocks if block.page != block.page_last]
    assert crossing
    assert all(block.kind == "paragraph" for block in crossing)


def test_changed_chapter_changes_only_its_own_blocks(
    tmp_path: Path, alone: ExtractSettings
) -> None:
    first = draw_book(tmp_path / "first.pdf", BOOK)
    changed = [*BOOK]
    changed[1] = ("Chapter 2", [*BOOK[1][1][:-1], "It ended otherwise than anyone had planned."])
    second = draw_book(tmp_path / "second.pdf", changed)
    source = source_of(first)

    def by_id(rows: Rows) -> dict[str, Block]:
        return {block.id: block for block in rows.blocks if block.kind == "paragraph"}

    old = by_id(extract(source, alone))
    new = by_id(extract(replace(source, location=str(second)), alone))
    touched = [old[each] for each in old.keys() - new.keys()]
    assert [block.text for block in touched] == [BOOK[1][1][-1]]
    assert len(new.keys() - old.keys()) == 1


def test_hyphens_are_mended_by_the_books_own_words(tmp_path: Path, alone: ExtractSettings) -> None:
    canvas = Canvas(str(tmp_path / "hyphens.pdf"), pagesize=(360, 540))
    canvas.setFont("Times-Roman", 11)
    lines = [
        "The remarkable school-master was at home in the evening, and the remark-",
        "able man rose. His school-master friend said that the other school-",
        "master had left for a walk along the river in the rain of the morn-",
        "ing, in nineteen twenty, and had not come back before nightfall.",
    ]
    for n, line in enumerate(lines):
        canvas.drawString(40, 480 - 14 * n, line)
    canvas.save()
    (text,) = texts(rows_of(tmp_path / "hyphens.pdf", alone), "paragraph")
    assert "the remarkable man" in text
    assert "other school-master had" in text
    assert "the morning, in nineteen" in text


def drawn(
    path: Path, alone: ExtractSettings, *lines: tuple[float, float, str], size: float = 11
) -> Rows:
    """Draw (x, y, text) lines on one page and extract it."""
    canvas = Canvas(str(path), pagesize=(420, 540))
    canvas.setFont("Times-Roman", size)
    for x, y, text in lines:
        canvas.drawString(x, y, text)
    canvas.save()
    return rows_of(path, alone)


def test_large_initial_joins_its_word(tmp_path: Path, alone: ExtractSettings) -> None:
    canvas = Canvas(str(tmp_path / "initial.pdf"), pagesize=(420, 540))
    canvas.setFont("Times-Roman", 34)
    canvas.drawString(40, 467, "T")
    canvas.setFont("Times-Roman", 11)
    for n, (x, line) in enumerate(
        [
            (63, "he winter of that year was long and nobody in the house spoke of it,"),
            (63, "for there was nothing to say that the snow had not said before them"),
            (40, "and would not say again before the spring came down from the hills."),
            (54, "We waited. The river stood still under the bridge, and then it moved."),
        ]
    ):
        canvas.drawString(x, 480 - 13 * n, line)
    canvas.save()
    first, second = texts(rows_of(tmp_path / "initial.pdf", alone), "paragraph")
    assert first.startswith("The winter of that year")
    assert first.endswith("down from the hills.")
    assert second.startswith("We waited.")


def test_two_columns_are_read_one_after_the_other(tmp_path: Path, alone: ExtractSettings) -> None:
    left = simpleSplit(paragraph("left", 3), "Times-Roman", 11, 150)
    right = simpleSplit(paragraph("right", 3), "Times-Roman", 11, 150)
    rows = drawn(
        tmp_path / "columns.pdf",
        alone,
        *(
            (x, 480.0 - 13 * n, line)
            for n in range(len(left))
            for x, column in ((40.0, left), (220.0, right))
            for line in column[n : n + 1]
        ),
    )
    text = " ".join(texts(rows, "paragraph"))
    assert text == f"{paragraph('left', 3)} {paragraph('right', 3)}"


def test_quotation_and_note_are_told_from_the_body(tmp_path: Path, alone: ExtractSettings) -> None:
    canvas = Canvas(str(tmp_path / "quote.pdf"), pagesize=(420, 540))
    body = simpleSplit(paragraph("mill", 3), "Times-Roman", 11, 330)
    quote = simpleSplit(paragraph("letter", 1), "Times-Roman", 11, 280)
    canvas.setFont("Times-Roman", 11)
    y = 490.0
    for x, lines in ((40, body), (65, quote), (40, body)):
        for line in lines:
            canvas.drawString(x, y, line)
            y -= 13
        y -= 7
    end = canvas.stringWidth(body[-1], "Times-Roman", 11)
    canvas.setFont("Times-Roman", 6.5)
    canvas.drawString(40 + end, y + 24, "1")
    canvas.drawString(40, 63, "1")
    canvas.setFont("Times-Roman", 8)
    canvas.drawString(45, 60, "So it is told in the parish, but the book of the mill is lost.")
    canvas.save()
    rows = rows_of(tmp_path / "quote.pdf", alone)
    assert texts(rows, "quote") == [paragraph("letter", 1)]
    assert texts(rows, "paragraph") == [paragraph("mill", 3)] * 2
    (note,) = texts(rows, "footnote")
    assert note.endswith("the book of the mill is lost.")


def test_a_list_at_the_indent_takes_no_opening_line_with_it(
    tmp_path: Path, alone: ExtractSettings
) -> None:
    told = [
        "We went down to the mill in the morning when the frost was on the wheel",
        "and stayed there until it was dark, for nobody had told us to come home",
        "before the lamps were lit.",
    ]
    listed = ["the first of them was long at sea;", "the second never left us;", "the third died."]
    lines = [(54.0 if n == 0 else 40.0, line) for _ in range(2) for n, line in enumerate(told)]
    lines += [(54.0, line) for line in listed]
    lines += [(54.0 if n == 0 else 40.0, line) for n, line in enumerate(told)]
    canvas = Canvas(str(tmp_path / "list.pdf"), pagesize=(420, 540))
    for n, (x, line) in enumerate(lines):
        text = canvas.beginText(x, 500 - 13 * n)
        text.setFont("Times-Roman", 11)
        if not line.endswith((".", ";")):
            # Set to the full measure, as a printer would.
            text.setCharSpace((380 - x - stringWidth(line, "Times-Roman", 11)) / len(line))
        text.textLine(line)
        canvas.drawText(text)
    canvas.save()
    found = texts(rows_of(tmp_path / "list.pdf", alone), "paragraph")
    assert found == [" ".join(told), " ".join(told), *listed, " ".join(told)]


def test_outline_names_headings_in_plain_type(tmp_path: Path, alone: ExtractSettings) -> None:
    canvas = Canvas(str(tmp_path / "outline.pdf"), pagesize=(420, 540))
    for n, title in enumerate(("On the Weir", "Of the Mill")):
        canvas.bookmarkPage(title)
        canvas.addOutlineEntry(f"{n + 1}. {title}", title, level=0)
        canvas.setFont("Times-Roman", 11)
        canvas.drawString(40, 490, title)
        for k, line in enumerate(simpleSplit(paragraph("weir", 3), "Times-Roman", 11, 330)):
            canvas.drawString(40, 460 - 13 * k, line)
        canvas.showPage()
    canvas.save()
    rows = rows_of(tmp_path / "outline.pdf", alone)
    assert texts(rows, "heading") == ["On the Weir", "Of the Mill"]
    assert [block.chapter for block in rows.blocks if block.kind == "paragraph"] == [
        "On the Weir",
        "Of the Mill",
    ]


# --- files that cannot be taken in, or only in part --------------------------------------------


# PDFium alone takes a page whose fonts are broken for an empty one; that is why auto asks both.
careful = pytest.mark.parametrize("alone", ["pdfminer", "auto"], indirect=True)


@careful
def test_unreadable_page_becomes_a_verdict(tmp_path: Path, alone: ExtractSettings) -> None:
    page = (GOOD_FONT, WORDS % b"This page can be read without trouble.")
    path = raw_pdf(tmp_path / "half.pdf", [page, (BAD_FONT, WORDS % b"lost"), page])
    rows = rows_of(path, alone)
    (verdict,) = rows.verdicts
    assert (verdict.rule, verdict.subject, verdict.keep) == ("unreadable_page", "pages", False)
    assert verdict.subject_id == f"{rows.documents[0].id}-2"
    assert verdict.reason.startswith("page 2 ")
    assert verdict.next_step
    assert " ".join(texts(rows, "paragraph")).count("without trouble.") == 2


@careful
def test_book_without_a_readable_page_is_unreadable(tmp_path: Path, alone: ExtractSettings) -> None:
    path = raw_pdf(tmp_path / "none.pdf", [(BAD_FONT, WORDS % b"lost")])
    with pytest.raises(SourceUnreadable, match=r"none\.pdf'"):
        rows_of(path, alone)


def test_encrypted(tmp_path: Path, alone: ExtractSettings) -> None:
    path = tmp_path / "locked.pdf"
    canvas = Canvas(str(path), encrypt=StandardEncryption("secret"))
    canvas.drawString(40, 480, "Nobody may read this.")
    canvas.save()
    with pytest.raises(SourceEncrypted, match=r"locked\.pdf'.*; unlock"):
        rows_of(path, alone)


def test_picture_of_a_page_has_no_text(tmp_path: Path, alone: ExtractSettings) -> None:
    path = tmp_path / "scan.pdf"
    canvas = Canvas(str(path))
    for _ in range(3):
        canvas.drawInlineImage(Image.new("L", (20, 30), 200), 0, 0, 400, 600)
        canvas.showPage()
    canvas.save()
    with pytest.raises(SourceWithoutText, match=r"scan\.pdf' has 3 pages.*--ocr"):
        rows_of(path, alone)


def test_picture_among_pages_becomes_a_verdict(tmp_path: Path, alone: ExtractSettings) -> None:
    path = tmp_path / "plate.pdf"
    canvas = Canvas(str(path))
    canvas.drawString(40, 480, "The plate on the next page shows the mill before the fire.")
    canvas.showPage()
    canvas.drawInlineImage(Image.new("L", (20, 30), 200), 0, 0, 400, 600)
    canvas.showPage()
    canvas.save()
    (verdict,) = rows_of(path, alone).verdicts
    assert verdict.rule == "page_without_text"
    assert verdict.reason.startswith("page 2 ")


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_truncated(tmp_path: Path, kept: float, alone: ExtractSettings) -> None:
    whole = draw_book(tmp_path / "book.pdf", BOOK).read_bytes()
    path = tmp_path / "cut.pdf"
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(SourceUnreadable, match=r"cut\.pdf'.*; get a complete copy"):
        rows_of(path, alone)


def test_corrupt_and_empty_and_gone(tmp_path: Path, alone: ExtractSettings) -> None:
    corrupt = tmp_path / "corrupt.pdf"
    corrupt.write_bytes(b"%PDF-1.7\n" + bytes(range(256)) * 40)
    with pytest.raises(SourceUnreadable, match=r"corrupt\.pdf'"):
        rows_of(corrupt, alone)
    empty = tmp_path / "empty.pdf"
    empty.touch()
    with pytest.raises(SourceUnreadable, match=r"empty\.pdf' is empty"):
        rows_of(empty, alone)
    source = source_of(corrupt)
    corrupt.unlink()
    with pytest.raises(SourceMissing, match=r"corrupt\.pdf' is missing"):
        extract(source, alone)


# --- the larger corpora, where they are --------------------------------------------------------


def test_meditations_against_the_truth(corpora: Path) -> None:
    folder = corpora / "books" / "meditations"
    rows = extract(source_of(folder / "meditations.pdf"), ExtractSettings())
    text = (folder / "meditations.truth.txt").read_text("utf-8")
    truth = [each for each in re.split(r"\n\s*\n", text) if len(each.split()) >= 8]
    found = texts(rows, "paragraph", "quote")
    lowered = [each.lower() for each in found]
    # The typesetting sets the first words of each book in small capitals.
    assert exact_share([each.lower() for each in truth], lowered) >= 0.97
    assert not any(re.search(r"BOOK [IVX]+\.", text) for text in found)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("derived/pdf/flatland-truncated.pdf", SourceUnreadable),
        ("derived/pdf/meditations-encrypted-user.pdf", SourceEncrypted),
        ("derived/pdf/meditations-p30-41-imageonly.pdf", SourceWithoutText),
        ("pdf-odd/ocrmypdf/invalid.pdf", SourceUnreadable),
        ("pdf-odd/pdfplumber/empty.pdf", SourceUnreadable),
    ],
)
def test_odd_files_end_in_the_right_error(
    corpora: Path, name: str, error: type[Exception], alone: ExtractSettings
) -> None:
    with pytest.raises(error, match=re.escape(Path(name).name)):
        rows_of(corpora / name, alone)

"""Letters, notes over the page, centred headings and French: what typesetters do to books."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from reportlab.lib.utils import simpleSplit
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

from memoirist.data.schema.records import Rows
from memoirist.extractors import ExtractSettings, SourceRef, extract, read_source

NOW = datetime(2026, 11, 21, tzinfo=UTC)
LEFT, MEASURE, LEADING = 40.0, 300.0, 14.0
TOPICS = ("weir", "ferry", "mill", "toll", "lock", "chapel", "orchard", "quarry")


class Set(NamedTuple):
    """One line as it is set: its text, how far in it stands, its size, the gap above it."""

    text: str
    indent: float = 0.0
    size: float = 11.0
    gap: float = LEADING
    full: bool = False


def prose(topic: str, sentences: int = 4) -> str:
    return " ".join(
        f"In the {word} year the {topic} stood idle, and nobody at the {topic} asked for wages."
        for word in ("first", "second", "third", "fourth", "fifth", "sixth")[:sentences]
    )


def paragraph(text: str, side: float = 0.0, indent: float = 14.0, size: float = 11.0) -> list[Set]:
    """Set `text` justified, indented at its start, or on both sides by `side`."""
    first = simpleSplit(text, "Times-Roman", size, MEASURE - 2 * side - indent)[0]
    rest = simpleSplit(text[len(first) :].strip(), "Times-Roman", size, MEASURE - 2 * side)
    lines = [Set(first, side + indent, size, full=bool(rest))]
    lines += [Set(line, side, size, full=line is not rest[-1]) for line in rest]
    leading = LEADING * size / 11
    return [line._replace(gap=leading) for line in lines]


def draw(path: Path, pages: Sequence[Sequence[Set]]) -> Path:
    canvas = Canvas(str(path), pagesize=(380, 600))
    for lines in pages:
        y = 560.0
        for line in lines:
            y -= line.gap
            text = canvas.beginText(LEFT + line.indent, y)
            text.setFont("Times-Roman", line.size)
            spaces = line.text.count(" ")
            right = MEASURE - line.indent * (2 if line.indent == 20 else 1)
            slack = right - stringWidth(line.text, "Times-Roman", line.size)
            text.setWordSpace(slack / spaces if line.full and spaces else 0)
            text.textOut(line.text)
            text.setWordSpace(0)
            canvas.drawText(text)
        canvas.showPage()
    canvas.save()
    return path


def rows_of(path: Path) -> Rows:
    return extract(read_source(SourceRef(path=path, format="pdf"), NOW), ExtractSettings(workers=1))


def texts(rows: Rows, kind: str) -> list[str]:
    return [block.text for block in rows.blocks if block.kind == kind]


def right(text: str) -> Set:
    """Set `text` at the right edge of a quotation."""
    return Set(text, MEASURE - 20 - stringWidth(text, "Times-Roman", 11))


def test_a_quoted_letter_keeps_its_parts(tmp_path: Path) -> None:
    letter = [
        right("Hebthorpe, May 3rd.")._replace(gap=22),
        Set("My dear Friend,", 20),
        *paragraph(prose("toll", 2), side=20, indent=0),
        right("Yours ever, Josiah."),
    ]
    after = paragraph(prose("mill"))
    after[0] = after[0]._replace(gap=22)
    pages = [[*paragraph(prose("weir")), *letter, *after]]
    rows = rows_of(draw(tmp_path / "letter.pdf", pages))
    assert texts(rows, "quote") == [
        "Hebthorpe, May 3rd.",
        "My dear Friend,",
        prose("toll", 2),
        "Yours ever, Josiah.",
    ]
    assert texts(rows, "paragraph") == [prose("weir"), prose("mill")]


def note(label: str, text: str) -> list[Set]:
    return paragraph(f"{label} {text}", indent=0, size=8)


@pytest.mark.parametrize("stops", [True, False])
def test_a_note_goes_on_over_the_page(tmp_path: Path, stops: bool) -> None:
    text = prose("ferry", 6)
    lines = note("1", text)
    # The page breaks within a sentence, or by chance just after one.
    cut = 2
    if stops:
        lines[cut - 1] = lines[cut - 1]._replace(text="it was told of the old ferry by many men.")
    whole = " ".join(line.text for line in lines)
    lines[0] = lines[0]._replace(gap=24)
    second = note("2", prose("lock", 1))
    rest = [lines[cut]._replace(gap=24), *lines[cut + 1 :], *second]
    first_page = [*paragraph(prose("weir")), *paragraph(prose("mill")), *lines[:cut]]
    second_page = [*paragraph(prose("toll")), *paragraph(prose("quarry")), *rest]
    rows = rows_of(draw(tmp_path / "notes.pdf", [first_page, second_page]))
    assert texts(rows, "footnote") == [whole, f"2 {prose('lock', 1)}"]
    assert texts(rows, "paragraph") == [prose(each) for each in ("weir", "mill", "toll", "quarry")]


def test_small_quotation_above_notes_stays_text(tmp_path: Path) -> None:
    quoted = paragraph(prose("chapel", 2), side=20, indent=0, size=9.5)
    quoted[0] = quoted[0]._replace(gap=20)
    first = note("1", prose("ferry", 1))
    second = note("2", prose("lock", 1))
    for lines in (first, second):
        lines[0] = lines[0]._replace(gap=26)
    pages = [
        [*paragraph(prose("weir")), *paragraph(prose("mill")), *first],
        [*paragraph(prose("toll")), *paragraph(prose("quarry")), *quoted, *second],
    ]
    rows = rows_of(draw(tmp_path / "small.pdf", pages))
    assert texts(rows, "quote") == [prose("chapel", 2)]
    assert len(texts(rows, "footnote")) == 2


def test_a_centred_line_with_air_around_it_is_a_heading(tmp_path: Path) -> None:
    lines: list[Set] = []
    for title, topic in (("The Low Door", "weir"), ("Under Snow", "mill"), ("Salt", "toll")):
        inset = (MEASURE - stringWidth(title, "Times-Roman", 12)) / 2
        body = paragraph(prose(topic, 6))
        body[0] = body[0]._replace(gap=24)
        lines += [Set(title, inset, 12, 40), *body]
    rows = rows_of(draw(tmp_path / "headings.pdf", [lines]))
    assert texts(rows, "heading") == ["The Low Door", "Under Snow", "Salt"]
    chapters = [block.chapter for block in rows.blocks if block.kind == "paragraph"]
    assert chapters == ["The Low Door", "Under Snow", "Salt"]


def test_a_spaced_guillemet_closes_a_sentence(tmp_path: Path) -> None:
    said = "« Il n'est pas à vendre, » dit le meunier, « et celui-là non plus. »"
    first = [*paragraph(f"{prose('weir', 2)} {said}"), *paragraph(prose("mill"))]
    # The last line of the first page is nearly full: only its stop tells that it ends.
    last = first[len(paragraph(f"{prose('weir', 2)} {said}")) - 1]
    assert last.text.endswith("»")
    pages = [first[: first.index(last) + 1], paragraph(prose("toll"))]
    rows = rows_of(draw(tmp_path / "guillemets.pdf", pages))
    assert texts(rows, "paragraph") == [f"{prose('weir', 2)} {said}", prose("toll")]


def test_the_contents_know_the_chapters(tmp_path: Path) -> None:
    titles = ["Le poids du sel", "Une porte basse", "Sous la neige", "Le dernier jour", "La gare"]
    contents = [Set("Table des matières", 90, 14, 30)]
    contents += [Set(f"{title} . . . . . . . . {n + 3}", 0) for n, title in enumerate(titles)]
    pages: list[Sequence[Set]] = [contents]
    for title, topic in zip(titles, TOPICS, strict=False):
        body = paragraph(prose(topic, 6))
        body[0] = body[0]._replace(gap=26)
        pages.append([Set(title, 0, 11, 60), *body, *paragraph(prose(f"{topic} gate", 6))])
        pages += [paragraph(prose(f"{which} {topic}", 6)) for which in ("other", "old")]
    rows = rows_of(draw(tmp_path / "contents.pdf", pages))
    assert texts(rows, "heading") == titles
    assert len(texts(rows, "contents")) == 1


def test_lists_and_tables_keep_their_rows(tmp_path: Path) -> None:
    roll = ["Second Ferry, Capt. Josiah T. Marrow."]
    roll += ["First boat, Coxswain A. Reed.", "Second boat, Coxswain Obadiah Lane."]
    listed = [Set(line, 40 if n else 30) for n, line in enumerate(roll)]
    listed[0] = listed[0]._replace(gap=26)
    after = paragraph(prose("mill"))
    after[0] = after[0]._replace(gap=26)
    rows = rows_of(draw(tmp_path / "list.pdf", [[*paragraph(prose("weir")), *listed, *after]]))
    assert texts(rows, "quote") == ["\n".join(roll)]
    assert texts(rows, "paragraph") == [prose("weir"), prose("mill")]


def test_ditto_marks_are_cells_and_stars_are_ornaments(tmp_path: Path) -> None:
    canvas = Canvas(str(tmp_path / "ditto.pdf"), pagesize=(380, 600))
    canvas.setFont("Times-Roman", 11)
    body = paragraph(prose("weir", 6))
    for n, line in enumerate(body):
        canvas.drawString(LEFT + line.indent, 560 - LEADING * n, line.text)
    y = 560 - LEADING * (len(body) + 1)
    for n, cells in enumerate([("Smith's", "Battery."), ("Moody's", '"'), ("Lane's", '"')]):
        for x, cell in zip((80, 160), cells, strict=True):
            canvas.drawString(x, y - LEADING * n, cell)
    canvas.drawCentredString(190, y - 80, "* * *")
    for n, line in enumerate(body):
        canvas.drawString(LEFT + line.indent, y - 120 - LEADING * n, line.text)
    canvas.save()
    rows = rows_of(tmp_path / "ditto.pdf")
    assert texts(rows, "quote") == ["Smith's Battery.\nMoody's \"\nLane's \""]
    assert texts(rows, "boilerplate") == ["* * *"]


def test_prose_that_repeats_itself_is_no_running_head(tmp_path: Path) -> None:
    # Formulas and prayers: the same words at the head of every page.
    texts_set = [prose(topic, 6 - n % 2) for n, topic in enumerate(TOPICS)]
    pages = [paragraph(each) for each in texts_set]
    rows = rows_of(draw(tmp_path / "formula.pdf", pages))
    assert texts(rows, "running_head") == []
    assert texts(rows, "paragraph") == texts_set


def test_text_goes_on_around_a_picture_and_its_caption(tmp_path: Path) -> None:
    lines = paragraph(prose("weir", 6))
    cut = next(n for n, line in enumerate(lines) if n > 2 and lines[n + 1].text[0].islower())
    caption = Set("Plate 3. The weir before the flood, from the mill.", 20, 9, 110)
    below = [lines[cut + 1]._replace(gap=40), *lines[cut + 2 :]]
    pages = [[*paragraph(prose("mill", 6)), *lines[: cut + 1], caption, *below]]
    rows = rows_of(draw(tmp_path / "plate.pdf", pages))
    assert texts(rows, "caption") == [caption.text]
    assert texts(rows, "paragraph") == [prose("mill", 6), prose("weir", 6)]


def test_labels_in_a_picture_stay_out_of_the_text(tmp_path: Path) -> None:
    lines = paragraph(prose("weir", 6))
    cut = next(n for n, line in enumerate(lines) if n > 2 and lines[n + 1].text[0].islower())
    labels = [Set("Sluice gate", 60, 8, 40), Set("Crown of the wall", 90, 8, 20)]
    caption = Set("Figure 3. The weir before the flood, from the mill.", 20, 9, 20)
    pages = [
        [*paragraph(prose("mill", 6)), *lines[: cut + 1], *labels, caption],
        [*lines[cut + 1 :], *paragraph(prose("toll", 6))],
    ]
    rows = rows_of(draw(tmp_path / "labels.pdf", pages))
    assert texts(rows, "caption") == ["Sluice gate", "Crown of the wall", caption.text]
    assert texts(rows, "paragraph") == [prose("mill", 6), prose("weir", 6), prose("toll", 6)]


def test_small_verse_above_a_caption_stays_verse(tmp_path: Path) -> None:
    verse = [Set("The miller sold his grey old mare,", 60, 9), Set("And bought a drum.", 60, 9)]
    caption = Set("Figure 3. The weir before the flood, from the mill.", 20, 9, 110)
    pages = [[*paragraph(prose("mill", 6)), *verse, caption, *paragraph(prose("toll", 6))]]
    rows = rows_of(draw(tmp_path / "verse.pdf", pages))
    assert texts(rows, "caption") == [caption.text]
    assert any("And bought a drum." in text for text in texts(rows, "quote"))


def test_a_line_that_is_alone_on_every_page_is_no_running_head(tmp_path: Path) -> None:
    rows = rows_of(draw(tmp_path / "cards.pdf", [[Set("Remember the weir")]] * 5))
    assert texts(rows, "running_head") == []
    assert " ".join(texts(rows, "paragraph")).count("Remember the weir") == 5


def test_an_empty_page_of_a_book_shows_only_its_head(tmp_path: Path) -> None:
    head = Set("The Weir and Other Papers", 80)
    told = [prose(topic, 6 - n % 4) for n, topic in enumerate(TOPICS)]
    bodies = [paragraph(each) for each in told]
    pages = [[head, body[0]._replace(gap=40), *body[1:]] for body in bodies]
    rows = rows_of(draw(tmp_path / "book.pdf", [*pages[:4], [head], *pages[4:]]))
    assert texts(rows, "running_head") == [head.text] * (len(TOPICS) + 1)
    assert texts(rows, "paragraph") == told


def test_an_index_in_two_columns_is_read_column_by_column(tmp_path: Path) -> None:
    canvas = Canvas(str(tmp_path / "index.pdf"), pagesize=(380, 600))
    canvas.setFont("Times-Roman", 11)
    for side, x in enumerate((40, 220)):
        for n in range(24):
            canvas.drawString(x, 540 - LEADING * n, f"{TOPICS[n % 8]} {side}{n:02}, {n + 3}")
    canvas.save()
    rows = rows_of(tmp_path / "index.pdf")
    found = " ".join(block.text for block in rows.blocks).split()
    entries = [word.rstrip(",") for word in found if len(word) == 4 and word.endswith(",")]
    assert entries == [f"{side}{n:02}" for side in (0, 1) for n in range(24)]

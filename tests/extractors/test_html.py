"""HTML and Markdown: books of Gutenberg's shapes, saved articles, notes, verse, what is no text."""

from __future__ import annotations

from pathlib import Path

import pytest

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.extractors.detection.format_registry import format_named, load
from tests.support.text_books import PROSE, blocks_with, of_kind, read, told


def _html(path: Path, body: str, head: str = "", encoding: str = "utf-8") -> Path:
    text = f"<html><head>{head}</head><body>{body}</body></html>"
    path.write_bytes(text.encode(encoding))
    return path


def test_page_numbers_leave_the_text_and_number_it(tmp_path: Path) -> None:
    body = (
        '<h2>One</h2><p><span class="pagenum"><a id="Page_12">[Pg 12]</a></span>The mill stood'
        f' far<span class="pagenum">[Pg 13]</span> from here. {PROSE}</p><p>After it. {PROSE}</p>'
    )
    rows = read(_html(tmp_path / "book.html", body))
    first, second = (block for block in rows.blocks if block.kind == "paragraph")
    assert first.text == f"The mill stood far from here. {PROSE}"
    assert (first.page_label, second.page_label) == ("12", "13")


def test_chapters_join_number_and_title(tmp_path: Path) -> None:
    body = f"<h1>THE WEIR</h1><h2>CHAPTER I</h2><h3>THE MILL</h3><p>{PROSE}</p>"
    body += f"<h2>CHAPTER II</h2><h3>A YEAR OF RAIN</h3><p>{PROSE} Twice.</p>"
    rows = read(_html(tmp_path / "book.html", body))
    assert [b.chapter for b in rows.blocks if b.kind == "paragraph"] == [
        "Chapter I. The Mill",
        "Chapter II. A Year of Rain",
    ]


@pytest.mark.parametrize(
    ("mark", "note"),
    [
        (
            '<a id="FNanchor_1"></a><a href="#Footnote_1" class="fnanchor">[1]</a>',
            '<div class="footnote"><p><a id="Footnote_1"></a><a href="#FNanchor_1">'
            '<span class="label">[1]</span></a> A lamp of tin.</p></div>',
        ),
        (
            '<a href="#linknote-1" id="linknoteref-1"><sup>1</sup></a>',
            '<div class="foot"><a id="linknote-1">1</a> A lamp of tin.</div>',
        ),
        ("*", "<pre>     * A lamp\n     of tin.</pre>"),
        ("[1]", "<p>[1] A lamp of tin.</p>"),
    ],
)
def test_notes_of_many_shapes(tmp_path: Path, mark: str, note: str) -> None:
    body = f"<h2>One</h2><p>The lamp was out.{mark} {PROSE}</p>{note}<p>More of it. {PROSE}</p>"
    rows = read(_html(tmp_path / "book.html", body))
    assert of_kind(rows, "footnote") == ["A lamp of tin."]
    assert of_kind(rows, "paragraph") == [f"The lamp was out. {PROSE}", f"More of it. {PROSE}"]


def test_a_superscript_that_is_no_note_stays(tmp_path: Path) -> None:
    body = f'<p>A field of 10<sup>2</sup> yards, see <a href="#c2">2</a>. {PROSE}</p>'
    rows = read(_html(tmp_path / "b.html", body + f'<h2 id="c2">Two</h2><p>{PROSE} So.</p>'))
    assert of_kind(rows, "paragraph")[0].startswith("A field of 102 yards, see 2.")


def test_verse_letters_and_captions(tmp_path: Path) -> None:
    body = (
        f"<h2>One</h2><p>{PROSE}</p>"
        '<div class="poem"><div class="stanza"><div class="i0">The mill is still,</div>'
        '<div class="i2">The weir is dry.</div></div></div>'
        f"<blockquote><p>Dear Ada. {PROSE}</p></blockquote>"
        '<div class="figcenter"><img src="a.png" alt=""/><p>THE MILL</p></div>'
        f"<p>Behind the picture. {PROSE}</p>"
    )
    rows = read(_html(tmp_path / "book.html", body))
    assert of_kind(rows, "quote") == ["The mill is still,\nThe weir is dry.", f"Dear Ada. {PROSE}"]
    assert of_kind(rows, "caption") == ["THE MILL"]


def test_a_paragraph_that_a_picture_parts_is_one(tmp_path: Path) -> None:
    body = '<h2>One</h2><p>My father stood at the sluice,</p><p class="caption">THE SLUICE</p>'
    rows = read(_html(tmp_path / "b.html", f"{body}<p>and counted. {PROSE}</p>"))
    assert of_kind(rows, "paragraph") == [f"My father stood at the sluice, and counted. {PROSE}"]


def test_contents_index_and_transcriber_are_no_prose(tmp_path: Path) -> None:
    body = (
        "<p>[Transcriber's note: The spelling of the original was kept, all of it.]</p>"
        "<h1>THE WEIR</h1><p>BY ADA MARROW</p><h2>CONTENTS</h2>"
        '<p><a href="#c1">I. The Mill</a><br/><a href="#c2">II. The Weir</a></p>'
        f'<h2 id="c1">I. The Mill</h2><p>{PROSE}</p><h2 id="c2">II. The Weir</h2><p>{PROSE} So.</p>'
        "<h2>INDEX</h2><h3>A</h3><p>Lamp, 3, 17;<br/>of tin, 4.</p><p>Mill, 1.</p>"
    )
    rows = read(_html(tmp_path / "book.html", body))
    assert of_kind(rows, "paragraph", "quote") == [PROSE, f"{PROSE} So."]
    assert [b.kind for b in blocks_with(rows, "Transcriber")] == ["boilerplate"]
    assert blocks_with(rows, "I. The Mill")[0].kind == "contents"
    assert {b.kind for b in blocks_with(rows, "Lamp")} == {"boilerplate"}


def test_a_saved_article_leaves_the_site_behind(tmp_path: Path) -> None:
    body = (
        '<div id="cookie-banner">We use cookies. Accept all of them now.</div>'
        f'<header><nav><a href="/">Home</a></nav></header><p>Before. {PROSE}</p>'
        f"<article><h1>On Mills</h1><p>{PROSE}</p><p>{PROSE} Twice.</p>"
        f'<div class="share">Share this on all networks.</div></article>'
        f'<section class="comments"><p>First! {PROSE}</p></section><script>var x = "y";</script>'
    )
    path = _html(tmp_path / "a.html", body, "<title>On Mills | The Daily Weir</title>")
    rows = read(path)
    assert ("paragraph", PROSE, "On Mills") in told(rows)
    assert of_kind(rows, "paragraph", "quote") == [PROSE, f"{PROSE} Twice."]
    assert not blocks_with(rows, "var x")
    reference = format_named("html").names
    assert reference
    assert load(reference)(path) == ("On Mills", None)


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        ('<meta charset="iso-8859-1">', "latin-1"),
        ("", "cp1252"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=windows-1251">', "cp1251"),
        ("", "utf-16"),
    ],
)
def test_encodings_declared_or_not(tmp_path: Path, head: str, encoding: str) -> None:
    words = "Мой отец стоял у плотины." if encoding == "cp1251" else "Le café du père à Nîmes."
    rows = read(_html(tmp_path / "b.html", f"<p>{words} {PROSE}</p>", head, encoding))
    assert of_kind(rows, "paragraph") == [f"{words} {PROSE}"]


def test_deep_nesting_loses_nothing(tmp_path: Path) -> None:
    body = "<font>" * 3000 + f"<p>{PROSE}</p>" + f"<div><p>Deep. {PROSE}</p>" * 600
    rows = read(_html(tmp_path / "book.html", body))
    assert len(of_kind(rows, "paragraph")) == 601
    deeper = "<div>" * 5000 + f"<p>{PROSE}</p>" + "<b:>x</b:>"
    assert of_kind(read(_html(tmp_path / "deep.html", deeper)), "paragraph")[0] == PROSE


def test_a_page_without_prose_says_so(tmp_path: Path) -> None:
    path = _html(tmp_path / "a.html", '<nav><a href="/">Home</a></nav>')
    with pytest.raises(SourceUnreadable, match=r"contains no prose, only contents; give a file"):
        read(path)


def test_markdown_becomes_blocks(tmp_path: Path) -> None:
    path = tmp_path / "notes.md"
    path.write_text(
        "---\ntitle: The Weir\nauthor: [Ada Marrow, Bo Lind]\nlang: en-GB\n---\n"
        f"# The Mill\n\nIt stood\nby the *weir*.[^1] {PROSE}\n\n> {PROSE}\n\n"
        f"```\ncode_here()\n```\n\n- First. {PROSE}\n\n[^1]: A weir\n    of stone.\n\n"
        f"## After\n\nEnd. {PROSE}\n",
        "utf-8",
    )
    rows = read(path)
    assert rows.documents[0].lang == "en"
    assert of_kind(rows, "paragraph") == [
        f"It stood by the weir. {PROSE}",
        f"First. {PROSE}",
        f"End. {PROSE}",
    ]
    assert of_kind(rows, "quote") == [PROSE]
    assert of_kind(rows, "footnote") == ["A weir of stone."]
    assert of_kind(rows, "boilerplate") == ["code_here()"]
    reference = format_named("markdown").names
    assert reference
    assert load(reference)(path) == ("The Weir", "Ada Marrow, Bo Lind")

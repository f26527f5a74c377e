"""EPUB: reading order, notes, what is no prose, damage, locks and bombs."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from memoirist.data.schema.errors import SourceEncrypted, SourceUnreadable
from memoirist.extractors.detection.format_registry import format_named, load
from tests.support.text_books import PROSE, blocks_with, epub, of_kind, page, read, told


def test_spine_gives_the_order_and_headings_the_chapters(tmp_path: Path) -> None:
    pages = {
        "b.xhtml": page(f"<h2>One</h2><p>{PROSE}</p>"),
        "a.xhtml": page(f"<h2>Two</h2><p>Second. {PROSE}</p>"),
    }
    rows = read(epub(tmp_path / "book.epub", pages))
    assert told(rows) == [
        ("heading", "One", "One"),
        ("paragraph", PROSE, "One"),
        ("heading", "Two", "Two"),
        ("paragraph", f"Second. {PROSE}", "Two"),
    ]
    assert rows.documents[0].lang == "en"


def test_names_are_those_who_wrote_it(tmp_path: Path) -> None:
    path = epub(tmp_path / "book.epub", {"a.xhtml": page(f"<p>{PROSE}</p>")})
    reference = format_named("epub").names
    assert reference
    assert load(reference)(path) == ("The Weir", "Ada Marrow")


def test_a_chapter_over_several_files_stays_one(tmp_path: Path) -> None:
    pages = {
        "1.xhtml": page(f"<h2>The Mill</h2><p>{PROSE}</p>"),
        "2.xhtml": page(f"<p>It went on. {PROSE}</p>"),
        "3.xhtml": page(f"<h2>The Weir</h2><p>At last. {PROSE}</p>"),
    }
    rows = read(epub(tmp_path / "book.epub", pages))
    assert [b.chapter for b in rows.blocks if b.kind == "paragraph"] == [
        "The Mill",
        "The Mill",
        "The Weir",
    ]


def test_navigation_names_chapters_without_headings(tmp_path: Path) -> None:
    pages = {
        "1.xhtml": page(f"<p class='calibre_7'>The Mill</p><p>{PROSE}</p>"),
        "2.xhtml": page(f"<p>No title here. {PROSE}</p>"),
    }
    nav = (
        '<nav epub:type="toc"><ol><li><a href="1.xhtml">The Mill</a></li>'
        '<li><a href="2.xhtml">The Weir</a></li></ol></nav>'
    )
    rows = read(epub(tmp_path / "book.epub", pages, nav=nav))
    assert told(rows) == [
        ("heading", "The Mill", "The Mill"),
        ("paragraph", PROSE, "The Mill"),
        ("heading", "The Weir", "The Weir"),
        ("paragraph", f"No title here. {PROSE}", "The Weir"),
    ]


@pytest.mark.parametrize(
    ("mark", "note"),
    [
        (
            '<a epub:type="noteref" href="notes.xhtml#n1">1</a>',
            '<aside epub:type="footnote" id="n1"><p>A lamp of tin.'
            ' <a epub:type="backlink" href="1.xhtml#r1">↩</a></p></aside>',
        ),
        (
            '<sup><a href="notes.xhtml#fn1" class="footnote-ref" role="doc-noteref">1</a></sup>',
            '<section role="doc-endnotes"><ol><li id="fn1"><p>A lamp of tin.<a href="1.xhtml#fr1"'
            ' role="doc-backlink">↩︎</a></p></li></ol></section>',
        ),
        (
            '<a id="r1"></a><a href="notes.xhtml#n1">[1]</a>',
            '<p class="footnote"><a id="n1"></a><a href="1.xhtml#r1">[1]</a> A lamp of tin.</p>',
        ),
        (
            '<a href="notes.xhtml#n1" id="r1"><sup class="calibre5">1</sup></a>',
            '<p class="calibre9" id="n1"><a href="1.xhtml#r1">1</a>. A lamp of tin.</p>',
        ),
    ],
)
def test_notes_leave_the_text_and_become_footnotes(tmp_path: Path, mark: str, note: str) -> None:
    pages = {
        "1.xhtml": page(f"<h2>One</h2><p>The lamp{mark} was out. {PROSE}</p>"),
        "notes.xhtml": page(f"<h2>Notes</h2>{note}"),
    }
    rows = read(epub(tmp_path / "book.epub", pages))
    assert of_kind(rows, "paragraph") == [f"The lamp was out. {PROSE}"]
    (found,) = of_kind(rows, "footnote")
    assert found.strip(". ") == "A lamp of tin"


def test_pages_that_are_no_prose_get_their_kinds(tmp_path: Path) -> None:
    imprint = "This ebook is the product of many hours of work. It has a licence of its own."
    pages = {
        "t.xhtml": page('<section epub:type="titlepage"><h1>The Weir</h1><p>Ada</p></section>'),
        "i.xhtml": page(f'<section epub:type="imprint"><h2>Imprint</h2><p>{imprint}</p></section>'),
        "1.xhtml": page(f"<h2>One</h2><p>{PROSE}</p>"),
        "c.xhtml": page(f"<h2>Colophon</h2><p>{imprint} Set in type.</p>"),
    }
    nav = '<nav epub:type="toc"><ol><li><a href="i.xhtml">Imprint</a></li></ol></nav>'
    rows = read(epub(tmp_path / "book.epub", pages, nav=nav))
    assert of_kind(rows, "paragraph", "quote") == [PROSE]
    assert {b.kind for b in blocks_with(rows, "ebook")} == {"boilerplate"}


def test_gutenberg_licence_is_no_paragraph(tmp_path: Path) -> None:
    start = "*** START OF THIS PROJECT GUTENBERG EBOOK THE WEIR ***"
    end = "*** END OF THIS PROJECT GUTENBERG EBOOK THE WEIR ***"
    pages = {
        "0.xhtml": page(f"<div>This eBook is for the use of anyone.<br/>{start}</div>"),
        "1.xhtml": page(f"<h2>One</h2><p>{PROSE}</p>"),
        "9.xhtml": page(f"<div>{end}<br/>You may copy it.</div><p>{PROSE} Of the licence.</p>"),
    }
    rows = read(epub(tmp_path / "book.epub", pages))
    assert of_kind(rows, "paragraph") == [PROSE]


def test_a_missing_page_is_a_verdict_and_the_rest_survives(tmp_path: Path) -> None:
    pages = {"1.xhtml": page(f"<h2>One</h2><p>{PROSE}</p>"), "2.xhtml": ""}
    rows = read(epub(tmp_path / "book.epub", pages))
    assert of_kind(rows, "paragraph") == [PROSE]
    (verdict,) = rows.verdicts
    assert (verdict.rule, verdict.subject, verdict.keep) == ("unreadable_page", "pages", False)
    assert "2.xhtml" in verdict.reason
    assert verdict.next_step


def test_damage_is_one_clear_line(tmp_path: Path) -> None:
    whole = epub(tmp_path / "whole.epub", {"1.xhtml": page(f"<p>{PROSE}</p>")}).read_bytes()
    cut = tmp_path / "cut.epub"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceUnreadable, match="not a complete zip file"):
        read(cut)
    empty = tmp_path / "empty.epub"
    with zipfile.ZipFile(empty, "w") as file:
        file.writestr("readme.txt", "x")
    with pytest.raises(SourceUnreadable, match="no package document"):
        read(empty)
    with pytest.raises(SourceUnreadable, match="no page of the EPUB"):
        read(epub(tmp_path / "bare.epub", {"1.xhtml": "", "2.xhtml": ""}))
    with pytest.raises(SourceUnreadable, match="contains no prose"):
        read(epub(tmp_path / "pictures.epub", {"1.xhtml": page('<img src="a.png" alt=""/>')}))


def _encryption(algorithm: str, name: str) -> dict[str, str]:
    return {
        "META-INF/encryption.xml": (
            '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container"'
            ' xmlns:enc="http://www.w3.org/2001/04/xmlenc#"><enc:EncryptedData>'
            f'<enc:EncryptionMethod Algorithm="{algorithm}"/><enc:CipherData>'
            f'<enc:CipherReference URI="{name}"/></enc:CipherData></enc:EncryptedData></encryption>'
        )
    }


def test_a_lock_is_refused_and_hidden_fonts_are_not(tmp_path: Path) -> None:
    pages = {"1.xhtml": page(f"<p>{PROSE}</p>")}
    aes = "http://www.w3.org/2001/04/xmlenc#aes128-cbc"
    locked = epub(tmp_path / "l.epub", pages, extra=_encryption(aes, "OEBPS/1.xhtml"))
    with pytest.raises(SourceEncrypted, match="DRM"):
        read(locked)
    font = "http://www.idpf.org/2008/embedding"
    free = epub(tmp_path / "f.epub", pages, extra=_encryption(font, "OEBPS/font.otf"))
    assert of_kind(read(free), "paragraph") == [PROSE]


def test_a_bomb_is_a_verdict_and_not_unpacked(tmp_path: Path) -> None:
    bomb = page(f"<p>{'0' * 30_000_000}</p>")
    pages = {"1.xhtml": page(f"<h2>One</h2><p>{PROSE}</p>"), "2.xhtml": bomb}
    rows = read(epub(tmp_path / "bomb.epub", pages))
    assert of_kind(rows, "paragraph") == [PROSE]
    assert "zip bomb" in rows.verdicts[0].reason


def test_entities_of_the_files_own_expand_to_nothing(tmp_path: Path) -> None:
    lines = "".join(f'<!ENTITY b{n + 1} "{f"&b{n};" * 10}">' for n in range(9))
    bomb = (
        f'<?xml version="1.0"?><!DOCTYPE html [<!ENTITY b0 "ha"><!ENTITY f SYSTEM'
        f' "file:///etc/passwd">{lines}]><html xmlns="http://www.w3.org/1999/xhtml"><body>'
        f"<p>caf&eacute;&nbsp;noir &b9;&f; {PROSE}</p></body></html>"
    )
    rows = read(epub(tmp_path / "book.epub", {"1.xhtml": bomb}))
    (text,) = of_kind(rows, "paragraph")
    assert text.startswith("café noir")
    assert text.endswith(PROSE)
    assert "haha" not in text
    assert "root" not in text


def test_verse_keeps_its_lines_and_stands_apart(tmp_path: Path) -> None:
    verse = (
        '<blockquote epub:type="z3998:poem"><p><span>The mill is still,</span><br/>'
        "<span>The weir is dry.</span></p></blockquote>"
    )
    rows = read(epub(tmp_path / "b.epub", {"1.xhtml": page(f"<h2>One</h2><p>{PROSE}</p>{verse}")}))
    assert of_kind(rows, "quote") == ["The mill is still,\nThe weir is dry."]


def test_the_real_books_have_their_chapters(corpora: Path) -> None:
    rows = read(corpora / "books/up-from-slavery/pg2376.epub")
    chapters = dict.fromkeys(b.chapter for b in rows.blocks if b.kind == "paragraph")
    assert len(chapters) == 19
    assert list(chapters)[2] == "Chapter I. A Slave Among Slaves"
    prose = " ".join(of_kind(rows, "paragraph", "quote"))
    assert "Gutenberg" not in prose

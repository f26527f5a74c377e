"""DOCX: headings, notes, deletions, properties, damage."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from memoirist.data.schema.errors import SourceEncrypted, SourceUnreadable
from memoirist.extractors.detection.format_registry import format_named, load
from tests.support.text_books import PROSE, of_kind, read, told

_W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="xml" ContentType="application/xml"/></Types>'
)
_STYLES = (
    '<w:style w:type="paragraph" w:styleId="Kop1"><w:name w:val="heading 1"/></w:style>'
    '<w:style w:type="paragraph" w:styleId="Citaat"><w:name w:val="Quote"/></w:style>'
)
_CORE = (
    '<cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/'
    'core-properties" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>The Weir</dc:title>'
    "<dc:creator>Ada Marrow</dc:creator></cp:coreProperties>"
)


def _relations(*kinds: tuple[str, str]) -> str:
    rows = "".join(
        f'<Relationship Id="r{n}" Type="{_R}/{kind}" Target="{target}"/>'
        for n, (kind, target) in enumerate(kinds)
    )
    space = "http://schemas.openxmlformats.org/package/2006/relationships"
    return f'<Relationships xmlns="{space}">{rows}</Relationships>'


def _part(root: str, inside: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?><w:{root} xmlns:w="{_W}">{inside}</w:{root}>'


def _p(text: str, style: str = "") -> str:
    named = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{named}<w:r><w:t xml:space='preserve'>{text}</w:t></w:r></w:p>"


def _docx(path: Path, body: str, notes: str = "", comments: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("[Content_Types].xml", _TYPES)
        file.writestr("_rels/.rels", _relations(("officeDocument", "word/document.xml")))
        file.writestr(
            "word/_rels/document.xml.rels",
            _relations(
                ("styles", "styles.xml"),
                ("footnotes", "footnotes.xml"),
                ("comments", "comments.xml"),
            ),
        )
        file.writestr("word/document.xml", _part("document", f"<w:body>{body}</w:body>"))
        file.writestr("word/styles.xml", _part("styles", _STYLES))
        file.writestr("word/footnotes.xml", _part("footnotes", notes))
        file.writestr("word/comments.xml", _part("comments", comments))
        file.writestr("docProps/core.xml", _CORE)
    return path


def test_headings_quotes_and_properties(tmp_path: Path) -> None:
    body = _p("The Mill", "Kop1") + _p(PROSE) + _p(f"She said. {PROSE}", "Citaat")
    path = _docx(tmp_path / "book.docx", body)
    assert told(read(path)) == [
        ("heading", "The Mill", "The Mill"),
        ("paragraph", PROSE, "The Mill"),
        ("quote", f"She said. {PROSE}", "The Mill"),
    ]
    reference = format_named("docx").names
    assert reference
    assert load(reference)(path) == ("The Weir", "Ada Marrow")


def test_notes_comments_and_tracked_changes(tmp_path: Path) -> None:
    body = (
        '<w:p><w:r><w:t>The lamp</w:t></w:r><w:r><w:footnoteReference w:id="2"/></w:r>'
        '<w:r><w:commentReference w:id="0"/></w:r>'
        "<w:del><w:r><w:delText> never</w:delText></w:r></w:del>"
        f"<w:ins><w:r><w:t xml:space='preserve'> was out. {PROSE}</w:t></w:r></w:ins></w:p>"
    )
    note = f'<w:footnote w:id="2">{_p("A lamp of tin.")}</w:footnote>'
    comment = f'<w:comment w:id="0">{_p("Is this so?")}</w:comment>'
    rows = read(_docx(tmp_path / "book.docx", body, note, comment))
    assert of_kind(rows, "paragraph") == [f"The lamp was out. {PROSE}"]
    assert of_kind(rows, "footnote") == ["A lamp of tin."]
    assert not [b for b in rows.blocks if "Is this so" in b.text]


def test_damage_locks_and_bombs_are_one_clear_line(tmp_path: Path) -> None:
    old = tmp_path / "old.docx"
    old.write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + b"\0" * 512)
    with pytest.raises(SourceEncrypted, match="password"):
        read(old)
    bare = tmp_path / "bare.docx"
    with zipfile.ZipFile(bare, "w") as file:
        file.writestr("x.xml", "<x/>")
    with pytest.raises(SourceUnreadable, match=r"'word/document.xml'.*it is missing"):
        read(bare)
    with pytest.raises(SourceUnreadable, match="zip bomb"):
        read(_docx(tmp_path / "bomb.docx", _p("0" * 30_000_000)))
    with pytest.raises(SourceUnreadable, match="contains no prose"):
        read(_docx(tmp_path / "empty.docx", _p("")))
    entities = tmp_path / "entities.docx"
    with zipfile.ZipFile(entities, "w") as file:
        file.writestr("word/document.xml", '<!DOCTYPE d [<!ENTITY a "b">]><d>&a;</d>')
    with pytest.raises(SourceUnreadable, match="entities of its own"):
        read(entities)

"""Extract a Word document: mammoth makes HTML of it, which is read as HTML."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import mammoth

from memoirist.data.schema.errors import SourceEncrypted, SourceError, SourceUnreadable
from memoirist.data.schema.records import Rows, Source
from memoirist.extractors.detection.format_registry import Progress
from memoirist.extractors.settings import ExtractSettings
from memoirist.extractors.text.archive import EntryUnreadable, open_archive, unreadable_entry
from memoirist.extractors.text.html import units_of_body
from memoirist.extractors.text.html_elements import parse_xml, text_of
from memoirist.extractors.text.text_rows import rows_of
from memoirist.extractors.word_tables import table

_BODY = "word/document.xml"
# The container of the old Office formats and of documents with a password.
_OLE = bytes.fromhex("d0cf11e0a1b11ae1")


def names(path: Path) -> tuple[str | None, str | None]:
    """Return title and author of the document's core properties."""
    try:
        with open_archive(str(path), "document") as archive:
            root = parse_xml(archive.read("docProps/core.xml"))
    except (SourceError, EntryUnreadable, OSError):
        return None, None
    if root is None:
        return None, None
    title, author = (
        next((text for element in root.iter(name) if (text := text_of(element))), None)
        for name in ("title", "creator")
    )
    return title, author


def extract_docx(
    source: Source, settings: ExtractSettings, on_progress: Progress | None = None
) -> Rows:
    """Return the blocks of a document, deletions and comments left out, insertions taken.

    Raise SourceEncrypted where it asks for a password, SourceUnreadable where it is damaged.
    """
    with Path(source.location).open("rb") as file:
        if file.read(len(_OLE)) == _OLE:
            raise SourceEncrypted(
                f"the document {source.location!r} is locked with a password, or is an old .doc",
                "open it in a word processor and save it as .docx without a password",
            )
    clean = _text_parts(source.location)
    try:
        html = mammoth.convert_to_html(
            clean,
            style_map=table("docx")["styles"],
            convert_image=mammoth.images.img_element(lambda _: {}),
        ).value
    except Exception as fault:
        raise SourceUnreadable(
            f"the document {source.location!r} cannot be read ({type(fault).__name__}: {fault})",
            "open it in a word processor and save it again",
        ) from fault
    return rows_of(source, units_of_body(html), None)


def _text_parts(location: str) -> io.BytesIO:
    """Return a copy in memory of the text parts alone, each read under the archive's limits.

    mammoth's XML reader expands entities; a document has none, and one that states them is refused.
    """

    def unreadable(name: str, reason: str) -> SourceUnreadable:
        return unreadable_entry(location, "document", name, reason)

    copy = io.BytesIO()
    with open_archive(location, "document") as archive, zipfile.ZipFile(copy, "w") as file:
        if archive.find(_BODY) is None:
            raise unreadable(_BODY, "it is missing")
        for name in archive.names:
            if not name.endswith((".xml", ".rels")):
                continue
            try:
                content = archive.read(name)
            except EntryUnreadable as fault:
                raise unreadable(name, str(fault)) from fault
            if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
                raise unreadable(name, "it defines entities of its own")
            file.writestr(name, content)
    copy.seek(0)
    return copy

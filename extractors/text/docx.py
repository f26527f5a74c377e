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
from memoirist.extractors.text.archive import (
    Archive,
    EntryUnreadable,
    open_archive,
    unreadable_entry,
)
from memoirist.extractors.text.html import units_of_page
from memoirist.extractors.text.html_elements import parse, parse_xml, text_of
from memoirist.extractors.text.text_rows import rows_of

_CORE = "docProps/core.xml"
_OLE = bytes.fromhex("d0cf11e0a1b11ae1")
# Styles of a book that mammoth's own map leaves as bare paragraphs; the names are Word's.
_STYLES = """
p[style-name='Title'] => h1:fresh
p[style-name='Subtitle'] => h2.subtitle:fresh
p[style-name='Quote'] => blockquote > p:fresh
p[style-name='Intense Quote'] => blockquote > p:fresh
p[style-name='Block Text'] => blockquote > p:fresh
p[style-name='Verse'] => p.verse:fresh
p[style-name='caption'] => p.caption:fresh
p[style-name='Caption'] => p.caption:fresh
p[style-name='toc 1'] => p.toc:fresh
p[style-name='toc 2'] => p.toc:fresh
p[style-name='toc 3'] => p.toc:fresh
p[style-name='TOC Heading'] => p.toc:fresh
p[style-name='table of figures'] => p.toc:fresh
p[style-name='index 1'] => p.index:fresh
"""


def names(path: Path) -> tuple[str | None, str | None]:
    """Return title and author of the document's core properties."""
    try:
        with open_archive(str(path), "document") as archive:
            root = parse_xml(archive.read(_CORE))
    except (SourceError, EntryUnreadable, OSError):
        return None, None
    if root is None:
        return None, None
    title, author = (
        next((text for each in root.iter(name) if (text := text_of(each))), None)
        for name in ("title", "creator")
    )
    return title, author


def extract_docx(
    source: Source, settings: ExtractSettings, on_progress: Progress | None = None
) -> Rows:
    """Return the blocks of a document, deletions and comments left out, insertions taken.

    Raise SourceEncrypted where it asks for a password, SourceUnreadable where it is damaged.
    """
    path = Path(source.location)
    with path.open("rb") as file:
        locked = file.read(8) == _OLE
    if locked:
        raise SourceEncrypted(
            f"the document {source.location!r} is locked with a password, or is an old .doc",
            "open it in a word processor and save it as .docx without a password",
        )
    with open_archive(source.location, "document") as archive:
        clean = _checked(archive, source.location)
    try:
        made = mammoth.convert_to_html(
            clean, style_map=_STYLES, convert_image=mammoth.images.img_element(_no_picture)
        )
    except Exception as fault:
        raise SourceUnreadable(
            f"the document {source.location!r} cannot be read ({type(fault).__name__}: {fault})",
            "open it in a word processor and save it again",
        ) from fault
    root = parse(f"<body>{made.value}</body>", xhtml=False)
    return rows_of(source, units_of_page(root) if root is not None else [], None)


def _no_picture(_: object) -> dict[str, str]:
    return {}


def _checked(archive: Archive, location: str) -> io.BytesIO:
    """Return a copy in memory of the text parts alone, each read under the archive's limits.

    mammoth's XML reader expands entities; a document has none, and one that states them is refused.
    """
    if archive.find("word/document.xml") is None:
        raise unreadable_entry(location, "document", "word/document.xml", "it is not in the file")
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w") as file:
        for name in archive.names:
            if not name.endswith((".xml", ".rels")):
                continue
            try:
                content = archive.read(name)
            except EntryUnreadable as fault:
                raise unreadable_entry(location, "document", name, str(fault)) from fault
            if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
                raise unreadable_entry(location, "document", name, "it defines entities of its own")
            file.writestr(name, content)
    copy.seek(0)
    return copy

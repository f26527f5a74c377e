"""Small books made for tests: EPUB files as zips, and what an extractor makes of a file."""

from __future__ import annotations

import zipfile
from datetime import UTC, datetime
from pathlib import Path

from memoirist.data.schema.records import Block, Rows
from memoirist.extractors import ExtractSettings, SourceRef, extract, read_source
from memoirist.extractors.detection.sniff import format_of

NOW = datetime(2026, 11, 21, tzinfo=UTC)
_CONTAINER = """<?xml version="1.0"?>
<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0"><rootfiles>
<rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/>
</rootfiles></container>"""
_METADATA = (
    "<dc:title>The Weir</dc:title><dc:creator opf:role='aut'>Ada Marrow</dc:creator>"
    "<dc:creator opf:role='ill'>Bo Lind</dc:creator><dc:language>en-GB</dc:language>"
)
PROSE = (
    "The river rose in the night and my father stood at the sluice with a lamp, counting the"
    " stones that were still dry, while we children watched him from the loft and did not sleep."
)


def read(path: Path) -> Rows:
    """Return what the extractor of the file's format makes of it."""
    known = format_of(path)
    assert known is not None
    return extract(read_source(SourceRef(path=path, format=known.name), NOW), ExtractSettings())


def told(rows: Rows) -> list[tuple[str, str, str | None]]:
    return [(block.kind, block.text, block.chapter) for block in rows.blocks]


def of_kind(rows: Rows, *kinds: str) -> list[str]:
    return [block.text for block in rows.blocks if block.kind in kinds]


def blocks_with(rows: Rows, words: str) -> list[Block]:
    return [block for block in rows.blocks if words in block.text]


def page(body: str, head: str = "") -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html>'
        '<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops">'
        f"<head><title>t</title>{head}</head><body>{body}</body></html>"
    )


def epub(
    path: Path,
    pages: dict[str, str],
    *,
    nav: str = "",
    extra: dict[str, str] | None = None,
    spine: str = "",
) -> Path:
    """Write an EPUB whose spine is `pages` in their order; `nav` is an EPUB 3 navigation body."""
    names = list(pages)
    manifest = "".join(
        f'<item id="i{n}" href="{name}" media-type="application/xhtml+xml"/>'
        for n, name in enumerate(names)
    )
    if nav:
        manifest += (
            '<item id="nav" href="nav.xhtml" properties="nav" media-type="application/xhtml+xml"/>'
        )
    refs = spine or "".join(f'<itemref idref="i{n}"/>' for n in range(len(names)))
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" xmlns:opf="http://www.idpf.org/2007/opf"'
        ' xmlns:dc="http://purl.org/dc/elements/1.1/" version="3.0">'
        f"<metadata>{_METADATA}</metadata><manifest>{manifest}</manifest><spine>{refs}</spine>"
        "</package>"
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("mimetype", "application/epub+zip")
        file.writestr("META-INF/container.xml", _CONTAINER)
        file.writestr("OEBPS/book.opf", package)
        for name, text in pages.items():
            if text:
                file.writestr(f"OEBPS/{name}", text)
        if nav:
            file.writestr("OEBPS/nav.xhtml", page(nav))
        for name, text in (extra or {}).items():
            file.writestr(name, text)
    return path

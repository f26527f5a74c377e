"""Extract paragraphs and headings from plain text and Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from data.errors import SourceUnreadable
from data.nouns import Document, Rows, Source, content_id
from extractors.blocks import Draft, blocks_of
from extractors.formats import Progress
from extractors.settings import ExtractSettings

_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$")


def extract_text(
    source: Source, settings: ExtractSettings, on_progress: Progress | None = None
) -> Rows:
    """Return the paragraphs of a text; raise SourceUnreadable unless it is UTF-8 with words."""
    path = Path(source.location)
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise SourceUnreadable(
            f"the text {source.location!r} is not UTF-8 (byte {fault.start})",
            "convert it first, for example with: iconv -f latin1 -t utf-8 in.txt",
        ) from fault
    title = source.title or path.stem
    document = Document(id=content_id(source.id, title), source_id=source.id, title=title)
    blocks = blocks_of(document.id, _drafts(text))
    if not blocks:
        raise SourceUnreadable(
            f"the text {source.location!r} holds no words", "point at a file with text"
        )
    return Rows(documents=(document,), blocks=blocks)


def _drafts(text: str) -> Iterator[Draft]:
    chapter: str | None = None
    paragraph: list[str] = []
    for line in [*text.splitlines(), ""]:
        heading = _HEADING.match(line.strip())
        if (heading or not line.strip()) and paragraph:
            yield Draft(kind="paragraph", text=" ".join(paragraph), chapter=chapter)
            paragraph = []
        if heading:
            chapter = heading.group(1)
            yield Draft(kind="heading", text=chapter, chapter=chapter)
        elif line.strip():
            paragraph.append(line.strip())

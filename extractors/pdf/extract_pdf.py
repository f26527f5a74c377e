"""Extract a book from a PDF: the lines of its pages become blocks, its losses verdicts."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from memoirist.data.schema.errors import SourceEncrypted, SourceUnreadable
from memoirist.data.schema.records import Document, Rows, Source, content_id
from memoirist.extractors.blocks import Draft, blocks_of
from memoirist.extractors.detection.format_registry import Progress
from memoirist.extractors.pdf.engines.worker_pool import read_all_pages, read_info
from memoirist.extractors.pdf.layout.page_columns import SinglePages, unfold_sheets
from memoirist.extractors.pdf.ocr import ocr_verdict, with_ocr
from memoirist.extractors.pdf.page_verdicts import (
    page_verdict,
    page_verdicts,
    refusal,
    without_unmapped,
)
from memoirist.extractors.pdf.structure.block_builder import build_blocks
from memoirist.extractors.pdf.structure.front_matter import FRONT_PAGES, title_page
from memoirist.extractors.settings import ExtractSettings

# What writing programs put where a title or an author should stand.
_FILE_NAME = re.compile(
    r"\.[A-Za-z]{2,5}$|[/\\]"
    r"|^(untitled|document\d*|microsoft word|anonymous|unknown|root|user|admin)\b",
    re.IGNORECASE,
)


def names(path: Path) -> tuple[str | None, str | None]:
    """Return title and author as the PDF gives them, where they are more than a file's name.

    Where it gives no title, its title page does.
    """
    settings = ExtractSettings(workers=1)
    try:
        info = read_info(str(path), settings)
        title, author = (
            None if not text or _FILE_NAME.search(text) or len(text) > 200 else text
            for text in (info.title, info.author)
        )
        if title:
            return title, author
        front = read_all_pages(str(path), min(info.n_pages, FRONT_PAGES), settings)
    except (SourceUnreadable, SourceEncrypted):
        # The extract step raises it again, where it becomes the source's verdict.
        return None, None
    title, author_shown = title_page(front)
    return title, author or author_shown


def is_locked(path: Path) -> bool:
    """Tell whether none of the known passwords opens a PDF."""
    try:
        read_info(str(path), ExtractSettings())
    except SourceEncrypted:
        return True
    except (SourceUnreadable, OSError):
        pass
    return False


def extract_pdf(
    source: Source, settings: ExtractSettings, on_progress: Progress | None = None
) -> Rows:
    """Return the document, its blocks and the verdicts on unreadable pages of one PDF.

    Raise SourceEncrypted, SourceUnreadable or SourceWithoutText.
    """
    path, max_unmapped = source.location, settings.max_unmapped_share
    info = read_info(path, settings)
    title = source.title or path
    document = Document(id=content_id(source.id, title), source_id=source.id, title=title)
    pages, ocr_pages = with_ocr(
        source, read_all_pages(path, info.n_pages, settings, on_progress), settings, on_progress
    )
    if refused := refusal(path, pages, settings):
        raise refused
    book = unfold_sheets(
        path,
        [replace(page, lines=()) if page.unmapped_share > max_unmapped else page for page in pages],
    )
    if book.page_in_file:
        # Labels of the file count its sheets.
        info = replace(info, labels=())
    drafts = (_in_file(draft, book) for draft in build_blocks(book.pages, settings, info))
    why = "has a half without a page number, so the place of that half is unknown"
    step = "split the file into single pages in reading order if that half matters"
    verdicts = [
        *(verdict for page in pages for verdict in page_verdicts(document, page, settings)),
        *(page_verdict(document, page, "unplaced_page", why, step) for page in book.unplaced),
        *(ocr_verdict(document, page, settings.ocr_min_confidence) for page in ocr_pages),
    ]
    return Rows(documents=(document,), blocks=blocks_of(document.id, drafts), verdicts=verdicts)


def _in_file(draft: Draft, book: SinglePages) -> Draft:
    """Return a draft with the pages of the file in place of those that its sheets were cut to."""
    if book.page_in_file and draft.page is not None and draft.page_last is not None:
        first, last = book.page_in_file[draft.page], book.page_in_file[draft.page_last]
        draft = replace(draft, page=first, page_last=last)
    return without_unmapped(draft)

"""Extract a book from a PDF: the engine's lines, cleaned step by step, become blocks."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from memoirist.data.schema.errors import SourceEncrypted, SourceUnreadable
from memoirist.data.schema.records import Document, Rows, Source, Verdict, content_id
from memoirist.extractors.blocks import Draft, blocks_of
from memoirist.extractors.pdf.engines.base import PdfFacts
from memoirist.extractors.pdf.engines.worker_pool import read_all_pages, read_facts
from memoirist.extractors.pdf.layout.columns import frames_of, measures_of
from memoirist.extractors.pdf.layout.geometry import PageLines
from memoirist.extractors.pdf.layout.initials import with_initials
from memoirist.extractors.pdf.layout.sheets import Unfolded, unfolded
from memoirist.extractors.pdf.page_verdicts import (
    legible,
    page_verdicts,
    refusal,
    set_aside,
    verdict_on,
)
from memoirist.extractors.pdf.scans import ocr_verdict, with_ocr
from memoirist.extractors.pdf.structure.block_builder import drafts, units_of
from memoirist.extractors.pdf.structure.footnotes import footnotes
from memoirist.extractors.pdf.structure.front_matter import entries, matter
from memoirist.extractors.pdf.structure.headings import limits_of
from memoirist.extractors.pdf.structure.page_labels import page_labels
from memoirist.extractors.pdf.structure.running_heads import furniture
from memoirist.extractors.pdf.structure.titles import FRONT_PAGES, title_page
from memoirist.extractors.repair import vocabulary_of
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
        facts = read_facts(str(path), settings)
        title, author = (
            None if not text or _FILE_NAME.search(text) or len(text) > 200 else text
            for text in (facts.title, facts.author)
        )
        if title:
            return title, author
        front = read_all_pages(str(path), min(facts.n_pages, FRONT_PAGES), settings)
    except (SourceUnreadable, SourceEncrypted):
        # The extract step raises it again, where it becomes the source's verdict.
        return None, None
    title, shown = title_page(front)
    return title, author or shown


def is_locked(path: Path) -> bool:
    """Tell whether none of the known passwords opens a PDF."""
    try:
        read_facts(str(path), ExtractSettings())
    except SourceEncrypted:
        return True
    except (SourceUnreadable, OSError):
        return False
    return False


def extract_pdf(
    source: Source,
    settings: ExtractSettings,
    on_progress: Callable[[int, int], None] | None = None,
) -> Rows:
    """Return the document, its blocks and the verdicts on unreadable pages of one PDF.

    Raise SourceEncrypted, SourceUnreadable or SourceWithoutText.
    """
    path = source.location
    facts = read_facts(path, settings)
    title = source.title or path
    document = Document(id=content_id(source.id, title), source_id=source.id, title=title)
    pages = read_all_pages(path, facts.n_pages, settings, on_progress)
    pages, recognised = with_ocr(source, pages, settings, on_progress)
    if refused := refusal(path, pages, settings):
        raise refused
    book = unfolded(legible(pages, settings.max_unmapped_share))
    if book.fault:
        raise SourceUnreadable(
            f"the PDF {path!r} shows {book.fault}",
            "unfold it to single pages in reading order, and point at that file",
        )
    if book.page_in_file:
        # Labels of the file count its sheets.
        facts = replace(facts, labels=())
    drafts = (_in_file(draft, book) for draft in drafts_of(book.pages, settings, facts))
    verdicts = [
        *(
            each
            for page in pages
            for each in page_verdicts(document, page, settings.max_unmapped_share)
        ),
        *(_unplaced(document, page) for page in book.unplaced),
        *(ocr_verdict(document, each, settings.ocr_min_confidence) for each in recognised),
    ]
    return Rows(documents=(document,), blocks=blocks_of(document.id, drafts), verdicts=verdicts)


def _in_file(draft: Draft, book: Unfolded) -> Draft:
    """Return a draft with the pages of the file in place of those that its sheets were cut to."""
    if book.page_in_file and draft.page is not None and draft.page_last is not None:
        first, last = book.page_in_file[draft.page], book.page_in_file[draft.page_last]
        draft = replace(draft, page=first, page_last=last)
    return set_aside(draft)


def _unplaced(document: Document, page: int) -> Verdict:
    why = "has a half without a page number, whose place among the sheets is unknown"
    step = "unfold the file to single pages in reading order where that half matters"
    return verdict_on(document, page, "unplaced_page", why, step)


def drafts_of(
    pages: Sequence[PageLines], settings: ExtractSettings, facts: PdfFacts
) -> list[Draft]:
    """Clean the lines of a book and return its blocks, in reading order, as drafts.

    Of `facts` the outline and the page labels are used.
    """
    frames = frames_of(pages)
    measures = measures_of(frames)
    frames = with_initials(frames, measures)
    kinds = furniture(frames, measures, settings)
    printed = page_labels(frames, kinds, facts.labels)
    notes = footnotes(frames, kinds, measures, settings)
    asides = [line for frame in frames for line in frame.lines if line.aside]
    kinds |= dict.fromkeys(asides, "footnote")
    notes = [*(note for note in notes if not note[0].aside), *([line] for line in asides)]
    kinds |= matter(frames, kinds, measures, settings)
    titles = [*(title for _, title in facts.outline), *entries(kinds)]
    limits = limits_of(measures, settings, titles)
    units = units_of(frames, kinds, measures, limits, settings)
    # In the order of the units a broken word is followed by its own rest, not by a folio.
    runs = [*(unit.lines for unit in units), *notes]
    words = vocabulary_of(line.text for run in runs for line in run)
    return list(drafts(units, notes, words, printed))

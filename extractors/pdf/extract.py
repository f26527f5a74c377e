"""Extract a book from a PDF: the engine's lines, cleaned step by step, become blocks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from data.errors import SourceEncrypted, SourceUnreadable, SourceWithoutText
from data.nouns import Document, Rows, Source, Verdict, content_id
from extractors.blocks import Draft, blocks_of
from extractors.pdf.facts import PdfFacts, unreadable
from extractors.pdf.furniture import furniture
from extractors.pdf.headings import limits_of
from extractors.pdf.initials import with_initials
from extractors.pdf.labels import page_labels
from extractors.pdf.layout import frames_of, measures_of
from extractors.pdf.lines import PageLines
from extractors.pdf.matter import matter
from extractors.pdf.notes import footnotes
from extractors.pdf.pages import read_all_pages, read_facts
from extractors.pdf.units import drafts, units_of
from extractors.repair import vocabulary_of
from extractors.settings import ExtractSettings

# A picture page with fewer characters than this is a scan with a stamp, not a page of text.
_MIN_PAGE_CHARS = 8

# What writing programs put where a title or an author should stand.
_FILE_NAME = re.compile(
    r"\.[A-Za-z]{2,5}$|[/\\]"
    r"|^(untitled|document\d*|microsoft word|anonymous|unknown|root|user|admin)\b",
    re.IGNORECASE,
)


def names(path: Path) -> tuple[str | None, str | None]:
    """Return title and author as the PDF gives them, where they are more than a file's name."""
    try:
        facts = read_facts(str(path), ExtractSettings())
    except (SourceUnreadable, SourceEncrypted):
        # The extract step raises it again, where it becomes the source's verdict.
        return None, None
    title, author = (
        None if not text or _FILE_NAME.search(text) or len(text) > 200 else text
        for text in (facts.title, facts.author)
    )
    return title, author


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
    broken = [page for page in pages if page.error]
    if len(broken) == len(pages):
        raise unreadable(path, f"no page of it can be read: {broken[0].error}")
    n_chars = sum(len(line.text) for page in pages for line in page.lines)
    if n_chars < _MIN_PAGE_CHARS:
        if n_turned := sum(page.n_turned for page in pages):
            raise SourceUnreadable(
                f"the {n_turned} characters of the PDF {path!r} run turned or from top to bottom",
                "turn its pages upright; vertical writing cannot be read yet",
            )
        counted = "1 page" if len(pages) == 1 else f"{len(pages)} pages"
        raise SourceWithoutText(
            f"the PDF {path!r} has {counted} and no text layer",
            "make one with: ocrmypdf in.pdf out.pdf",
        )
    blocks = blocks_of(document.id, drafts_of(pages, settings, facts))
    verdicts = [verdict for page in pages for verdict in _verdicts(document, page)]
    return Rows(documents=(document,), blocks=blocks, verdicts=verdicts)


def _verdicts(document: Document, page: PageLines) -> Iterator[Verdict]:
    faults: list[tuple[str, str, str]] = []
    if page.error:
        faults.append(
            ("unreadable_page", f"cannot be read ({page.error})", "mend it: qpdf in.pdf out.pdf")
        )
    elif page.has_image and sum(len(line.text) for line in page.lines) < _MIN_PAGE_CHARS:
        faults.append(
            ("page_without_text", "shows a picture and no text", "ocrmypdf in.pdf out.pdf")
        )
    if page.n_turned > _MIN_PAGE_CHARS:
        faults.append(
            (
                "turned_text",
                f"has {page.n_turned} characters that do not run upright",
                "turn the page upright in the PDF where they are text of the author",
            )
        )
    for rule, reason, next_step in faults:
        yield Verdict(
            subject_id=content_id(document.id, "page", page.page),
            subject="documents",
            rule=rule,
            keep=False,
            reason=f"page {page.page} {reason}",
            next_step=next_step,
            created_at=datetime.now(UTC),
        )


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
    kinds |= matter(frames, kinds, measures, settings)
    limits = limits_of(measures, settings, (title for _, title in facts.outline))
    units = units_of(frames, kinds, measures, limits, settings)
    # In the order of the units a broken word is followed by its own rest, not by a folio.
    runs = [*(unit.lines for unit in units), *notes]
    words = vocabulary_of(line.text for run in runs for line in run)
    return list(drafts(units, notes, words, printed))

"""Scanned pages take part: their text comes from OCR, with how sure it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from memoirist.data.schema.records import Document, Source, Verdict
from memoirist.extractors.pdf.engines.worker_pool import read_all_pages
from memoirist.extractors.pdf.layout.geometry import PageLines
from memoirist.extractors.pdf.ocr import Recognised, text_layer
from memoirist.extractors.pdf.page_verdicts import needs_ocr, page_id
from memoirist.extractors.settings import ExtractSettings


def with_ocr(
    source: Source,
    pages: Sequence[PageLines],
    settings: ExtractSettings,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[list[PageLines], tuple[Recognised, ...]]:
    """Return the pages with OCR's text where they have none of their own, if it is asked for.

    A page that was read with too little confidence comes without lines.
    """
    wanting = [each.page for each in pages if needs_ocr(each, settings.max_unmapped_share)]
    if not settings.ocr or not wanting:
        return list(pages), ()
    layer = text_layer(source, wanting, settings, on_progress)
    read = {page.page: page for page in read_all_pages(layer.path, len(pages), settings)}
    recognised = tuple(each for each in layer.pages if each.n_words and each.page in wanting)
    sure = {each.page for each in recognised if each.confidence >= settings.ocr_min_confidence}
    unsure = {each.page for each in recognised} - sure
    found = [
        read[page.page] if page.page in sure else _emptied(page) if page.page in unsure else page
        for page in pages
    ]
    return found, recognised


def _emptied(page: PageLines) -> PageLines:
    return replace(page, lines=())


def ocr_verdict(document: Document, page: Recognised, least: float) -> Verdict:
    """Return how sure OCR was of one page, and whether the page is kept for it."""
    keep = page.confidence >= least
    suspects = f"; suspect: {', '.join(page.suspects)}" if page.suspects else ""
    outcome = "" if keep else ", too little to be kept"
    return Verdict(
        subject_id=page_id(document, page.page),
        subject="pages",
        rule="ocr_confidence",
        keep=keep,
        score=page.confidence,
        reason=f"page {page.page}: {page.n_words} words read by OCR with a mean confidence of"
        f" {page.confidence:.0%}{outcome}{suspects}",
        next_step="compare the suspect words with the scan" if keep else "scan the page better",
        created_at=datetime.now(UTC),
    )

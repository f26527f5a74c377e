"""Give the verdicts on what is lost of a PDF's pages, and refuse a file without any text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from memoirist.data.schema.errors import SourceError, SourceUnreadable, SourceWithoutText
from memoirist.data.schema.records import Document, Verdict
from memoirist.extractors.blocks import Draft
from memoirist.extractors.pdf.engines.base import unreadable
from memoirist.extractors.pdf.layout.geometry import UNKNOWN, PageLines
from memoirist.extractors.settings import ExtractSettings

_BULLETS = re.compile(rf"^(?:{UNKNOWN}\s+)+|(?:\s+{UNKNOWN})+$")
# A picture page with fewer characters than this is a scan with a stamp, not a page of text.
_MIN_PAGE_CHARS = 8
_OCR = "make a text layer: run again with --ocr"


def is_scan(page: PageLines) -> bool:
    """Tell whether a page is a picture without text."""
    return page.has_image and page.n_chars < _MIN_PAGE_CHARS


def refusal(path: str, pages: Sequence[PageLines], settings: ExtractSettings) -> SourceError | None:
    """Return why no text can be taken from the pages of a file, None where some can."""
    errors = [page.error for page in pages if page.error]
    if len(errors) == len(pages):
        return unreadable(path, f"no page of it can be read: {errors[0]}")
    written = [page for page in pages if page.lines]
    has_image = any(page.has_image for page in pages)
    step = "scan it in better quality: OCR is sure of no word on it" if settings.ocr else _OCR
    if written and all(page.unmapped_share > settings.max_unmapped_share for page in written):
        return SourceUnreadable(
            f"the fonts of the PDF {path!r} do not map their characters to Unicode", step
        )
    if sum(page.n_chars for page in written) >= (_MIN_PAGE_CHARS if has_image else 1):
        return None
    if lost := sorted({font for page in pages for font in page.lost_fonts}):
        what = f"the text of the PDF {path!r} uses fonts that are neither embedded nor installed"
        return SourceUnreadable(f"{what}: {', '.join(lost[:5])}", _font_step(settings))
    if n_turned := sum(page.n_turned for page in pages):
        return SourceUnreadable(
            f"the {n_turned} characters of the PDF {path!r} are slanted or run from top to bottom",
            "use an edition with horizontal text: text like this cannot be read",
        )
    n_pages = "1 page" if len(pages) == 1 else f"{len(pages)} pages"
    what = f"the PDF {path!r} has {n_pages} and no text layer"
    if not has_image:
        what, step = f"{what}, and no picture of a page either", "check that it is the right file"
    return SourceWithoutText(what, step)


def _font_step(settings: ExtractSettings) -> str:
    if settings.engine == "pdfium":
        return "read it without them: --set sources.extract.engine=auto"
    return "install these fonts, or get an edition that embeds its fonts"


def page_verdicts(
    document: Document, page: PageLines, settings: ExtractSettings
) -> Iterator[Verdict]:
    """Give the verdicts on what is lost of one page."""
    share, max_unmapped = page.unmapped_share, settings.max_unmapped_share
    if page.lost_fonts:
        names = ", ".join(page.lost_fonts[:5])
        why = f"has text, now left out, in fonts that are neither embedded nor installed: {names}"
        yield page_verdict(document, page.page, "missing_font", why, _font_step(settings))
    if page.error:
        why = f"cannot be read ({page.error})"
        yield page_verdict(
            document, page.page, "unreadable_page", why, "repair it: qpdf in.pdf out.pdf"
        )
    elif is_scan(page):
        why = "shows a picture and no text"
        yield page_verdict(document, page.page, "page_without_text", why, _OCR)
    elif share:
        lost = "its text is left out"
        if share <= max_unmapped:
            lost = "bullets are removed; paragraphs with such characters in them are left out"
        why = f"has characters that its fonts do not map ({share:.1%}); {lost}"
        yield replace(page_verdict(document, page.page, "unmapped_text", why, _OCR), score=share)
    if page.n_turned > _MIN_PAGE_CHARS:
        why = f"has {page.n_turned} characters that run in another direction than the rest"
        step = "if they are the author's text, rotate the page in the PDF"
        yield page_verdict(document, page.page, "turned_text", why, step)


def page_verdict(document: Document, page: int, rule: str, why: str, next_step: str) -> Verdict:
    """Return the verdict that drops something of one page."""
    return Verdict(
        subject_id=f"{document.id}-{page}",  # as the view `pages` has it
        subject="pages",
        rule=rule,
        keep=False,
        reason=f"page {page} {why}",
        next_step=next_step,
        created_at=datetime.now(UTC),
    )


def without_unmapped(draft: Draft) -> Draft:
    """Return a draft that has unmapped characters as boilerplate, which no passage takes in.

    One that stands by itself before or after all else is the bullet of a list, or an ornament:
    only that character goes. Within the text nobody knows what is lost with it.
    """
    if UNKNOWN not in draft.text:
        return draft
    text = _BULLETS.sub("", draft.text)
    if text and UNKNOWN not in text:
        return replace(draft, text=text)
    return replace(draft, kind="boilerplate")

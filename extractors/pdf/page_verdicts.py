"""What is lost of single pages, as verdicts, and the reasons to refuse a whole file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from memoirist.data.schema.errors import SourceError, SourceUnreadable, SourceWithoutText
from memoirist.data.schema.records import Document, Verdict
from memoirist.extractors.blocks import Draft
from memoirist.extractors.pdf.engines.base import unreadable
from memoirist.extractors.pdf.layout.font_encodings import UNKNOWN
from memoirist.extractors.pdf.layout.geometry import PageLines
from memoirist.extractors.settings import ExtractSettings

_BULLETS = re.compile(rf"^(?:{UNKNOWN}\s+)+|(?:\s+{UNKNOWN})+$")
# A picture page with fewer characters than this is a scan with a stamp, not a page of text.
_MIN_PAGE_CHARS = 8
_OCR = "make a text layer: run again with --ocr"


def needs_ocr(page: PageLines, max_unmapped: float) -> bool:
    """Tell whether a page is a picture of text, or text that nobody can read."""
    picture = page.has_image and n_chars(page) < _MIN_PAGE_CHARS
    return picture or unmapped_share(page) > max_unmapped


def n_chars(page: PageLines) -> int:
    """Return how many characters the lines of a page hold."""
    return sum(len(line.text) for line in page.lines)


def unmapped_share(page: PageLines) -> float:
    """Return the share of a page's characters whose meaning its fonts do not tell."""
    unknown = sum(line.text.count(UNKNOWN) for line in page.lines)
    return unknown / n_chars(page) if unknown else 0.0


def refusal(path: str, pages: Sequence[PageLines], settings: ExtractSettings) -> SourceError | None:
    """Return why no text can be taken from the pages of a file, None where some can."""
    broken = [page for page in pages if page.error]
    if len(broken) == len(pages):
        return unreadable(path, f"no page of it can be read: {broken[0].error}")
    written = [page for page in pages if page.lines]
    has_image = any(page.has_image for page in pages)
    step = "scan it better: tesseract was not sure of a word on it" if settings.ocr else _OCR
    if written and all(unmapped_share(page) > settings.max_unmapped_share for page in written):
        return SourceUnreadable(
            f"the fonts of the PDF {path!r} do not say what their characters mean", step
        )
    if sum(map(n_chars, written)) >= (_MIN_PAGE_CHARS if has_image else 1):
        return None
    if n_turned := sum(page.n_turned for page in pages):
        return SourceUnreadable(
            f"the {n_turned} characters of the PDF {path!r} run askew or from top to bottom",
            "give a horizontal edition; vertical writing like this cannot be read",
        )
    counted = "1 page" if len(pages) == 1 else f"{len(pages)} pages"
    if not has_image:
        return SourceWithoutText(
            f"the PDF {path!r} has {counted} and no text layer, and no picture of one",
            "look whether it is the right file",
        )
    return SourceWithoutText(f"the PDF {path!r} has {counted} and no text layer", step)


def page_verdicts(document: Document, page: PageLines, max_unmapped: float) -> Iterator[Verdict]:
    """Give the verdicts on what one page loses."""
    share = unmapped_share(page)
    if page.error:
        why = f"cannot be read ({page.error})"
        yield verdict_on(
            document, page.page, "unreadable_page", why, "mend it: qpdf in.pdf out.pdf"
        )
    elif page.has_image and n_chars(page) < _MIN_PAGE_CHARS:
        yield verdict_on(
            document, page.page, "page_without_text", "shows a picture and no text", _OCR
        )
    elif share:
        lost = "its text is left out"
        if share <= max_unmapped:
            lost = "bullets go, and the paragraphs that have them within are left out"
        why = f"has {share:.1%} of characters that its fonts do not map; {lost}"
        yield replace(verdict_on(document, page.page, "unmapped_text", why, _OCR), score=share)
    if page.n_turned > _MIN_PAGE_CHARS:
        why = f"has {page.n_turned} characters that do not run as the rest of it"
        step = "turn the page in the PDF where they are text of the author"
        yield verdict_on(document, page.page, "turned_text", why, step)


def page_id(document: Document, page: int) -> str:
    """Return the id of a page, as the view `pages` has it."""
    return f"{document.id}-{page}"


def verdict_on(document: Document, page: int, rule: str, why: str, next_step: str) -> Verdict:
    """Return the verdict that drops something of one page."""
    return Verdict(
        subject_id=page_id(document, page),
        subject="pages",
        rule=rule,
        keep=False,
        reason=f"page {page} {why}",
        next_step=next_step,
        created_at=datetime.now(UTC),
    )


def legible(pages: Sequence[PageLines], max_unmapped: float) -> list[PageLines]:
    """Return the pages, without lines where too much of one is unmapped."""
    return [
        replace(page, lines=()) if unmapped_share(page) > max_unmapped else page for page in pages
    ]


def set_aside(draft: Draft) -> Draft:
    """Return a draft that has unmapped characters as boilerplate, which no passage takes in.

    One that stands by itself before or after all else is the bullet of a list, or an ornament: it
    goes alone. Within the text nobody knows what is lost with it.
    """
    if UNKNOWN not in draft.text:
        return draft
    text = _BULLETS.sub("", draft.text)
    if text and UNKNOWN not in text:
        return replace(draft, text=text)
    return replace(draft, kind="boilerplate")

"""Extract a book or an article that is saved as HTML."""

from __future__ import annotations

import re
from pathlib import Path

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.data.schema.records import Rows, Source
from memoirist.extractors.detection.format_registry import Progress
from memoirist.extractors.settings import ExtractSettings
from memoirist.extractors.text.html_elements import Element, parse, read_markup, text_of
from memoirist.extractors.text.html_footnotes import KIND, resolve_notes
from memoirist.extractors.text.plain_text import doubts
from memoirist.extractors.text.plain_text import names as stated_names
from memoirist.extractors.text.roles import is_chrome
from memoirist.extractors.text.text_rows import document_verdict, rows_of
from memoirist.extractors.text.text_unit import Unit
from memoirist.extractors.text.walk import Walk

_MAX_BYTES = 128 << 20
_SITE = re.compile(r"\s+[|·•–—-]\s+[^|·•–—-]{2,40}$")
_BY = re.compile(r",? by (.{3,60})$", re.IGNORECASE)
_ARTICLE_SHARE = 0.3


def names(path: Path) -> tuple[str | None, str | None]:
    """Return title and author as the page's head, or a library's header in it, states them."""
    title, author = stated_names(path)
    if title and author:
        return title, author
    try:
        with path.open("rb") as file:
            root = parse(read_markup(file.read(200_000)).text)
    except OSError:
        return None, None
    if root is None:
        return title, author
    metas = {
        (each.get("name") or each.get("property") or "").lower(): each.get("content")
        for each in root.iter("meta")
    }
    head = next((text_of(each) for each in root.iter("title")), "")
    own = metas.get("dc.title") or metas.get("og:title") or _SITE.sub("", head)
    by = _BY.search(own or "")
    return (
        title or (_BY.sub("", own) if own else None) or None,
        author or metas.get("author") or metas.get("dc.creator") or (by[1] if by else None),
    )


def extract_html(
    source: Source, settings: ExtractSettings, on_progress: Progress | None = None
) -> Rows:
    """Return the blocks of one page; raise SourceUnreadable where it holds no prose."""
    path = Path(source.location)
    if path.stat().st_size > _MAX_BYTES:
        raise SourceUnreadable(
            f"the page {source.location!r} is larger than {_MAX_BYTES >> 20} MiB",
            "save the text itself, without pictures inside it",
        )
    read = read_markup(path.read_bytes())
    root = parse(read.text)
    if root is None:
        raise SourceUnreadable(
            f"the page {source.location!r} holds no HTML", "open it in a browser and save it again"
        )
    verdicts = [document_verdict(source, "encoding", *doubt, keep=True) for doubt in doubts(read)]
    lang = (root.get("lang") or "").split("-")[0].lower() or None
    return rows_of(source, units_of_page(root), lang, verdicts)


def units_of_page(root: Element) -> list[Unit]:
    """Return the units of a whole page, notes resolved, the site's furniture marked."""
    _mark_chrome(root)
    link = {
        ("", value): each
        for each in root.iter()
        for key in ("id", "name")
        if (value := each.get(key))
    }
    resolve_notes([("", root)], link)
    walk = Walk()
    walk.over(root)
    return walk.units


def _mark_chrome(root: Element) -> None:
    """Mark all that is outside the article of a web page, and its menus and banners, as no text."""
    whole = max(1, len(text_of(root)))
    articles = list(root.iter("main", "article"))
    article = max(articles, key=lambda each: len(text_of(each)), default=None)
    if article is not None and len(text_of(article)) < _ARTICLE_SHARE * whole:
        article = None
    if article is not None:
        for around in [article, *article.iterancestors()]:
            for beside in [*around.itersiblings(preceding=True), *around.itersiblings()]:
                if isinstance(beside.tag, str) and beside.tag != "head":
                    beside.set(KIND, "boilerplate")
    for each in root.iter():
        if not isinstance(each.tag, str) or each.tag in {"html", "body", "main", "article"}:
            continue
        # A class alone must not throw the text itself out.
        if is_chrome(each) and len(text_of(each)) < _ARTICLE_SHARE * whole:
            each.set(KIND, "boilerplate")

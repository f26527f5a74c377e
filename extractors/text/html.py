"""Extract a book or an article that is saved as HTML; make units of any HTML tree."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lxml import etree

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.data.schema.records import BlockKind, Rows, Source
from memoirist.data.text.words import ends_sentence
from memoirist.extractors.detection.format_registry import Progress
from memoirist.extractors.settings import ExtractSettings
from memoirist.extractors.text.front_back_matter import header_names
from memoirist.extractors.text.html_elements import (
    KIND,
    Element,
    Role,
    is_site_furniture,
    language_of,
    page_of,
    parse,
    read_markup,
    role_of,
    text_of,
)
from memoirist.extractors.text.html_footnotes import resolve_notes
from memoirist.extractors.text.text_rows import encoding_verdicts, rows_of
from memoirist.extractors.text.text_unit import Unit, clean_text, letters_of
from memoirist.extractors.word_tables import word_set

_MAX_BYTES = 128 << 20
_HEAD_BYTES = 200_000
_SITE = re.compile(r"\s+[|·•–—-]\s+[^|·•–—-]{2,40}$")
_BY = re.compile(r",? by (.{3,60})$", re.IGNORECASE)
_ARTICLE_SHARE = 0.3
TITLE_CHARS = 160
_LINE_CHARS = 75
_CAPTION_CHARS = 120
_STANZA_BREAK = re.compile(r"\n{2,}")
_CREDIT = re.compile(
    r"^(?:photo|copyright|©|courtesy|from an? (?:photo|paint|draw|engrav|portrait|print))", re.I
)
_NO_ALT = "picture"
_HEADINGS = {"h1": 1, "h2": 2, "h3": 3, "h4": 4, "h5": 5, "h6": 6}
_BLOCKS = word_set("html_elements", "blocks") | frozenset(_HEADINGS)
_SKIPPED = word_set("html_elements", "skipped")
_SPACE = re.compile(r"[ \t\r\n\f]+")
_SPACE_IN_LINE = re.compile(r"[ \t\u00a0]+")


def names(path: Path) -> tuple[str | None, str | None]:
    """Return title and author as the page's head, or a library's header in it, states them."""
    title, author = header_names(path)
    if title and author:
        return title, author
    try:
        with path.open("rb") as file:
            root = parse(read_markup(file.read(_HEAD_BYTES)).text)
    except OSError:
        return None, None
    if root is None:
        return title, author
    metas = {
        (meta.get("name") or meta.get("property") or "").lower(): meta.get("content")
        for meta in root.iter("meta")
    }
    head = next((text_of(element) for element in root.iter("title")), "")
    own_title = metas.get("dc.title") or metas.get("og:title") or _SITE.sub("", head)
    by = _BY.search(own_title or "")
    return (
        title or (_BY.sub("", own_title) if own_title else None) or None,
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
            "save it without embedded pictures",
        )
    markup = read_markup(path.read_bytes())
    root = parse(markup.text)
    if root is None:
        raise SourceUnreadable(
            f"the page {source.location!r} contains no HTML",
            "open it in a browser and save it again",
        )
    lang = language_of(root.get("lang"))
    return rows_of(source, units_of_page(root), lang, encoding_verdicts(source, markup))


def units_of_body(body: str) -> list[Unit]:
    """Return the units of an HTML body that another format was converted into."""
    root = parse(f"<body>{body}</body>", xhtml=False)
    return units_of_page(root) if root is not None else []


def units_of_page(root: Element) -> list[Unit]:
    """Return the units of a whole page, notes resolved, the site's furniture marked."""
    _mark_site_furniture(root)
    resolve_notes([("", root)])
    return units_of_tree(root)


def _mark_site_furniture(root: Element) -> None:
    """Mark as boilerplate what is outside the article of a web page, its menus and its banners."""
    whole = max(1, len(text_of(root)))
    article = max(root.iter("main", "article"), key=lambda e: len(text_of(e)), default=None)
    if article is not None and len(text_of(article)) >= _ARTICLE_SHARE * whole:
        for element in [article, *article.iterancestors()]:
            for beside in [*element.itersiblings(preceding=True), *element.itersiblings()]:
                if isinstance(beside.tag, str) and beside.tag != "head":
                    beside.set(KIND, "boilerplate")
    for element in root.iter():
        if not isinstance(element.tag, str) or element.tag in {"html", "body", "main", "article"}:
            continue
        # A class alone must not remove the text itself.
        if is_site_furniture(element) and len(text_of(element)) < _ARTICLE_SHARE * whole:
            element.set(KIND, "boilerplate")


def units_of_tree(root: Element, kind: BlockKind | None = None) -> list[Unit]:
    """Return the units of `root` in reading order, all of them of `kind` where one is given."""
    walk = _Walk()
    walk.visit(root, kind)
    return walk.units


@dataclass(frozen=True, slots=True, kw_only=True)
class _Context:
    """What the elements around a text decide: its kind, and which white space counts."""

    kind: BlockKind | None = None
    fixed: bool = False
    level: int = 0
    pre: bool = False
    verse: bool = False
    line: bool = False
    initial: bool = False
    link: bool = False


class _Walk:
    """One walk over a page; nothing in it recurses, so that no nesting is too deep."""

    def __init__(self) -> None:
        self.units: list[Unit] = []
        self._page: str | None = None
        self._start_page: str | None = None
        self._texts: list[str] = []
        self._n_linked = 0
        self._anchors: list[str] = []
        self._context = _Context()
        self._alt = ""

    def visit(self, root: Element, kind: BlockKind | None) -> None:
        """Add the units of `root`."""
        contexts = [_Context(kind=kind, fixed=kind is not None)]
        events = etree.iterwalk(root, events=("start", "end"))
        for event, element in events:
            tag = element.tag if isinstance(element.tag, str) else ""
            if event == "start":
                skipped = not tag or tag in _SKIPPED
                number = None if skipped else page_of(element)
                if number is not None:
                    self._turn_page(number)
                if skipped or number is not None:
                    events.skip_subtree()
                    contexts.append(contexts[-1])
                else:
                    self._context = self._enter(element, tag, contexts[-1])
                    contexts.append(self._context)
                    self._add(element.text)
            else:
                context = contexts.pop()
                if context.line:
                    self._break_line()
                elif tag in _BLOCKS:
                    self._context = context
                    self._close()
                self._context = contexts[-1]
                self._add(element.tail if element is not root else None)
        self._close()

    def _turn_page(self, number: str) -> None:
        self._page = number or self._page
        if not "".join(self._texts).strip():
            self._start_page = self._page

    def _enter(self, element: Element, tag: str, around: _Context) -> _Context:
        """Return the context inside an element; a block closes the text before it."""
        role = role_of(element, tag)
        is_block = tag in _BLOCKS
        # A line of verse may be its own block inside a stanza, and does not end it.
        line = is_block and around.verse and tag in {"div", "p", "li"} and _is_line(element, role)
        if line:
            self._break_line()
        elif (is_block and tag != "dd") or tag == "dt":
            self._close()
        if tag == "br":
            self._texts.append("\n")
        elif tag in {"img", "image"}:
            self._alt = clean_text(element.get("alt") or "") or _NO_ALT
        elif tag in {"td", "th", "dd"}:
            self._texts.append(" ")
        self._anchors += [name for key in ("id", "name") if (name := element.get(key))]
        return replace(_inner_context(element, role, tag, around), line=line)

    def _break_line(self) -> None:
        """End a line of verse, once."""
        before = "".join(self._texts).rstrip(" ")
        if before and not before.endswith("\n"):
            self._texts.append("\n")

    def _add(self, text: str | None) -> None:
        if not text:
            return
        clean = (_SPACE_IN_LINE if self._context.pre else _SPACE).sub(" ", text)
        if self._context.initial:
            clean = clean.strip()
        if self._context.link:
            self._n_linked += len(clean.strip())
        self._texts.append(clean)

    def _close(self) -> None:
        """Make units of the texts since the last block."""
        text = "".join(self._texts)
        n_linked, anchors = self._n_linked, self._anchors
        self._texts, self._n_linked, self._anchors = [], 0, []
        page, self._start_page = self._start_page, self._page
        if not text.strip():
            self._anchors = anchors
            return
        context = self._context
        if self._alt:
            alt, self._alt = self._alt, ""
            if context.kind is None and not context.level and _is_caption(text, alt):
                context = replace(context, kind="caption")
                # A photographer's name may stand above the caption itself.
                self._alt = "" if letters_of(text) == letters_of(alt) or alt == _NO_ALT else alt
        for n, (kind, part) in enumerate(_parts(text, context)):
            self.units.append(
                Unit(
                    kind=kind,
                    text=part,
                    level=context.level if kind == "heading" else 0,
                    page=page if n == 0 else self._page,
                    fixed=context.fixed,
                    link_share=min(1.0, n_linked / max(1, len(text.strip()))),
                    anchors=anchors if n == 0 else [],
                )
            )


def _inner_context(element: Element, role: Role, tag: str, around: _Context) -> _Context:
    level = around.level
    if tag in _HEADINGS:
        level = _HEADINGS[tag]
    elif tag == "hgroup":
        # The highest level among the headings of a group.
        level = min((_HEADINGS[heading.tag] for heading in element.iter(*_HEADINGS)), default=2)
    elif tag == "p" and around.level:
        level = around.level + 1
    if role.heading and not level and len(text_of(element)) <= TITLE_CHARS:
        level = role.heading
    keeps_kind = around.fixed or role.kind is None
    return _Context(
        kind=around.kind if keeps_kind else role.kind,
        fixed=around.fixed if keeps_kind else role.fixed,
        level=level,
        pre=around.pre or tag == "pre" or role.pre,
        verse=around.verse or role.verse,
        initial=role.initial,
        link=around.link or tag == "a",
    )


def _is_line(element: Element, role: Role) -> bool:
    """Tell whether a block within verse is one line of it, not a stanza of several."""
    if role.stanza:
        return False
    return not any(child.tag == "br" or child.tag in _BLOCKS for child in element.iterdescendants())


def _parts(text: str, context: _Context) -> Iterator[tuple[BlockKind, str]]:
    """Yield kind and text of each unit in the text of one block: paragraphs, stanzas of verse."""
    if context.level and (context.kind is None or not context.fixed):
        yield "heading", clean_text(" ".join(text.split()))
        return
    kind = context.kind
    for part in _STANZA_BREAK.split(clean_text(text)):
        lines = [line for line in part.split("\n") if line.strip()]
        if not lines:
            continue
        if kind in {None, "quote"} and len(lines) > 1:
            if context.verse or _are_verse(lines):
                yield kind or "quote", "\n".join(lines)
            elif context.pre or max(map(len, lines)) <= _LINE_CHARS:
                yield kind or "paragraph", " ".join(lines)
            else:
                # Long lines between single breaks are paragraphs.
                yield from ((kind or "paragraph", line) for line in lines)
        else:
            joined = "\n".join(lines) if context.verse else " ".join(lines)
            yield kind or ("quote" if context.verse else "paragraph"), joined


def _are_verse(lines: Sequence[str]) -> bool:
    """Tell whether breaks make lines of verse or of an address: short, mostly with capitals."""
    if max(map(len, lines)) > _LINE_CHARS:
        return False
    n_capitals = sum(line.lstrip("\"'“‘(«„¿¡—-")[:1].isupper() for line in lines)
    ragged = len(lines) < 4 or max(map(len, lines[:-1])) - min(map(len, lines[:-1])) > 8
    return n_capitals >= 0.6 * len(lines) or ragged


def _is_caption(text: str, alt: str) -> bool:
    """Tell whether the words beside or right below a picture are its caption."""
    words = " ".join(text.split())
    if len(words) > _CAPTION_CHARS:
        return False
    same = letters_of(words) == letters_of(alt)
    return same or not ends_sentence(words) or bool(_CREDIT.match(words))

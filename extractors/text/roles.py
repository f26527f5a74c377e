"""Say what an HTML element is for, by its type, role, class and tag."""

from __future__ import annotations

import re
from dataclasses import dataclass

from memoirist.data.schema.records import BlockKind
from memoirist.extractors.text.html_elements import Element, classes_of, types_of
from memoirist.extractors.text.html_footnotes import KIND
from memoirist.extractors.text.text_unit import spread

_BOILERPLATE_TYPES = spread(
    "titlepage halftitlepage halftitle title-page imprint imprimatur colophon copyright-page cover"
    " copyright seriespage biblioentry bibliography index index-group other-credits credits"
)
_CONTENTS_TYPES = spread("toc loi lot loa lov landmarks page-list directory")
_NOTE_TYPES = spread("footnote endnote rearnote footnotes endnotes rearnotes")
_VERSE_TYPES = re.compile(r"^z3998:(?:poem|verse|song|hymn|lyrics)$")
_VERSE_CLASS = re.compile(
    r"^(?:poem\d*|poetry|poetry-container|verse|verse-?\w*|stanza|lyrics?|song|extract-verse\S*"
    r"|linegroup|lg|canto)$"
)
_STANZA_CLASS = re.compile(r"^(?:stanza|linegroup|lg)$")
_QUOTE_CLASS = re.compile(
    r"^(?:block-?quot(?:e|ation)?s?|extract\S*|letter|epigraph\S*|quot(?:e|ation)|bq)$"
)
_CAPTION_CLASS = re.compile(
    r"^(?:caption\w*|figcaption|fig(?:ure|center|left|right)?|illus\w*|image-?caption"
    r"|wp-caption-text)$"
)
_CONTENTS_CLASS = re.compile(r"^(?:toc\w*|contents|table-?of-?contents|tableofcontents|loi|nav)$")
_BOILERPLATE_CLASS = re.compile(
    r"^(?:pg-?header|pg-?footer|pgheader|pgfooter|pg-?boilerplate|boilerplate"
    r"|copyright(?:-\w+)?|title-?page|booktitlepage\S*"
    r"|imprint|colophon|index|tnotes?|transnotes?|transcriber-?notes?|license|licence)$"
)
_PAGE_CLASS = re.compile(
    r"^(?:page-?num(?:ber)?s?|pageno|pagebreak|page-?break|pgnum|pb|page_?n|folionum"
    r"|x-ebookmaker-pageno)$"
)
_CHROME = spread(
    "cookie cookies consent gdpr comments comment disqus sidebar newsletter related share sharing"
    " social breadcrumb breadcrumbs menu navbar navigation advert advertisement ads promo subscribe"
    " popup modal banner toolbar pagination skip screen-reader-text"
)
_CHROME_ROLES = spread("navigation banner contentinfo search dialog alertdialog complementary menu")
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden")
_TAGS: dict[str, BlockKind] = {
    "blockquote": "quote",
    "figcaption": "caption",
    "caption": "caption",
    "nav": "contents",
    "code": "boilerplate",
    "samp": "boilerplate",
    "kbd": "boilerplate",
    "form": "boilerplate",
    "fieldset": "boilerplate",
}
# Headings that are paragraphs: Gutenberg's "ph2", and what typesetting programs call a title.
_HEADING_CLASS = re.compile(
    r"^(?:p?h(?P<level>[1-6])|chapter[-_]?(?:title|head(?:ing)?|num(?:ber)?|name)"
    r"|chap(?:ter)?(?:title|head)?"
    r"|part[-_]?(?:title|head(?:ing)?|number)|section[-_]?(?:title|head(?:ing)?)|head(?:ing"
    r"|line)?"
    r"|sub[-_]?head(?:ing)?|start-of-book)$"
)
_INITIAL_CLASS = re.compile(r"^(?:drop-?caps?|initial|lettrine|firstletter|first-letter|versal)$")
_INLINE = spread("a span i b em abbr")
_NUMBER = re.compile(r"(\d{1,4}|\b[ivxlcdm]{1,7}\b)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What an element makes of its text; a `sure` kind is kept whatever stands inside."""

    kind: BlockKind | None = None
    sure: bool = False
    verse: bool = False
    stanza: bool = False
    pre: bool = False
    heading: int = 0
    initial: bool = False


def role_of(element: Element, tag: str) -> Role:
    """Return the role of an element by what it says of itself."""
    if element.get(KIND) == "footnote":
        return Role(kind="footnote", sure=True)
    if element.get(KIND) == "boilerplate":
        return Role(kind="boilerplate", sure=True)
    types, classes = types_of(element), classes_of(element)
    told: Role | None = None
    if types or classes or element.get("style"):
        told = _stated(types, classes) if tag not in _INLINE else None
    if element.get("hidden") is not None or _HIDDEN.search(element.get("style") or ""):
        told = told or Role(kind="boilerplate", sure=True)
    return told or _shaped(tag, types, classes) or _by_tag(element, tag)


def _stated(types: set[str], classes: set[str]) -> Role | None:
    """Return the role of a block that names itself as something else than prose."""
    if types & _BOILERPLATE_TYPES or any(map(_BOILERPLATE_CLASS.match, classes)):
        return Role(kind="boilerplate", sure=True)
    if types & _CONTENTS_TYPES or any(map(_CONTENTS_CLASS.match, classes)):
        return Role(kind="contents", sure=True)
    if types & _NOTE_TYPES:
        return Role(kind="footnote", sure=True)
    if any(map(_CAPTION_CLASS.match, classes)):
        return Role(kind="caption", sure=True)
    return None


def _shaped(tag: str, types: set[str], classes: set[str]) -> Role | None:
    """Return the role of verse, headings, drop capitals and quotes that classes name."""
    if any(map(_VERSE_TYPES.match, types)) or any(map(_VERSE_CLASS.match, classes)):
        stanza = any(map(_STANZA_CLASS.match, classes))
        return Role(kind="quote", verse=True, stanza=stanza, pre=tag == "pre")
    if tag in {"div", "p"}:
        for named in filter(None, map(_HEADING_CLASS.match, classes)):
            return Role(heading=int(named["level"] or 2))
    if tag in {"span", "b", "big", "font"} and any(map(_INITIAL_CLASS.match, classes)):
        return Role(initial=True)
    if tag in {"div", "p", "section", "aside"} and any(map(_QUOTE_CLASS.match, classes)):
        return Role(kind="quote")
    return None


def _by_tag(element: Element, tag: str) -> Role:
    if tag == "table":
        return Role(kind=_table_kind(element), sure=True) if _is_plain_table(element) else Role()
    if tag == "pre":
        coded = element.find("code") is not None
        return Role(kind="boilerplate", sure=True, pre=True) if coded else Role(pre=True)
    if tag == "code" and element.getparent() is not None and element.getparent().tag != "pre":
        return Role()
    kind = _TAGS.get(tag)
    return Role(kind=kind, sure=kind not in {None, "quote"})


def _is_plain_table(table: Element) -> bool:
    """Tell whether a table holds short entries, not prose that somebody laid out with it."""
    cells = [" ".join("".join(cell.itertext()).split()) for cell in table.iter("td", "th")]
    words = [len(cell.split()) for cell in cells if cell]
    return bool(words) and max(words) < 60


def _table_kind(table: Element) -> BlockKind:
    links = sum(len("".join(a.itertext())) for a in table.iter("a") if a.get("href"))
    return "contents" if links * 2 > len("".join(table.itertext()).strip()) else "boilerplate"


def page_of(element: Element) -> str | None:
    """Return the number that a page mark shows, "" for one without any, None for others."""
    if "pagebreak" not in types_of(element) and not any(
        map(_PAGE_CLASS.match, classes_of(element))
    ):
        return None
    told = "".join(element.itertext()).strip()
    if len(told) > 20:
        return None
    found = _NUMBER.search(told or element.get("title") or element.get("aria-label") or "")
    return found[1] if found else ""


def is_chrome(element: Element) -> bool:
    """Tell whether the element is a web page's own furniture: menus, comments, cookie banners."""
    if element.get("role") in _CHROME_ROLES or element.get("aria-hidden") == "true":
        return True
    told = f"{element.get('class') or ''} {element.get('id') or ''}".lower()
    tokens = set(re.split(r"[\s_]+", told)) | set(re.split(r"[\s_-]+", told))
    return bool(tokens & _CHROME)

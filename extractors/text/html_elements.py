"""Parse HTML and XHTML safely into one tree, and recognise what each element is for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import entities, escape
from typing import Any, TypeAlias

from lxml import etree

from memoirist.data.schema.records import BlockKind
from memoirist.extractors.text.encoding import Decoded, decode
from memoirist.extractors.word_tables import any_of, table, word_set

# lxml has no types of its own.
Element: TypeAlias = Any
EPUB_TYPE = "epub-type"
# The attribute that marks an element as a note or as boilerplate while a page is read.
KIND = "memoirist-kind"

_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_DOCTYPE = re.compile(r"<!DOCTYPE[^>\[]*(?:\[.*?\]\s*)?>", re.IGNORECASE | re.DOTALL)
_ENTITY = re.compile(r"&([A-Za-z][A-Za-z0-9]{1,31});")
_EMPTY_TAG = re.compile(
    r"<(a|span|div|title|script|style|p|i|b|em|strong|td|li|section|sup|small)(\s[^<>]*)?/>", re.I
)
# Tags for looks alone, which old pages leave open thousands of times.
_STYLE_TAG = re.compile(r"</?(?:font|big|tt|u|s|strike|nobr|basefont|blink)\b[^>]*>", re.I)
_INLINE_TAG = re.compile(r"</?(?:span|b|i|em|strong|a|small|ins|del|q|cite|sub|sup)\b[^>]*>", re.I)
_NESTING_TAG = re.compile(
    r"</?(?:div|section|article|blockquote|ul|ol|li|dl|dd|dt|table|tbody|tr|td|th|center|main)\b[^>]*>",
    re.IGNORECASE,
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_XHTML = re.compile(r"<html[^>]+xmlns\s*=|<\?xml", re.IGNORECASE)
_KEPT_BY_XML = {"amp", "lt", "gt", "quot", "apos"}
_STATED = re.compile(
    rb"<\?xml[^>]+encoding\s*=\s*[\"']([\w-]+)|<meta[^>]+charset\s*=\s*[\"']?\s*([\w-]+)", re.I
)

_BOILERPLATE_TYPES = word_set("html_elements", "boilerplate_types")
_CONTENTS_TYPES = word_set("html_elements", "contents_types")
NOTE_TYPES = word_set("html_elements", "note_types")
_VERSE_TYPES = re.compile(r"^z3998:(?:poem|verse|song|hymn|lyrics)$")
_VERSE_CLASS, _QUOTE_CLASS, _CAPTION_CLASS, _CONTENTS_CLASS, _BOILERPLATE_CLASS, _PAGE_CLASS = (
    re.compile(f"^{any_of('html_elements', f'{kind}_class')}$")
    for kind in ("verse", "quote", "caption", "contents", "boilerplate", "page")
)
_STANZA_CLASS = re.compile(r"^(?:stanza|linegroup|lg)$")
_SITE_CLASSES = word_set("html_elements", "site_classes")
_SITE_ROLES = word_set("html_elements", "site_roles")
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden")
_TAGS: dict[str, BlockKind] = table("html_elements")["tags"]
_HEADING_CLASS = re.compile(f"^{any_of('html_elements', 'heading_class')}$")
_INITIAL_CLASS = re.compile(r"^(?:drop-?caps?|initial|lettrine|firstletter|first-letter|versal)$")
_INLINE = {"a", "span", "i", "b", "em", "abbr"}
_NUMBER = re.compile(r"(\d{1,4}|\b[ivxlcdm]{1,7}\b)")


def read_markup(content: bytes) -> Decoded:
    """Decode a markup file: byte order mark, UTF-8, the encoding it states, then the likeliest."""
    decoded = decode(content)
    stated = _STATED.search(content[:4000])
    if decoded.doubt is None or stated is None:
        return decoded
    name = (stated[1] or stated[2]).decode("ascii")
    try:
        # Browsers take ISO-8859-1 for Windows-1252, and so do the writers of such files.
        encoding = "cp1252" if name.lower() in {"iso-8859-1", "latin1", "us-ascii"} else name
        return Decoded(text=content.decode(encoding), encoding=name)
    except (UnicodeDecodeError, LookupError):
        return decoded


def parse(text: str, *, xhtml: bool | None = None) -> Element | None:
    """Return the root of a page with bare tag names, None where it has no element.

    `xhtml` says that the page must be XML; None decides by its head. XML that is not well formed
    is read as HTML, where an unclosed tag loses no text.
    """
    clean = _without_declarations(text)
    root: Element | None = None
    if xhtml or (xhtml is None and _XHTML.search(text[:1000])):
        root = _parse_xml_text(clean)
    return root if root is not None else _parse_html_text(clean)


def parse_xml(content: bytes) -> Element | None:
    """Return the root of a small XML file such as a package document, None where it is not XML."""
    return _parse_xml_text(_without_declarations(decode(content).text))


def _without_declarations(text: str) -> str:
    return _DOCTYPE.sub("", _DECLARATION.sub("", _CONTROLS.sub(" ", text)), count=1)


def _parse_xml_text(text: str) -> Element | None:
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(_ENTITY.sub(_characters_of, text).encode(), parser)
    except etree.XMLSyntaxError:
        return None
    return _with_bare_names(root)


def _characters_of(match: re.Match[str]) -> str:
    """Return the characters of a named HTML entity; XML knows only five by name."""
    if match[1] in _KEPT_BY_XML:
        return match[0]
    return escape(entities.html5.get(f"{match[1]};", match[0]))


def _parse_html_text(text: str) -> Element | None:
    clean = _EMPTY_TAG.sub(r"<\1\2></\1>", _STYLE_TAG.sub("", text))
    root, too_deep = _parse_html(clean)
    if too_deep:
        # libxml2 drops what is nested deeper than 2,048 tags; paragraphs alone never nest.
        root, _ = _parse_html(_NESTING_TAG.sub("<p>", _INLINE_TAG.sub("", clean)))
    return None if root is None else _with_bare_names(root)


def _parse_html(text: str) -> tuple[Element | None, bool]:
    """Return the root, and whether the page nests deeper than the parser goes."""
    parser = etree.HTMLParser(
        encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True, huge_tree=True
    )
    try:
        root = etree.fromstring(text.encode("utf-8", "replace"), parser)
    except (etree.XMLSyntaxError, ValueError):
        root = None
    return root, any("depth" in fault.message.lower() for fault in parser.error_log)


def _with_bare_names(root: Element) -> Element:
    """Drop namespaces: "epub:type" becomes "epub-type" with either parser."""
    for element in root.iter(etree.Element):
        if isinstance(element.tag, str) and "}" in element.tag:
            element.tag = element.tag.rpartition("}")[2]
        elif isinstance(element.tag, str) and ":" in element.tag:
            element.tag = element.tag.rpartition(":")[2] or "span"
        for name in element.keys():  # noqa: SIM118 - the loop changes the mapping
            if "}" in name or ":" in name:
                space, _, bare = name.lstrip("{").replace(":", "}").rpartition("}")
                new = EPUB_TYPE if bare == "type" and ("idpf" in space or space == "epub") else bare
                if new.isidentifier() or new == EPUB_TYPE:
                    element.set(new, element.get(new) or element.get(name) or "")
    return root


def types_of(element: Element) -> set[str]:
    """Return the roles that the element states by epub:type and role, in lower case."""
    types = f"{element.get(EPUB_TYPE) or ''} {(element.get('role') or '').replace('doc-', '')}"
    return set(types.lower().split())


def classes_of(element: Element) -> set[str]:
    """Return the element's classes in lower case."""
    return set((element.get("class") or "").lower().split())


def text_of(element: Element) -> str:
    """Return all text inside the element, with single spaces."""
    return " ".join("".join(element.itertext()).split())


def language_of(code: str | None) -> str | None:
    """Return the language of a code such as "en-GB", None where there is none."""
    return (code or "").split("-")[0].lower() or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """The effect of an element on its text; a `fixed` kind is kept whatever stands inside."""

    kind: BlockKind | None = None
    fixed: bool = False
    verse: bool = False
    stanza: bool = False
    pre: bool = False
    heading: int = 0
    initial: bool = False


def role_of(element: Element, tag: str) -> Role:
    """Return the role of an element by its type, role, class, style and tag."""
    if element.get(KIND) == "footnote":
        return Role(kind="footnote", fixed=True)
    if element.get(KIND) == "boilerplate":
        return Role(kind="boilerplate", fixed=True)
    types, classes = types_of(element), classes_of(element)
    role = _stated_role(types, classes) if tag not in _INLINE and (types or classes) else None
    if element.get("hidden") is not None or _HIDDEN.search(element.get("style") or ""):
        role = role or Role(kind="boilerplate", fixed=True)
    return role or _shape_role(tag, types, classes) or _tag_role(element, tag)


def _matches(pattern: re.Pattern[str], names: set[str]) -> bool:
    return any(map(pattern.match, names))


def _stated_role(types: set[str], classes: set[str]) -> Role | None:
    """Return the role of a block that states that it is not prose."""
    kind: BlockKind | None = None
    if types & _BOILERPLATE_TYPES or _matches(_BOILERPLATE_CLASS, classes):
        kind = "boilerplate"
    elif types & _CONTENTS_TYPES or _matches(_CONTENTS_CLASS, classes):
        kind = "contents"
    elif types & NOTE_TYPES:
        kind = "footnote"
    elif _matches(_CAPTION_CLASS, classes):
        kind = "caption"
    return Role(kind=kind, fixed=True) if kind else None


def _shape_role(tag: str, types: set[str], classes: set[str]) -> Role | None:
    """Return the role of verse, headings, drop capitals and quotes that classes name."""
    if _matches(_VERSE_TYPES, types) or _matches(_VERSE_CLASS, classes):
        stanza = _matches(_STANZA_CLASS, classes)
        return Role(kind="quote", verse=True, stanza=stanza, pre=tag == "pre")
    if tag in {"div", "p"}:
        for heading in filter(None, map(_HEADING_CLASS.match, classes)):
            return Role(heading=int(heading["level"] or 2))
    if tag in {"span", "b", "big", "font"} and _matches(_INITIAL_CLASS, classes):
        return Role(initial=True)
    if tag in {"div", "p", "section", "aside"} and _matches(_QUOTE_CLASS, classes):
        return Role(kind="quote")
    return None


def _tag_role(element: Element, tag: str) -> Role:
    if tag == "table":
        return Role(kind=_table_kind(element), fixed=True) if _is_plain_table(element) else Role()
    if tag == "pre":
        has_code = element.find("code") is not None
        return Role(kind="boilerplate", fixed=True, pre=True) if has_code else Role(pre=True)
    if tag == "code" and element.getparent() is not None and element.getparent().tag != "pre":
        return Role()
    kind = _TAGS.get(tag)
    return Role(kind=kind, fixed=kind not in {None, "quote"})


def _is_plain_table(table: Element) -> bool:
    """Tell whether a table holds short entries, not prose in the cells of a layout."""
    n_words = [len(text_of(cell).split()) for cell in table.iter("td", "th")]
    return 0 < max(n_words, default=0) < 60


def _table_kind(table: Element) -> BlockKind:
    n_linked = sum(len("".join(a.itertext())) for a in table.iter("a") if a.get("href"))
    return "contents" if n_linked * 2 > len("".join(table.itertext()).strip()) else "boilerplate"


def page_of(element: Element) -> str | None:
    """Return the number of a page mark, "" for a mark without one, None for other elements."""
    if "pagebreak" not in types_of(element) and not _matches(_PAGE_CLASS, classes_of(element)):
        return None
    text = "".join(element.itertext()).strip()
    if len(text) > 20:
        return None
    number = _NUMBER.search(text or element.get("title") or element.get("aria-label") or "")
    return number[1] if number else ""


def is_site_furniture(element: Element) -> bool:
    """Tell whether the element belongs to the web site: menus, comments, cookie banners."""
    if element.get("role") in _SITE_ROLES or element.get("aria-hidden") == "true":
        return True
    names = f"{element.get('class') or ''} {element.get('id') or ''}".lower()
    tokens = set(re.split(r"[\s_]+", names)) | set(re.split(r"[\s_-]+", names))
    return bool(tokens & _SITE_CLASSES)

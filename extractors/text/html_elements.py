"""Parse HTML and XHTML into one tree, safely: no network, no entities of the file's own making."""

from __future__ import annotations

import re
from html import entities, escape
from typing import Any, TypeAlias

from lxml import etree

from memoirist.extractors.text.encoding import Decoded, decode

# lxml has no types of its own.
Element: TypeAlias = Any
EPUB_TYPE = "epub-type"

_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_DOCTYPE = re.compile(r"<!DOCTYPE[^>\[]*(?:\[.*?\]\s*)?>", re.IGNORECASE | re.DOTALL)
_ENTITY = re.compile(r"&([A-Za-z][A-Za-z0-9]{1,31});")
_EMPTY_TAG = re.compile(
    r"<(a|span|div|title|script|style|p|i|b|em|strong|td|li|section|sup|small)(\s[^<>]*)?/>", re.I
)
# Tags for looks alone, which old pages leave open by the thousand.
_EMPTY_WORDS = re.compile(r"</?(?:font|big|tt|u|s|strike|nobr|basefont|blink)\b[^>]*>", re.I)
_INLINE_TAG = re.compile(r"</?(?:span|b|i|em|strong|a|small|ins|del|q|cite|sub|sup)\b[^>]*>", re.I)
_NESTING_TAG = re.compile(
    r"</?(?:div|section|article|blockquote|ul|ol|li|dl|dd|dt|table|tbody|tr|td|th|center|main)\b[^>]*>",
    re.IGNORECASE,
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_XHTML = re.compile(r"<html[^>]+xmlns\s*=|<\?xml", re.IGNORECASE)
_KEPT_BY_XML = {"amp", "lt", "gt", "quot", "apos"}
_UTF8 = ("utf-8", "utf8")
_STATED = re.compile(
    rb"<\?xml[^>]+encoding\s*=\s*[\"']([\w-]+)|<meta[^>]+charset\s*=\s*[\"']?\s*([\w-]+)", re.I
)


def read_markup(content: bytes) -> Decoded:
    """Return the text of a markup file: its mark, UTF-8, what it states, then what reads best."""
    found = decode(content)
    stated = _STATED.search(content[:4000])
    if found.doubt is None or stated is None:
        return found
    name = (stated[1] or stated[2]).decode("ascii")
    try:
        # Browsers take ISO-8859-1 for Windows-1252, and so do the writers of such files.
        real = "cp1252" if name.lower() in {"iso-8859-1", "latin1", "us-ascii"} else name
        return Decoded(text=content.decode(real), encoding=name)
    except (UnicodeDecodeError, LookupError):
        return found


def parse(text: str, *, xhtml: bool | None = None) -> Element | None:
    """Return the root of a page with bare tag names, None where it has no element.

    `xhtml` says that the page must be XML; None leaves it to the page. XML that is not well
    formed is read as HTML, where an unclosed tag swallows nothing.
    """
    clean = _CONTROLS.sub(" ", _DOCTYPE.sub("", _DECLARATION.sub("", text), count=1))
    root: Element | None = None
    if xhtml or (xhtml is None and _XHTML.search(text[:1000])):
        root = _as_xml(clean)
    if root is None:
        root = _as_html(clean)
    if root is not None:
        _bare_names(root)
    return root


def _as_xml(text: str) -> Element | None:
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        return etree.fromstring(_ENTITY.sub(_letter, text).encode(), parser)
    except etree.XMLSyntaxError:
        return None


def _letter(match: re.Match[str]) -> str:
    """Return an HTML entity's own characters, which XML does not know by name."""
    if match[1] in _KEPT_BY_XML:
        return match[0]
    return escape(entities.html5.get(f"{match[1]};", match[0]))


def _as_html(text: str) -> Element | None:
    spread = _EMPTY_TAG.sub(r"<\1\2></\1>", _EMPTY_WORDS.sub("", text))
    root, deep = _parsed(spread)
    # libxml2 drops what stands deeper than 2,048 tags; paragraphs alone never nest.
    flat = _NESTING_TAG.sub("<p>", _INLINE_TAG.sub("", spread)) if deep else ""
    return _parsed(flat)[0] if deep else root


def _parsed(text: str) -> tuple[Element | None, bool]:
    """Return the root, and whether the page nests deeper than the parser goes."""
    parser = etree.HTMLParser(
        encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True, huge_tree=True
    )
    try:
        root = etree.fromstring(text.encode("utf-8", "replace"), parser)
    except (etree.XMLSyntaxError, ValueError):
        root = None
    return root, any("depth" in fault.message.lower() for fault in parser.error_log)


def parse_xml(content: bytes) -> Element | None:
    """Return the root of a small XML file such as a package document, None where it is none."""
    text = _CONTROLS.sub(" ", decode(content).text)
    root = _as_xml(_DOCTYPE.sub("", _DECLARATION.sub("", text), count=1))
    if root is not None:
        _bare_names(root)
    return root


def _bare_names(root: Element) -> None:
    """Drop namespaces: "epub:type" becomes "epub-type" however the page was parsed."""
    for element in root.iter(etree.Element):
        if isinstance(element.tag, str) and "}" in element.tag:
            element.tag = element.tag.rpartition("}")[2]
        elif isinstance(element.tag, str) and ":" in element.tag:
            element.tag = element.tag.rpartition(":")[2] or "span"
        for name in element.keys():  # noqa: SIM118 - the mapping changes while we look
            if "}" in name or ":" in name:
                space, _, bare = name.lstrip("{").replace(":", "}").rpartition("}")
                new = EPUB_TYPE if bare == "type" and ("idpf" in space or space == "epub") else bare
                if new.isidentifier() or new == EPUB_TYPE:
                    element.set(new, element.get(new) or element.get(name) or "")


def types_of(element: Element) -> set[str]:
    """Return what the element says of its role: epub:type, role, and its classes, folded."""
    told = f"{element.get(EPUB_TYPE) or ''} {(element.get('role') or '').replace('doc-', '')}"
    return set(told.lower().split())


def classes_of(element: Element) -> set[str]:
    """Return the element's classes, folded."""
    return set((element.get("class") or "").lower().split())


def text_of(element: Element) -> str:
    """Return all text inside the element, with single spaces."""
    return " ".join("".join(element.itertext()).split())

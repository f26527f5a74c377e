"""Resolve the notes of HTML: marks leave the text, note bodies become footnotes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from posixpath import dirname, join, normpath
from urllib.parse import unquote

from memoirist.extractors.text.html_elements import Element, classes_of, text_of, types_of

KIND = "memoirist-kind"
_MARK = re.compile(
    r"^[\[({]?\s*(?:\d{1,4}|[*†‡§¶‖#]{1,4}|[a-z]{1,2}|[ivxlc]{1,6}|note \d+)\s*[\])}]?[.:]?$", re.I
)
_BACK = re.compile(r"^[\W_]*(?:back|return|zurück|retour|volver)?[\W_]*$", re.IGNORECASE)
_REF_CLASS = re.compile(
    r"^(?:fn-?anchor|footnote-?ref|noteref|footnote-?anchor|footnote-?link|fnref|ref)$"
)
_NOTE_CLASS = re.compile(
    r"^(?:foot|end|side)?-?notes?$|^foot-?note-?(?:body|text|item)?$|^foot$|^fn$"
)
_NOTE_ID = re.compile(
    r"^_?(?:foot|end)?_?-?(?:note|fn|linknote|footnote|footer|ftn|edn|endnote)s?[-_:]?\d", re.I
)
_NOTE_TYPES = {"footnote", "endnote", "rearnote", "footnotes", "endnotes", "rearnotes"}
_REF_TYPES = {"noteref"}
_BLOCKS = {"p", "li", "div", "aside", "dd", "td", "section", "blockquote", "tr"}
_MAX_TITLE_LEVEL = {"h1", "h2", "h3", "h4", "h5", "h6", "nav"}


def resolve_notes(
    pages: Sequence[tuple[str, Element]], link: dict[tuple[str, str], Element]
) -> None:
    """Take note marks out of all pages, and mark the bodies of notes with the kind footnote.

    `pages` are (file, root); `link` maps (file, id) to its element, and (file, "") to the root.
    """
    marks = [found for file, root in pages for found in _marks(file, root, link)]
    named = {id(mark) for mark, _ in marks}
    bodies = [body for _, target in marks if (body := _body_of(target, named)) is not None]
    for _, root in pages:
        bodies += [each for each in root.iter() if _says_note(each)]
    for body in bodies:
        body.set(KIND, "footnote")
    sources = {each.get(key) for mark, _ in marks for each in _near(mark) for key in ("id", "name")}
    for body in {id(body): body for body in bodies}.values():
        _clean_body(body, sources - {None})
    for mark, _ in marks:
        if not any(each.get(KIND) for each in mark.iterancestors()):
            _cut(mark)
    for _, root in pages:
        for each in list(root.iter("a", "sup")):
            if types_of(each) & _REF_TYPES or any(
                map(_REF_CLASS.match, classes_of(each) - {"ref"})
            ):
                _cut(each)


def _near(mark: Element) -> Iterable[Element]:
    yield mark
    yield from mark.iter()
    if mark.getparent() is not None:
        yield mark.getparent()
        if (before := mark.getprevious()) is not None:
            yield before


def _marks(
    file: str, root: Element, link: dict[tuple[str, str], Element]
) -> Iterable[tuple[Element, Element]]:
    """Give each link that is a note's mark with the element that it points at."""
    for each in root.iter("a"):
        href = each.get("href") or ""
        if "#" not in href:
            continue
        path, _, fragment = href.partition("#")
        target = link.get((beside(file, path), fragment))
        if target is None or target is each:
            continue
        text = unicodedata.normalize("NFKC", text_of(each)).strip()
        told = bool(types_of(each) & _REF_TYPES)
        if not told and (not _MARK.match(text) or not _leads_to_note(each, target, text)):
            continue
        yield each, target


def _leads_to_note(mark: Element, target: Element, text: str) -> bool:
    """Tell whether a link of a number or a sign leads to a note rather than a page or chapter."""
    if any(map(_REF_CLASS.match, classes_of(mark))) or _says_note(target):
        return True
    if any(each.tag in _MAX_TITLE_LEVEL for each in mark.iterancestors()) and not text.startswith(
        "["
    ):
        return False
    if target.tag in _MAX_TITLE_LEVEL or (not text_of(target) and _opens_page(target)):
        return False
    inside = [target, *target.iterancestors()][:4]
    if any(_says_note(each) or _NOTE_ID.match(each.get("id") or "") for each in inside):
        return not _is_backlink_place(mark)
    raised = mark.tag == "sup" or any(
        each.tag == "sup" for each in [*mark.iter(), *mark.iterancestors()][:6]
    )
    body = _block(target)
    label = re.escape(text.strip("[](){}. "))
    opens = body is not None and bool(
        re.match(rf"\W{{0,3}}{label}\b|\W{{0,2}}{label}", text_of(body))
    )
    return (raised or text[:1] in "[({*†‡§") and opens and not _is_backlink_place(mark)


def _opens_page(target: Element) -> bool:
    parent = target.getparent()
    return parent is None or parent.tag in {"body", "div", "section"}


def _is_backlink_place(mark: Element) -> bool:
    """Tell whether the link opens its own block, as the number of a note does that leads back."""
    block = _block(mark)
    return (
        block is not None
        and text_of(block).startswith(text_of(mark))
        and (len(text_of(block)) > len(text_of(mark)) + 5)
        and (_says_note(block) or bool(_NOTE_ID.match(mark.get("id") or mark.get("name") or "")))
    )


def beside(file: str, path: str) -> str:
    """Return the name of the entry that a link in `file` leads to."""
    return normpath(join(dirname(file), unquote(path))) if path else file


def _says_note(element: Element) -> bool:
    if not isinstance(element.tag, str) or element.tag in {"a", "sup", "span", "body", "html"}:
        return False
    return bool(types_of(element) & _NOTE_TYPES) or any(map(_NOTE_CLASS.match, classes_of(element)))


def _block(element: Element) -> Element | None:
    return next((each for each in [element, *element.iterancestors()] if each.tag in _BLOCKS), None)


def _body_of(target: Element, marks: set[int]) -> Element | None:
    """Return the element that holds the whole note: its block, or the one around made for it."""
    block = _block(target)
    if block is None or (block.tag in {"section"} and not _says_note(block)):
        return None
    for around in block.iterancestors():
        if around.tag not in {"li", "aside", "dd", "tr"} and not _says_note(around):
            break
        block = around
        if around.tag in {"li", "aside"}:
            break
    held = sum(id(each) in marks for each in block.iter("a"))
    return block if held == 0 or len(text_of(block)) < 5000 else None


def _clean_body(body: Element, sources: set[str | None]) -> None:
    """Cut the links back and the label out of a note."""
    for each in list(body.iter("a")):
        href = each.get("href") or ""
        fragment = href.partition("#")[2]
        text = unicodedata.normalize("NFKC", text_of(each)).strip()
        back = {"backlink", "doc-backlink"} & types_of(each) or fragment in sources
        if (
            (back and (_BACK.match(text) or _MARK.match(text) or len(text) < 3))
            or (href.startswith("#") and _BACK.match(text))
            or (not href and _MARK.match(text) and text_of(body).startswith(text_of(each)))
        ):
            _cut(each)
    for each in list(body.iter("span", "sup", "small"))[:3]:
        label = unicodedata.normalize("NFKC", text_of(each)).strip()
        if label and _MARK.match(label) and text_of(body).startswith(text_of(each)):
            _cut(each)
            break


def _cut(element: Element) -> None:
    """Take an element out and leave the text behind it."""
    parent = element.getparent()
    if parent is None:
        return
    tail = element.tail or ""
    before = element.getprevious()
    if before is not None:
        before.tail = (before.tail or "") + tail
    else:
        parent.text = (parent.text or "") + tail
    element.tail = None
    parent.remove(element)
    # <sup>, <span> and brackets around the mark alone go with it.
    empty = not re.sub(r"[\[\](){}\s]", "", text_of(parent))
    if empty and parent.tag in {"sup", "span", "small"} and next(parent.iter("img"), None) is None:
        _cut(parent)

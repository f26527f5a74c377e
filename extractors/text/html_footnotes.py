"""Find the notes of HTML pages by their links: marks leave the text, notes become footnotes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from posixpath import dirname, join, normpath
from urllib.parse import unquote

from extractors.text.html_elements import KIND, NOTE_TYPES, Element, classes_of, text_of, types_of

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
_REF_TYPES = {"noteref"}
_BLOCKS = {"p", "li", "div", "aside", "dd", "td", "section", "blockquote", "tr"}
_TITLES = {"h1", "h2", "h3", "h4", "h5", "h6", "nav"}


def resolve_notes(pages: Sequence[tuple[str, Element]]) -> None:
    """Take note marks out of all pages, and mark the bodies of notes with the kind footnote.

    `pages` are (file, root); a note may stand in another file than its mark.
    """
    targets = {
        (file, name): element
        for file, root in pages
        for element in root.iter()
        for key in ("id", "name")
        if (name := element.get(key))
    }
    marks = [pair for file, root in pages for pair in _marks(file, root, targets)]
    mark_ids = {id(mark) for mark, _ in marks}
    bodies = [body for _, target in marks if (body := _body_of(target, mark_ids)) is not None]
    for _, root in pages:
        bodies += [element for element in root.iter() if _states_note(element)]
    for body in bodies:
        body.set(KIND, "footnote")
    back_names = {
        element.get(key) for mark, _ in marks for element in _near(mark) for key in ("id", "name")
    }
    for body in {id(body): body for body in bodies}.values():
        _clean_body(body, back_names - {None})
    for mark, _ in marks:
        if not any(element.get(KIND) for element in mark.iterancestors()):
            _remove(mark)
    for _, root in pages:
        for element in list(root.iter("a", "sup")):
            is_mark = types_of(element) & _REF_TYPES
            if is_mark or any(map(_REF_CLASS.match, classes_of(element) - {"ref"})):
                _remove(element)


def _near(mark: Element) -> Iterator[Element]:
    """Yield the elements whose id a note's link back may name."""
    yield mark
    yield from mark.iter()
    if mark.getparent() is not None:
        yield mark.getparent()
        if (before := mark.getprevious()) is not None:
            yield before


def _marks(
    file: str, root: Element, targets: dict[tuple[str, str], Element]
) -> Iterator[tuple[Element, Element]]:
    """Yield each link that is a note's mark with the element that it leads to."""
    for link in root.iter("a"):
        path, hash_sign, fragment = (link.get("href") or "").partition("#")
        if not hash_sign:
            continue
        target = targets.get((resolve_path(file, path), fragment))
        if target is None or target is link:
            continue
        text = _mark_text(link)
        if types_of(link) & _REF_TYPES or (
            _MARK.match(text) and _leads_to_note(link, target, text)
        ):
            yield link, target


def _mark_text(element: Element) -> str:
    return unicodedata.normalize("NFKC", text_of(element)).strip()


def _leads_to_note(mark: Element, target: Element, text: str) -> bool:
    """Tell whether a link of a number or a sign leads to a note, not to a page or a chapter."""
    if any(map(_REF_CLASS.match, classes_of(mark))) or _states_note(target):
        return True
    in_title = any(element.tag in _TITLES for element in mark.iterancestors())
    if in_title and not text.startswith("["):
        return False
    if target.tag in _TITLES or (not text_of(target) and _opens_page(target)):
        return False
    around = [target, *target.iterancestors()][:4]
    if any(_states_note(parent) or _NOTE_ID.match(parent.get("id") or "") for parent in around):
        return not _is_link_back(mark)
    raised = mark.tag == "sup" or any(
        element.tag == "sup" for element in [*mark.iter(), *mark.iterancestors()][:6]
    )
    body = _block_of(target)
    label = re.escape(text.strip("[](){}. "))
    opens = body is not None and bool(
        re.match(rf"\W{{0,3}}{label}\b|\W{{0,2}}{label}", text_of(body))
    )
    return (raised or text[:1] in "[({*†‡§") and opens and not _is_link_back(mark)


def _opens_page(target: Element) -> bool:
    parent = target.getparent()
    return parent is None or parent.tag in {"body", "div", "section"}


def _is_link_back(mark: Element) -> bool:
    """Tell whether the link opens its own block, as the number of a note that leads back does."""
    block = _block_of(mark)
    if block is None:
        return False
    text, label = text_of(block), text_of(mark)
    if not text.startswith(label) or len(text) <= len(label) + 5:
        return False
    return _states_note(block) or bool(_NOTE_ID.match(mark.get("id") or mark.get("name") or ""))


def resolve_path(file: str, path: str) -> str:
    """Return the name of the archive's entry that a link in `file` leads to."""
    return normpath(join(dirname(file), unquote(path))) if path else file


def _states_note(element: Element) -> bool:
    if not isinstance(element.tag, str) or element.tag in {"a", "sup", "span", "body", "html"}:
        return False
    return bool(types_of(element) & NOTE_TYPES) or any(map(_NOTE_CLASS.match, classes_of(element)))


def _block_of(element: Element) -> Element | None:
    around = [element, *element.iterancestors()]
    return next((block for block in around if block.tag in _BLOCKS), None)


def _body_of(target: Element, mark_ids: set[int]) -> Element | None:
    """Return the element that holds the whole note: its block, or a note element around it."""
    block = _block_of(target)
    if block is None or (block.tag == "section" and not _states_note(block)):
        return None
    for parent in block.iterancestors():
        if parent.tag not in {"li", "aside", "dd", "tr"} and not _states_note(parent):
            break
        block = parent
        if parent.tag in {"li", "aside"}:
            break
    has_marks = any(id(link) in mark_ids for link in block.iter("a"))
    return block if not has_marks or len(text_of(block)) < 5000 else None


def _clean_body(body: Element, back_names: set[str | None]) -> None:
    """Remove the links back and the label from a note."""
    for link in list(body.iter("a")):
        href = link.get("href") or ""
        text = _mark_text(link)
        fragment = href.partition("#")[2]
        is_back = {"backlink", "doc-backlink"} & types_of(link) or fragment in back_names
        if (
            (is_back and (_BACK.match(text) or _MARK.match(text) or len(text) < 3))
            or (href.startswith("#") and _BACK.match(text))
            or (not href and _MARK.match(text) and text_of(body).startswith(text_of(link)))
        ):
            _remove(link)
    for element in list(body.iter("span", "sup", "small"))[:3]:
        if _MARK.match(_mark_text(element)) and text_of(body).startswith(text_of(element)):
            _remove(element)
            break


def _remove(element: Element) -> None:
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
    # An element with nothing but brackets around the mark goes with it.
    is_empty = not re.sub(r"[\[\](){}\s]", "", text_of(parent))
    has_picture = next(parent.iter("img"), None) is not None
    if is_empty and parent.tag in {"sup", "span", "small"} and not has_picture:
        _remove(parent)

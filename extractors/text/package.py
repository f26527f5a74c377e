"""Read an EPUB's package: its container, manifest, spine, metadata and navigation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.data.schema.records import BlockKind
from memoirist.extractors.text.archive import Archive, EntryUnreadable, locked, unreadable_entry
from memoirist.extractors.text.html_elements import Element, parse_xml, text_of, types_of
from memoirist.extractors.text.html_footnotes import beside
from memoirist.extractors.text.text_unit import spread

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
# Hidden fonts are no lock: the EPUB standard's way and Adobe's.
_FONT_ALGORITHMS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
_PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml", "text/x-oeb1-document")
# What the guide of EPUB 2 and the landmarks of EPUB 3 call the pages that are not prose.
_GUIDE: dict[str, BlockKind] = {
    **dict.fromkeys(
        spread(
            "cover title-page titlepage halftitlepage copyright-page copyright colophon imprint"
            " index bibliography other.license"
        ),
        "boilerplate",
    ),
    **dict.fromkeys(spread("toc loi lot"), "contents"),
    **dict.fromkeys(spread("notes footnotes endnotes rearnotes"), "footnote"),
}
_MAX_NAV_DEPTH = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One file of the spine; `kind` is what the book's guide says that it is."""

    name: str
    linear: bool
    kind: BlockKind | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What the package document says of a book.

    `titles` are (file, fragment, title, level) of the navigation, in its order.
    """

    pages: tuple[Page, ...]
    title: str | None
    author: str | None
    lang: str | None
    rights: str | None
    titles: tuple[tuple[str, str, str, int], ...] = field(default_factory=tuple)


def read_package(archive: Archive, location: str) -> Package:
    """Return the package of an EPUB; raise SourceEncrypted or SourceUnreadable."""
    name = _package_name(archive, location)
    try:
        root = parse_xml(archive.read(name))
    except EntryUnreadable as fault:
        raise unreadable_entry(location, "EPUB", name, str(fault)) from fault
    if root is None:
        raise unreadable_entry(location, "EPUB", name, "it is no XML")
    manifest = {
        each.get("id") or "": (
            beside(name, each.get("href") or ""),
            each.get("media-type") or "",
            set((each.get("properties") or "").split()),
        )
        for each in root.iter("item")
    }
    titles, told = _navigation(archive, manifest, root, name)
    pages = tuple(_spine(root, manifest, {**_guide(root, name), **told}))
    _refuse_locked(archive, {page.name for page in pages}, location)
    if not pages:
        raise SourceUnreadable(
            f"the EPUB {location!r} names no page to read",
            "open it in an e-book program and export it again",
        )
    return Package(
        pages=pages,
        title=next(_metadata(root, "title"), None),
        author=", ".join(_authors(root)) or None,
        lang=(next(_metadata(root, "language"), "").split("-")[0].lower()) or None,
        rights=next(_metadata(root, "rights"), None),
        titles=tuple(titles),
    )


def _package_name(archive: Archive, location: str) -> str:
    try:
        root = parse_xml(archive.read(_CONTAINER))
    except EntryUnreadable:
        root = None
    named: list[str | None] = (
        [each.get("full-path") for each in root.iter("rootfile")] if root is not None else []
    )
    found: list[str] = [name for name in named if name and archive.find(name)]
    found = found or [name for name in archive.names if name.lower().endswith(".opf")]
    if not found:
        raise SourceUnreadable(
            f"the EPUB {location!r} has no package document (.opf)",
            "check that it is an e-book; other zip files are not read",
        )
    return found[0]


def _spine(
    root: Element,
    manifest: dict[str, tuple[str, str, set[str]]],
    told: dict[str, BlockKind],
) -> Iterator[Page]:
    for each in root.iter("itemref"):
        name, media, properties = manifest.get(each.get("idref") or "", ("", "", set()))
        if not name or (
            media not in _PAGES and not name.lower().endswith((".xhtml", ".html", ".htm"))
        ):
            continue
        kind: BlockKind | None = "contents" if "nav" in properties else told.get(name)
        yield Page(name=name, linear=each.get("linear") != "no", kind=kind)


def _guide(root: Element, name: str) -> dict[str, BlockKind]:
    found: dict[str, BlockKind] = {}
    for each in root.iter("reference"):
        path, _, fragment = (each.get("href") or "").partition("#")
        kind = _GUIDE.get((each.get("type") or "").lower())
        if kind and path and not fragment:
            found[beside(name, path)] = kind
    return found


def _metadata(root: Element, name: str) -> Iterator[str]:
    for each in root.iter(name):
        if text := text_of(each):
            yield text


def _authors(root: Element) -> list[str]:
    """Return the names of those who wrote: creators whose role is not another one."""
    roles = {
        (each.get("refines") or "").lstrip("#"): text_of(each)
        for each in root.iter("meta")
        if each.get("property") == "role"
    }
    found = []
    for each in root.iter("creator"):
        role = each.get("role") or roles.get(each.get("id") or "", "aut")
        if role in {"aut", ""} and (name := text_of(each)) and name not in found:
            found.append(name)
    return found


def _navigation(
    archive: Archive,
    manifest: dict[str, tuple[str, str, set[str]]],
    package: Element,
    package_name: str,
) -> tuple[list[tuple[str, str, str, int]], dict[str, BlockKind]]:
    """Return the chapter titles, and the kinds of pages that the landmarks name."""
    nav = next((name for name, _, told in manifest.values() if "nav" in told), None)
    ncx = next(
        (n for n, media, _ in manifest.values() if media == "application/x-dtbncx+xml"), None
    )
    told: dict[str, BlockKind] = {}
    for name in (nav, ncx):
        root = _tree(archive, name)
        if root is None or name is None:
            continue
        titles = list(_nav_titles(root, name) if root.tag != "ncx" else _ncx_titles(root, name))
        told |= _landmarks(root, name)
        if titles:
            return titles, told
    return [], told


def _tree(archive: Archive, name: str | None) -> Element | None:
    try:
        return parse_xml(archive.read(name)) if name else None
    except EntryUnreadable:
        # The headings of the pages themselves serve as well.
        return None


def _nav_titles(root: Element, name: str) -> Iterator[tuple[str, str, str, int]]:
    for nav in root.iter("nav"):
        if types_of(nav) & {"landmarks", "page-list"}:
            continue
        for link in nav.iter("a"):
            depth = sum(each.tag in {"ol", "ul"} for each in link.iterancestors())
            yield from _title(name, link.get("href"), text_of(link), depth)
        return


def _ncx_titles(root: Element, name: str) -> Iterator[tuple[str, str, str, int]]:
    for point in root.iter("navPoint"):
        label, content = point.find("navLabel"), point.find("content")
        depth = 1 + sum(each.tag == "navPoint" for each in point.iterancestors())
        if label is not None and content is not None:
            yield from _title(name, content.get("src"), text_of(label), depth)


def _title(
    name: str, href: str | None, text: str, depth: int
) -> Iterator[tuple[str, str, str, int]]:
    path, _, fragment = (href or "").partition("#")
    if text and path:
        yield beside(name, path), fragment, text, min(max(1, depth), _MAX_NAV_DEPTH)


def _landmarks(root: Element, name: str) -> dict[str, BlockKind]:
    found: dict[str, BlockKind] = {}
    for nav in root.iter("nav"):
        if "landmarks" not in types_of(nav):
            continue
        for link in nav.iter("a"):
            path, _, fragment = (link.get("href") or "").partition("#")
            for told in types_of(link):
                if path and not fragment and told in _GUIDE:
                    found[beside(name, path)] = _GUIDE[told]
    return found


def _refuse_locked(archive: Archive, pages: set[str], location: str) -> None:
    """Raise SourceEncrypted where pages are encrypted; hidden fonts alone lock nothing."""
    if archive.find(_ENCRYPTION) is None:
        return
    try:
        root = parse_xml(archive.read(_ENCRYPTION))
    except EntryUnreadable:
        return
    for each in root.iter("EncryptedData") if root is not None else ():
        method = next(each.iter("EncryptionMethod"), None)
        if method is not None and method.get("Algorithm") in _FONT_ALGORITHMS:
            continue
        named = {beside("", ref.get("URI") or "") for ref in each.iter("CipherReference")}
        if named & pages or any(
            name.lower().endswith((".xhtml", ".html", ".htm", ".opf")) for name in named
        ):
            raise locked(location, "EPUB")

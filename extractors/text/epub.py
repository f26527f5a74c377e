"""Extract a book from an EPUB: its package document, its navigation, the pages of its spine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from memoirist.data.schema.errors import SourceEncrypted, SourceError, SourceUnreadable
from memoirist.data.schema.records import BlockKind, Rows, Source, Verdict
from memoirist.extractors.detection.format_registry import Progress
from memoirist.extractors.settings import ExtractSettings
from memoirist.extractors.text.archive import (
    REPAIR,
    Archive,
    EntryUnreadable,
    open_archive,
    unreadable_entry,
)
from memoirist.extractors.text.html import TITLE_CHARS, units_of_tree
from memoirist.extractors.text.html_elements import (
    Element,
    language_of,
    parse,
    parse_xml,
    read_markup,
    text_of,
    types_of,
)
from memoirist.extractors.text.html_footnotes import resolve_notes, resolve_path
from memoirist.extractors.text.text_rows import document_verdict, rows_of
from memoirist.extractors.text.text_unit import Unit, letters_of
from memoirist.extractors.word_tables import table

_MAX_MATTER_CHARS = 60_000
_BODY = {"paragraph", "quote"}
_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
# Obfuscated fonts are no lock: the EPUB standard's way and Adobe's.
_FONT_ALGORITHMS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
_PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml", "text/x-oeb1-document")
_GUIDE: dict[str, BlockKind] = {
    word: kind for kind, words in table("html_elements")["guide"].items() for word in words.split()
}
_MAX_NAV_DEPTH = 20
_PAGE_SUFFIXES = (".xhtml", ".html", ".htm")

# File and type and properties of each entry of the manifest, by its id.
_Manifest = dict[str, tuple[str, str, set[str]]]
# A title of the navigation: file, fragment, title, level.
_Title = tuple[str, str, str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One file of the spine; `kind` is what the book's guide says that it is."""

    name: str
    kind: BlockKind | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """The content of a book's package document, and the titles of its navigation in order."""

    pages: tuple[Page, ...]
    title: str | None
    author: str | None
    lang: str | None
    rights: str | None
    titles: tuple[_Title, ...]


def names(path: Path) -> tuple[str | None, str | None]:
    """Return title and author as the book's package states them."""
    try:
        with open_archive(str(path), "EPUB") as archive:
            package = _read_package(archive, str(path))
    except (SourceError, OSError):
        # The extract step raises it again, where it becomes the source's verdict.
        return None, None
    return package.title, package.author


def extract_epub(
    source: Source, settings: ExtractSettings, on_progress: Progress | None = None
) -> Rows:
    """Return the book's blocks and a verdict on every page of it that cannot be read.

    Raise SourceEncrypted for a book under DRM, SourceUnreadable for one without pages or prose.
    """
    with open_archive(source.location, "EPUB") as archive:
        package = _read_package(archive, source.location)
        pages, faults = _read_pages(archive, package)
    if not pages:
        raise SourceUnreadable(
            f"no page of the EPUB {source.location!r} can be read: {faults[0][1]}", REPAIR
        )
    resolve_notes([(page.name, root) for page, root in pages])
    units: list[Unit] = []
    if package.rights:
        # No page states the rights that the package states; the ledger of rights reads the blocks.
        units.append(Unit(kind="boilerplate", text=package.rights, fixed=True))
    for n_done, (page, root) in enumerate(pages, start=1):
        units += _page_units(page, root, package)
        if on_progress:
            on_progress(n_done, len(pages))
    return rows_of(source, units, package.lang, [_page_verdict(source, *fault) for fault in faults])


def _read_pages(
    archive: Archive, package: Package
) -> tuple[list[tuple[Page, Element]], list[tuple[str, str]]]:
    """Return the pages as trees, and (file, reason) of those that cannot be read."""
    pages: list[tuple[Page, Element]] = []
    faults: list[tuple[str, str]] = []
    for page in package.pages:
        try:
            root = parse(read_markup(archive.read(page.name)).text, xhtml=True)
        except EntryUnreadable as fault:
            faults.append((page.name, str(fault)))
            continue
        if root is None:
            faults.append((page.name, "it contains no markup"))
        else:
            pages.append((page, root))
    return pages, faults


def _page_verdict(source: Source, name: str, reason: str) -> Verdict:
    verdict = document_verdict(
        source,
        "unreadable_page",
        f"the page {name!r} cannot be read: {reason}",
        "get a complete copy of the book; the other pages are read",
    )
    return replace(verdict, subject="pages")


def _page_units(page: Page, root: Element, package: Package) -> list[Unit]:
    # A guide may call a book's only file its title page: so much text is none.
    units = units_of_tree(root, page.kind if len(text_of(root)) < _MAX_MATTER_CHARS else None)
    if not units:
        return []
    units[0].anchors.insert(0, "")
    titles = {
        fragment: (title, level)
        for name, fragment, title, level in package.titles
        if name == page.name
    }
    return _with_titles(units, titles)


def _with_titles(units: Sequence[Unit], titles: dict[str, tuple[str, int]]) -> list[Unit]:
    """Return the units with the navigation's (title, level) by anchor as headings.

    A short unit with the words of the title becomes the heading; without one, a heading is added.
    """
    result: list[Unit] = []
    for at, unit in enumerate(units):
        for anchor in unit.anchors:
            title, level = titles.pop(anchor, ("", 0))
            near = units[at : at + 4]
            if not title or unit.fixed or any(other.kind == "heading" for other in near[:3]):
                continue
            same = next((other for other in near if _is_title(other, title)), None)
            if same is not None:
                same.kind, same.level = "heading", level
            elif unit.kind in _BODY:
                result.append(Unit(kind="heading", text=title, level=level, page=unit.page))
        result.append(unit)
    return result


def _is_title(unit: Unit, title: str) -> bool:
    if unit.fixed or unit.kind not in _BODY or len(unit.text) > TITLE_CHARS:
        return False
    letters, title_letters = letters_of(unit.text), letters_of(title)
    return bool(letters) and (letters in title_letters or title_letters in letters)


def _read_package(archive: Archive, location: str) -> Package:
    """Return the package of an EPUB; raise SourceEncrypted or SourceUnreadable."""
    name = _package_name(archive, location)
    try:
        root = parse_xml(archive.read(name))
    except EntryUnreadable as fault:
        raise unreadable_entry(location, "EPUB", name, str(fault)) from fault
    if root is None:
        raise unreadable_entry(location, "EPUB", name, "it is not XML")
    manifest: _Manifest = {
        item.get("id") or "": (
            resolve_path(name, item.get("href") or ""),
            item.get("media-type") or "",
            set((item.get("properties") or "").split()),
        )
        for item in root.iter("item")
    }
    titles, kinds = _navigation(archive, manifest)
    pages = tuple(_spine(root, manifest, {**_guide(root, name), **kinds}))
    _refuse_encrypted(archive, {page.name for page in pages}, location)
    if not pages:
        raise SourceUnreadable(
            f"the EPUB {location!r} names no page to read",
            "open it in an e-book program and export it again",
        )
    return Package(
        pages=pages,
        title=_metadata(root, "title"),
        author=", ".join(_authors(root)) or None,
        lang=language_of(_metadata(root, "language")),
        rights=_metadata(root, "rights"),
        titles=tuple(titles),
    )


def _package_name(archive: Archive, location: str) -> str:
    root = _read_xml(archive, _CONTAINER)
    stated = [file.get("full-path") for file in root.iter("rootfile")] if root is not None else []
    candidates: list[str] = [
        *(name for name in stated if name and archive.find(name)),
        *(name for name in archive.names if name.lower().endswith(".opf")),
    ]
    if not candidates:
        raise SourceUnreadable(
            f"the EPUB {location!r} has no package document (.opf)",
            "check that it is an e-book; other zip files are not read",
        )
    return candidates[0]


def _spine(root: Element, manifest: _Manifest, kinds: dict[str, BlockKind]) -> Iterator[Page]:
    for item in root.iter("itemref"):
        name, media, properties = manifest.get(item.get("idref") or "", ("", "", set()))
        if name and (media in _PAGES or name.lower().endswith(_PAGE_SUFFIXES)):
            yield Page(name=name, kind="contents" if "nav" in properties else kinds.get(name))


def _guide(root: Element, name: str) -> dict[str, BlockKind]:
    """Return the kinds of pages that the guide of EPUB 2 states."""
    return {
        page: kind
        for reference in root.iter("reference")
        for page, kind in _page_kinds(name, reference.get("href"), {reference.get("type") or ""})
    }


def _page_kinds(name: str, href: str | None, types: set[str]) -> Iterator[tuple[str, BlockKind]]:
    """Yield the page that a link leads to with the kind that its types state, if they state one."""
    path, _, fragment = (href or "").partition("#")
    for stated in types:
        kind = _GUIDE.get(stated.lower())
        if kind and path and not fragment:
            yield resolve_path(name, path), kind


def _metadata(root: Element, name: str) -> str | None:
    return next((text for element in root.iter(name) if (text := text_of(element))), None)


def _authors(root: Element) -> list[str]:
    """Return the names of those who wrote: creators without another role."""
    roles = {
        (meta.get("refines") or "").lstrip("#"): text_of(meta)
        for meta in root.iter("meta")
        if meta.get("property") == "role"
    }
    authors = [
        text_of(creator)
        for creator in root.iter("creator")
        if (creator.get("role") or roles.get(creator.get("id") or "", "aut")) in {"aut", ""}
    ]
    return list(dict.fromkeys(filter(None, authors)))


def _navigation(archive: Archive, manifest: _Manifest) -> tuple[list[_Title], dict[str, BlockKind]]:
    """Return the chapter titles, and the kinds of pages that the landmarks state."""
    items = manifest.values()
    nav = next((name for name, _, properties in items if "nav" in properties), None)
    ncx = next((name for name, media, _ in items if media == "application/x-dtbncx+xml"), None)
    kinds: dict[str, BlockKind] = {}
    for name in filter(None, (nav, ncx)):
        root = _read_xml(archive, name)
        if root is None:
            continue
        titles = list(_nav_titles(root, name) if root.tag != "ncx" else _ncx_titles(root, name))
        kinds |= _landmarks(root, name)
        if titles:
            return titles, kinds
    return [], kinds


def _read_xml(archive: Archive, name: str) -> Element | None:
    """Return the root of an entry that a book can do without, None where it cannot be read."""
    try:
        return parse_xml(archive.read(name))
    except EntryUnreadable:
        return None


def _nav_titles(root: Element, name: str) -> Iterator[_Title]:
    for nav in root.iter("nav"):
        if types_of(nav) & {"landmarks", "page-list"}:
            continue
        for link in nav.iter("a"):
            depth = sum(parent.tag in {"ol", "ul"} for parent in link.iterancestors())
            yield from _title(name, link.get("href"), text_of(link), depth)
        return


def _ncx_titles(root: Element, name: str) -> Iterator[_Title]:
    for point in root.iter("navPoint"):
        label, content = point.find("navLabel"), point.find("content")
        depth = 1 + sum(parent.tag == "navPoint" for parent in point.iterancestors())
        if label is not None and content is not None:
            yield from _title(name, content.get("src"), text_of(label), depth)


def _title(name: str, href: str | None, text: str, depth: int) -> Iterator[_Title]:
    path, _, fragment = (href or "").partition("#")
    if text and path:
        yield resolve_path(name, path), fragment, text, min(max(1, depth), _MAX_NAV_DEPTH)


def _landmarks(root: Element, name: str) -> dict[str, BlockKind]:
    """Return the kinds of pages that the landmarks of EPUB 3 state."""
    return {
        page: kind
        for nav in root.iter("nav")
        if "landmarks" in types_of(nav)
        for link in nav.iter("a")
        for page, kind in _page_kinds(name, link.get("href"), types_of(link))
    }


def _refuse_encrypted(archive: Archive, pages: set[str], location: str) -> None:
    """Raise SourceEncrypted where pages are encrypted; obfuscated fonts alone lock nothing."""
    root = _read_xml(archive, _ENCRYPTION)
    for data in root.iter("EncryptedData") if root is not None else ():
        method = next(data.iter("EncryptionMethod"), None)
        if method is not None and method.get("Algorithm") in _FONT_ALGORITHMS:
            continue
        locked = {resolve_path("", ref.get("URI") or "") for ref in data.iter("CipherReference")}
        if locked & pages or any(n.lower().endswith((*_PAGE_SUFFIXES, ".opf")) for n in locked):
            raise SourceEncrypted(
                f"the EPUB {location!r} is encrypted (DRM); only its own reading program can"
                " open it",
                "use an edition without DRM, or ask the publisher for one",
            )

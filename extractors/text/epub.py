"""Extract a book from an EPUB: the pages of its spine in order, one page's fault apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from memoirist.data.schema.errors import SourceError, SourceUnreadable
from memoirist.data.schema.records import Rows, Source, Verdict
from memoirist.extractors.detection.format_registry import Progress
from memoirist.extractors.settings import ExtractSettings
from memoirist.extractors.text.archive import Archive, EntryUnreadable, open_archive
from memoirist.extractors.text.html_elements import Element, parse, read_markup, text_of
from memoirist.extractors.text.html_footnotes import resolve_notes
from memoirist.extractors.text.navigation import with_titles
from memoirist.extractors.text.package import Package, Page, read_package
from memoirist.extractors.text.text_rows import document_verdict, rows_of
from memoirist.extractors.text.text_unit import Unit
from memoirist.extractors.text.walk import Walk

_MAX_MATTER_CHARS = 60_000


def names(path: Path) -> tuple[str | None, str | None]:
    """Return title and author as the book's package states them."""
    try:
        with open_archive(str(path), "EPUB") as archive:
            package = read_package(archive, str(path))
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
        package = read_package(archive, source.location)
        pages, faults = _pages(archive, package)
    if not pages:
        raise SourceUnreadable(
            f"no page of the EPUB {source.location!r} can be read: {faults[0][1]}",
            "get a whole copy of it; `unzip -t FILE` names the broken part",
        )
    link = {
        (page.name, value): each
        for page, root in pages
        for each in root.iter()
        for key in ("id", "name")
        if (value := each.get(key))
    }
    resolve_notes([(page.name, root) for page, root in pages], link)
    units: list[Unit] = []
    if package.rights:
        # What the package says of rights stands nowhere on a page; the ledger reads it here.
        units.append(Unit(kind="boilerplate", text=package.rights, sure=True))
    for done, (page, root) in enumerate(pages, start=1):
        units += _units(page, root, package)
        if on_progress:
            on_progress(done, len(pages))
    return rows_of(source, units, package.lang, _verdicts(source, faults))


def _pages(
    archive: Archive, package: Package
) -> tuple[list[tuple[Page, Element]], list[tuple[str, str]]]:
    """Return the pages as trees, and (file, why) of those that cannot be read."""
    pages: list[tuple[Page, Element]] = []
    faults: list[tuple[str, str]] = []
    for page in package.pages:
        try:
            text = read_markup(archive.read(page.name)).text
        except EntryUnreadable as fault:
            faults.append((page.name, str(fault)))
            continue
        root = parse(text, xhtml=True)
        if root is None:
            faults.append((page.name, "it holds no markup"))
        else:
            pages.append((page, root))
    return pages, faults


def _units(page: Page, root: Element, package: Package) -> list[Unit]:
    walk = Walk()
    # A guide may call a book's only file its title page: so much text is none.
    walk.over(root, page.kind if len(text_of(root)) < _MAX_MATTER_CHARS else None)
    if not walk.units:
        return []
    walk.units[0].anchors.insert(0, "")
    titles = [
        (fragment, title, level)
        for name, fragment, title, level in package.titles
        if name == page.name
    ]
    return with_titles(walk.units, titles)


def _verdicts(source: Source, faults: Sequence[tuple[str, str]]) -> list[Verdict]:
    return [
        replace(
            document_verdict(
                source,
                "unreadable_page",
                f"the page {name!r} cannot be read: {why}",
                "get a whole copy of the book; the other pages are taken in",
            ),
            subject="pages",
        )
        for name, why in faults
    ]

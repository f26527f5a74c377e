"""Bring the units of a text to rows: what is not prose gets its kind, headings make chapters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.data.schema.records import Document, Rows, Source, Verdict, content_id
from memoirist.extractors.blocks import Draft, blocks_of
from memoirist.extractors.text.chapters import joined_headings, name_chapters
from memoirist.extractors.text.front_back_matter import mark_matter
from memoirist.extractors.text.gutenberg import mark_library
from memoirist.extractors.text.text_footnotes import cut_pages, mark_notes
from memoirist.extractors.text.text_unit import Unit, has_letters, size

_PROSE = {"paragraph", "quote"}
_BETWEEN = {"footnote", "caption", "boilerplate", "contents"}
_OPEN_END = re.compile(r"[\w,;—–-]$")
_VERSE_SHARE = 0.5


def settled(units: Sequence[Unit]) -> list[Unit]:
    """Return the units with their final kinds, chapters and texts, those without letters gone."""
    kept = [unit for unit in units if has_letters(unit.text)]
    mark_library(kept)
    kept = joined_headings(kept)
    mark_matter(kept)
    mark_notes(kept)
    cut_pages(kept)
    kept = _rejoined([unit for unit in kept if unit.text])
    _mark_own_verse(kept)
    name_chapters(kept)
    return kept


def rows_of(
    source: Source, units: Sequence[Unit], lang: str | None, verdicts: Sequence[Verdict] = ()
) -> Rows:
    """Return the one document of a text; raise SourceUnreadable where it holds no prose."""
    title = source.title or source.location
    document = Document(
        id=content_id(source.id, title), source_id=source.id, title=title, lang=lang
    )
    found = settled(units)
    if not any(unit.kind in _PROSE for unit in found):
        kinds = ", ".join(sorted({unit.kind for unit in found})) or "nothing"
        raise SourceUnreadable(
            f"the {source.format} {source.location!r} holds no words of prose: {kinds} alone",
            "point at a file with running text; pictures of pages need a text layer first",
        )
    return Rows(
        documents=(document,),
        blocks=blocks_of(document.id, [_draft(unit) for unit in found]),
        verdicts=tuple(verdicts),
    )


def _draft(unit: Unit) -> Draft:
    return Draft(
        kind=unit.kind,
        text=unit.text,
        page_label=unit.page,
        chapter=unit.chapter,
    )


def _rejoined(units: Sequence[Unit]) -> list[Unit]:
    """Join a paragraph that a note or a picture interrupts in the middle of a sentence."""
    found: list[Unit] = []
    for unit in units:
        found.append(unit)
        if unit.kind != "paragraph" or unit.verse or not unit.text[0].islower():
            continue
        before = len(found) - 2
        while before >= 0 and found[before].kind in _BETWEEN:
            before -= 1
        if not 0 <= before < len(found) - 2:
            continue
        head = found[before]
        if head.kind == "paragraph" and not head.verse and _OPEN_END.search(head.text):
            head.text = f"{head.text} {unit.text}"
            found.pop()
    return found


def _mark_own_verse(units: Sequence[Unit]) -> None:
    """Take verse for the book's own text where it is most of it: then nothing sets it apart."""
    prose = [unit for unit in units if unit.kind in _PROSE]
    verse = [unit for unit in prose if unit.kind == "quote" and unit.verse]
    if sum(size(unit.text) for unit in verse) > _VERSE_SHARE * sum(size(u.text) for u in prose):
        for unit in verse:
            unit.kind = "paragraph"


def document_verdict(
    source: Source, rule: str, reason: str, next_step: str, *, keep: bool = False
) -> Verdict:
    """Return a verdict on a part of the source's one document that has no row of its own."""
    return Verdict(
        subject_id=content_id(source.id, rule, reason),
        subject="documents",
        rule=rule,
        keep=keep,
        reason=reason,
        next_step=next_step,
        created_at=datetime.now(UTC),
    )

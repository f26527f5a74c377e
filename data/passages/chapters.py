"""Chapters as a reader sees them, and the user's word on which are taken in."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from memoirist.data.schema.records import Block, Source

UNTITLED = "(untitled)"
_TEXT = frozenset({"heading", "paragraph", "quote", "turn"})
# What a short line in capitals can be instead of a heading: initials below a note, a salutation.
_HOLLOW = re.compile(r"(?:[A-Z]\. ?){2,4}|(?:MY |My )?(?:DEAR|Dear)\b.{0,50}[,:—–-]+")


class ChapterSettings(BaseModel):
    """Which chapters are taken in; the user's word wins over every other judgement of a section.

    A pattern is a part of the title, or a glob where it holds *, ? or [; case is no matter.
    "book.pdf: pattern" speaks of one source, by its file's name or its title.
    """

    model_config = ConfigDict(extra="forbid")

    include: list[str] = Field(
        default_factory=list,
        description="Titles of chapters to keep whatever else speaks against them, also `exclude`.",
    )
    exclude: list[str] = Field(
        default_factory=list, description='Titles of chapters to drop; "*" drops all but `include`.'
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A run of a document's blocks under one title; the title may be None before the first."""

    title: str | None
    chapter: str | None
    blocks: Sequence[Block]


def sections(blocks: Sequence[Block]) -> list[Section]:
    """Cut blocks, in reading order, where the chapter changes or a heading stands.

    A heading opens a section of its own text where it says more than the chapter's name: the
    "Letter from ..." inside a chapter. Headings that follow one another open one section, and a
    running head or a page's number belongs to the section that it stands in.
    """
    found: list[Section] = []
    run: list[Block] = []
    text: Block | None = None  # the last of the run that is text and not furniture
    for block in blocks:
        hollow = block.kind == "heading" and is_hollow(block.text)
        if block.kind in _TEXT and not hollow and not is_hollow(block.chapter):
            opens = block.kind == "heading" and text is not None and text.kind != "heading"
            if text is not None and (block.chapter != text.chapter or opens):
                found.append(_section(run))
                run = []
            text = block
        run.append(block)
    if run:
        found.append(_section(run))
    return found


def is_hollow(title: str | None) -> bool:
    """Tell whether what an extractor took for a heading names no section."""
    return title is not None and _HOLLOW.fullmatch(title.strip()) is not None


def _section(run: list[Block]) -> Section:
    headings = [b.text for b in run if b.kind == "heading" and not is_hollow(b.text)]
    chapter = next((block.chapter for block in run if block.kind in _TEXT), run[0].chapter)
    # The chapter's own name, unless this run has a heading of its own inside the chapter.
    title = headings[-1] if headings and chapter not in headings else chapter
    title = title or (headings[0] if headings else None)
    return Section(title=title, chapter=chapter, blocks=tuple(run))


def matches(pattern: str, source: Source, titles: Iterable[str | None]) -> bool:
    """Tell whether a pattern means a chapter of the source; it has one title or several."""
    named, colon, rest = pattern.partition(": ")
    if colon and named.casefold() in source_names(source):
        pattern = rest
    return any(_means(pattern, title or UNTITLED) for title in titles)


def source_names(source: Source) -> set[str]:
    """Return the names by which a pattern may call a source, case folded."""
    path = Path(source.location)
    named = {path.name, path.stem, source.title or path.name, source.id}
    return {name.casefold() for name in named}


def _means(pattern: str, title: str) -> bool:
    wanted, told = pattern.casefold().strip(), " ".join(title.casefold().split())
    if any(mark in wanted for mark in "*?["):
        return fnmatch.fnmatchcase(told, wanted)
    return bool(wanted) and wanted in told


def nearest(pattern: str, titles: Sequence[str]) -> list[str]:
    """Return the titles that look most like a pattern that matches none."""
    folded = {title.casefold(): title for title in titles}
    wanted = pattern.rpartition(": ")[2].strip("*").casefold()
    near = difflib.get_close_matches(wanted, folded, n=3, cutoff=0.4)
    shared = [t for t in folded if set(wanted.split()) & set(t.split()) and t not in near]
    return [folded[t] for t in [*near, *shared][:3]] or list(titles[:3])

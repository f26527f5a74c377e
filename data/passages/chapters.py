"""Cut a book into sections by its chapters and headings, and match the user's chapter patterns."""

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
# Short lines in capitals that are no headings: initials below a note, a salutation.
_FALSE_HEADING = re.compile(r"(?:[A-Z]\. ?){2,4}|(?:MY |My )?(?:DEAR|Dear)\b.{0,50}[,:—–-]+")


class ChapterSettings(BaseModel):
    """Patterns of chapters to keep or drop; they win over every other rule.

    A pattern is a part of the title, or a glob where it holds *, ? or [; case does not matter.
    "book.pdf: pattern" applies to one source, by its file's name or its title.
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

    A heading inside a chapter ("Letter from ...") opens a section. Consecutive headings open one
    section together, and a running head or a page number belongs to the section around it.
    """
    result: list[Section] = []
    run: list[Block] = []
    text: Block | None = None  # the last text block of the run, no running head or page number
    for block in blocks:
        false_heading = block.kind == "heading" and is_false_heading(block.text)
        if block.kind in _TEXT and not false_heading and not is_false_heading(block.chapter):
            opens = block.kind == "heading" and text is not None and text.kind != "heading"
            if text is not None and (block.chapter != text.chapter or opens):
                result.append(_section(run))
                run = []
            text = block
        run.append(block)
    if run:
        result.append(_section(run))
    return result


def is_false_heading(title: str | None) -> bool:
    """Tell whether a heading is only initials or a salutation and names no section."""
    return title is not None and _FALSE_HEADING.fullmatch(title.strip()) is not None


def _section(run: list[Block]) -> Section:
    headings = [b.text for b in run if b.kind == "heading" and not is_false_heading(b.text)]
    chapter = next((block.chapter for block in run if block.kind in _TEXT), run[0].chapter)
    # The chapter's own name, unless this run has a heading of its own inside the chapter.
    title = headings[-1] if headings and chapter not in headings else chapter
    title = title or (headings[0] if headings else None)
    return Section(title=title, chapter=chapter, blocks=tuple(run))


def matches(pattern: str, source: Source, titles: Iterable[str | None]) -> bool:
    """Tell whether a pattern matches a chapter of the source by one of its titles."""
    name, colon, rest = pattern.partition(": ")
    if colon and name.casefold() in source_names(source):
        pattern = rest
    return any(_matches_title(pattern, title or UNTITLED) for title in titles)


def source_names(source: Source) -> set[str]:
    """Return the names of a source that a pattern may use, case folded."""
    path = Path(source.location)
    names = (path.name, path.stem, source.title or path.name, source.id)
    return {name.casefold() for name in names}


def _matches_title(pattern: str, title: str) -> bool:
    pattern, title = pattern.casefold().strip(), " ".join(title.casefold().split())
    if any(mark in pattern for mark in "*?["):
        return fnmatch.fnmatchcase(title, pattern)
    return bool(pattern) and pattern in title


def nearest(pattern: str, titles: Sequence[str]) -> list[str]:
    """Return the titles that are most similar to a pattern that matches none."""
    folded = {title.casefold(): title for title in titles}
    text = pattern.rpartition(": ")[2].strip("*").casefold()
    near = difflib.get_close_matches(text, folded, n=3, cutoff=0.4)
    shared = [t for t in folded if set(text.split()) & set(t.split()) and t not in near]
    return [folded[t] for t in [*near, *shared][:3]] or list(titles[:3])

"""Make chapters of headings: join the lines of one, find the level that chapters stand at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median

from memoirist.extractors.text.chapter_headings import (
    cased,
    is_bare_number,
    is_named,
    level_by_words,
)
from memoirist.extractors.text.text_unit import Unit, size

# A level whose sections are shorter, on the middle, divides chapters rather than makes them.
_CHAPTER_WORDS = 300


def joined_headings(units: Sequence[Unit]) -> list[Unit]:
    """Return the units with "CHAPTER I" and the title below it as one heading."""
    found: list[Unit] = []
    for unit in units:
        before = found[-1] if found else None
        if (
            unit.kind == "heading"
            and before is not None
            and before.kind == "heading"
            and is_bare_number(before.text)
            and level_by_words(unit.text) not in {1, 2}
            and (unit.level >= before.level or not is_bare_number(unit.text))
        ):
            before.text = f"{before.text.rstrip(' .:')}. {unit.text}"
            before.anchors += unit.anchors
            continue
        found.append(unit)
    return found


def name_chapters(units: Sequence[Unit]) -> None:
    """Write each unit's chapter: the last heading of the chapters' level or above."""
    limit = _chapter_level(units)
    headings = [unit for unit in units if _opens_chapter(unit, limit)]
    names = _names(headings)
    chapter: str | None = None
    for unit in units:
        if _opens_chapter(unit, limit):
            chapter = names[id(unit)]
        unit.chapter = chapter


def _opens_chapter(unit: Unit, limit: int) -> bool:
    """Tell whether a heading opens a chapter; a preface does, however deep it stands."""
    return unit.kind == "heading" and (unit.level <= limit or is_named(unit.text))


def _chapter_level(units: Sequence[Unit]) -> int:
    levels = sorted({unit.level for unit in units if unit.kind == "heading"})
    best, count = 0, 0
    for level in levels:
        sections = _section_words(units, level)
        # A few headings below chapters, such as a letter's, make no chapters of their own.
        more = len(sections) >= max(2, 1.5 * count) or (count < 4 and len(sections) > count)
        if more and median(sections) >= _CHAPTER_WORDS:
            best, count = level, len(sections)
    if count > 1:
        return best
    # A book of poems or of short notes: its first level that divides it at all.
    several = (each for each in levels if len(_section_words(units, each)) > 1)
    return next(several, levels[0] if levels else 0)


def _section_words(units: Sequence[Unit], level: int) -> list[int]:
    """Return the words of each section that headings up to `level` open, empty ones left out."""
    sections = [0]
    for unit in units:
        if unit.kind == "heading" and unit.level <= level:
            sections.append(0)
        elif unit.kind in {"paragraph", "quote"}:
            sections[-1] += size(unit.text)
    return [words for words in sections[1:] if words]


def _names(headings: Sequence[Unit]) -> dict[int, str]:
    """Return a name for each heading by its identity, made different where two would be one."""
    own = [cased(" ".join(unit.text.split()).strip(" .:—–-")) for unit in headings]
    counts = Counter(own)
    parents: list[tuple[int, str]] = []
    seen: Counter[str] = Counter()
    names: dict[int, str] = {}
    for unit, name in zip(headings, own, strict=True):
        while parents and parents[-1][0] >= unit.level:
            parents.pop()
        full = name
        if parents and (counts[name] > 1 or is_bare_number(name)):
            full = f"{parents[-1][1]} - {name}"
        seen[full] += 1
        names[id(unit)] = full if seen[full] == 1 else f"{full} ({seen[full]})"
        parents.append((unit.level, name))
    return names

"""Find what is not the author's prose among the units: contents, title pages, notes, index."""

from __future__ import annotations

import re
from collections.abc import Sequence

from memoirist.extractors.text.chapter_headings import (
    is_back_matter,
    is_bare_number,
    kind_of_section,
    level_by_words,
    same_title,
)
from memoirist.extractors.text.gutenberg import is_imprint
from memoirist.extractors.text.text_unit import Unit, is_prose, size

_BODY = {"paragraph", "quote"}
_FRONT_SHARE = 0.25
_MAX_FRONT_WORDS = 300
_IMPRINT_REACH = 12
_TITLE_LINES = 3
_SENTENCE_WORDS = 5
_SENTENCE_END = re.compile(r"[.!?,;:…。！？，；：][\"'”’»)\]」』]*$")


def mark_matter(units: Sequence[Unit]) -> None:
    """Name the units of contents, title and imprint pages, note sections and back matter."""
    _mark_sections(units)
    _mark_link_lists(units)
    _mark_front(units)


def _mark_sections(units: Sequence[Unit]) -> None:
    """Follow each heading that names a section without prose to that section's end."""
    for at, unit in enumerate(units):
        if unit.kind not in {"heading", "contents", *_BODY}:
            continue
        kind = kind_of_section(unit.text)
        named = unit.kind in {"heading", kind} or (unit.gap and not unit.sure)
        if kind is None or not named:
            continue
        end = _contents_end(units, at) if kind == "contents" else _section_end(units, at)
        if kind == "contents" and end <= at + 1:
            continue
        if kind != "contents" and is_back_matter(unit.text) and at < 0.5 * len(units):
            continue
        for each in units[at + (kind == "footnote") : end]:
            if each.kind in {"heading", *_BODY}:
                each.kind, each.level = kind, 0


def _section_end(units: Sequence[Unit], at: int) -> int:
    """Return where the section ends: at the next heading that is no deeper and no letter.

    The first heading of an e-book's next file ends it too, whatever its level.
    """
    level = units[at].level or 2
    for later in range(at + 1, len(units)):
        unit = units[later]
        if unit.kind != "heading":
            continue
        # An index has its letters as headings.
        letter = len(unit.text) < 3 and unit.text.isascii()
        higher = unit.level <= level or level_by_words(unit.text) in {1, 2}
        if "" in unit.anchors or (higher and not letter):
            return later
    return len(units)


def _contents_end(units: Sequence[Unit], at: int) -> int:
    """Return where a list of contents ends: before the headings of the first prose behind it."""
    limit = len(units)
    for later in range(at + 1, len(units)):
        if units[later].kind == "boilerplate":
            limit = later
            break
        if is_prose(units[later]):
            return _before_headings(units, at, later)
    entries = units[at + 1 : limit]
    return limit if sum(size(unit.text) for unit in entries) < 3000 else at + 1


def _before_headings(units: Sequence[Unit], at: int, prose: int) -> int:
    """Step back from a prose unit over the headings that are its own.

    A numbered or named heading is the last of them, and so is a title that the list has already.
    """
    listed = [unit.text for unit in units[at + 1 : prose]]
    end = prose
    while end > at + 1 and prose - end < _TITLE_LINES:
        before = units[end - 1]
        if before.kind != "heading" and not (before.gap and size(before.text) < 12):
            break
        earlier = listed[: end - 2 - at]
        repeated = any(same_title(before.text, entry) for entry in earlier)
        worded = level_by_words(before.text)
        if not (repeated or worded or before.gap or end == prose):
            break
        if not repeated and before.gap == 0 and end != prose and worded == 0:
            break
        end -= 1
        if worded in {1, 2} or (repeated and not is_bare_number(units[end].text)):
            # "PART ONE" above "CHAPTER I" belongs to the body too.
            while end > at + 1 and level_by_words(units[end - 1].text) == 1 and worded != 1:
                if not any(
                    same_title(units[end - 1].text, entry) for entry in listed[: end - 2 - at]
                ):
                    break
                end -= 1
            break
    return end


def _mark_link_lists(units: Sequence[Unit]) -> None:
    for unit in units:
        if unit.kind in _BODY and unit.links > 0.8 and not unit.sure:
            unit.kind = "contents"


def _mark_front(units: Sequence[Unit]) -> None:
    """Name everything before the book's first words boilerplate: titles, imprint, epigraphs.

    The first words are those under the first heading that names or numbers a section, or the
    first run of prose where more of it stands before any such heading than an epigraph has.
    """
    opening = _opening(units[: max(60, int(_FRONT_SHARE * len(units)))])
    if opening is None:
        return
    for unit in units[:opening]:
        if unit.kind in {"heading", *_BODY}:
            unit.kind, unit.level = "boilerplate", 0
    for unit in units[opening : opening + _IMPRINT_REACH]:
        if unit.kind in _BODY and is_imprint(unit.text):
            unit.kind = "boilerplate"


def _opening(units: Sequence[Unit]) -> int | None:
    """Return the first unit of the book's own words, None where these are not found."""
    words, first_prose, opening = 0, None, None
    for at, unit in enumerate(units):
        if unit.kind == "heading" and level_by_words(unit.text) and not _names_book(units, at):
            opening = at
            break
        if is_prose(unit):
            first_prose = at if first_prose is None else first_prose
            words += size(unit.text)
            if words > _MAX_FRONT_WORDS:
                break
    if first_prose is not None and (words > _MAX_FRONT_WORDS or opening is None):
        return _own_headings(units, first_prose)
    return opening


def _names_book(units: Sequence[Unit], at: int) -> bool:
    """Tell whether a heading such as "Volume I" stands on a title page: no prose comes soon."""
    return not any(is_prose(unit) for unit in units[at + 1 : at + 12])


def _is_sentence(unit: Unit) -> bool:
    """Tell whether a short unit is the author's speech rather than a line of a title page."""
    if unit.kind == "caption":
        return True
    if unit.kind not in _BODY or unit.text.isupper() or is_imprint(unit.text):
        return False
    return size(unit.text) >= _SENTENCE_WORDS and bool(_SENTENCE_END.search(unit.text))


def _own_headings(units: Sequence[Unit], prose: int) -> int:
    """Return the first of the headings that stand right above a prose unit, three at most.

    Short sentences may stand between the two.
    """
    at = prose
    while at and prose - at < _TITLE_LINES and _is_sentence(units[at - 1]):
        at -= 1
    prose = at
    while at and prose - at < _TITLE_LINES and units[at - 1].kind == "heading":
        at -= 1
    return at if prose - at < _TITLE_LINES else prose - 1

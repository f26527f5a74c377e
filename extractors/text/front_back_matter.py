"""Find what is not the author's text: contents, title pages, sections of notes, indexes.

And what Project Gutenberg and other libraries add: headers, licences, credits, notes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from memoirist.extractors.text.chapter_headings import (
    is_back_matter,
    is_bare_number,
    kind_of_section,
    level_by_words,
    same_title,
)
from memoirist.extractors.text.encoding import decode, unix_lines
from memoirist.extractors.text.text_unit import Unit, is_prose, word_count
from memoirist.extractors.word_tables import any_of

_BODY = {"paragraph", "quote"}
_FRONT_SHARE = 0.25
_MAX_FRONT_WORDS = 300
_IMPRINT_REACH = 12
_TITLE_LINES = 3
_SENTENCE_WORDS = 5
_SENTENCE_END = re.compile(r"[.!?,;:…。！？，；：][\"'”’»)\]」』]*$")

_HEAD_BYTES = 20_000
_FIELD = re.compile(r"^(title|author):[ \t]*(.+(?:\n[ \t]+\S.*)*)", re.IGNORECASE | re.MULTILINE)
_NAME = r"project\s+guten(?:b[eu]rg|berg)"
_START = re.compile(rf"\*\s*(?:START|BEGIN)\s+OF\s+(?:THE|THIS)?\s*{_NAME}", re.IGNORECASE)
_END = re.compile(rf"\*\s*END\s+OF\s+(?:THE|THIS)?\s*{_NAME}", re.IGNORECASE)
# The end of the header in old editions; a mark counts only in the half of the book it belongs to.
_OLD_START = re.compile(r"\*END\W*THE SMALL PRINT", re.IGNORECASE)
_OLD_END = re.compile(
    rf"^\W*end of\s+(?:the |this )?{_NAME}|^\W*\*+\s*START\W*THE SMALL PRINT"
    r"|^\W*(?:the )?full project gutenberg licen[sc]e"
    r"|^\W*(?:ende|fin) (?:dieses|de ce|de este|du|del)?\W*(?:projekt|projet|proyecto)\W+gutenberg",
    re.IGNORECASE | re.MULTILINE,
)
_LICENCE = re.compile(
    rf"{_NAME}(?:-tm|™)?|e-?book is for the use of|gutenberg literary archive", re.IGNORECASE
)
_CREDIT = re.compile(rf"^\W*{any_of('front_back_matter', 'credit')}", re.IGNORECASE)
_IMPRINT = re.compile(any_of("front_back_matter", "imprint"), re.IGNORECASE)
_CREDIT_REACH = 12


def mark_front_back_matter(units: Sequence[Unit]) -> None:
    """Mark the units of contents, title and imprint pages, note sections and back matter."""
    _mark_sections(units)
    for unit in units:
        if unit.kind in _BODY and unit.link_share > 0.8 and not unit.fixed:
            unit.kind = "contents"
    _mark_front_matter(units)


def _mark_sections(units: Sequence[Unit]) -> None:
    """Mark each section whose heading says that it is not prose, to its end."""
    for at, unit in enumerate(units):
        if unit.kind not in {"heading", "contents", *_BODY}:
            continue
        kind = kind_of_section(unit.text)
        is_title = unit.kind in {"heading", kind} or (unit.gap and not unit.fixed)
        if kind is None or not is_title:
            continue
        end = _contents_end(units, at) if kind == "contents" else _section_end(units, at)
        if kind == "contents" and end <= at + 1:
            continue
        if kind != "contents" and is_back_matter(unit.text) and at < 0.5 * len(units):
            continue
        for inner in units[at + (kind == "footnote") : end]:
            if inner.kind in {"heading", *_BODY}:
                inner.kind, inner.level = kind, 0


def _section_end(units: Sequence[Unit], at: int) -> int:
    """Return where the section ends: at the next heading that is not deeper, or the next file.

    The letters of an index are headings that end nothing.
    """
    level = units[at].level or 2
    for later in range(at + 1, len(units)):
        unit = units[later]
        if unit.kind != "heading":
            continue
        is_letter = len(unit.text) < 3 and unit.text.isascii()
        is_higher = unit.level <= level or level_by_words(unit.text) in {1, 2}
        if "" in unit.anchors or (is_higher and not is_letter):
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
    n_words = sum(word_count(unit.text) for unit in units[at + 1 : limit])
    return limit if n_words < 3000 else at + 1


def _before_headings(units: Sequence[Unit], at: int, prose: int) -> int:
    """Step back from a prose unit over the headings that belong to it.

    The first of them is a numbered or named heading, or a title that the list has already.
    """

    def is_listed(unit: int) -> bool:
        entries = units[at + 1 : end - 1]
        return any(same_title(units[unit].text, entry.text) for entry in entries)

    end = prose
    while end > at + 1 and prose - end < _TITLE_LINES:
        before = units[end - 1]
        if before.kind != "heading" and not (before.gap and word_count(before.text) < 12):
            break
        listed, level = is_listed(end - 1), level_by_words(before.text)
        if not (listed or level or before.gap or end == prose):
            break
        end -= 1
        if level in {1, 2} or (listed and not is_bare_number(before.text)):
            # "PART ONE" above "CHAPTER I" belongs to the body too.
            while end > at + 1 and level != 1 and level_by_words(units[end - 1].text) == 1:
                if not is_listed(end - 1):
                    break
                end -= 1
            break
    return end


def _mark_front_matter(units: Sequence[Unit]) -> None:
    """Mark everything before the book's first words as boilerplate: titles, imprint, epigraphs."""
    opening = _opening(units[: max(60, int(_FRONT_SHARE * len(units)))])
    if opening is None:
        return
    for unit in units[:opening]:
        if unit.kind in {"heading", *_BODY}:
            unit.kind, unit.level = "boilerplate", 0
    for unit in units[opening : opening + _IMPRINT_REACH]:
        if unit.kind in _BODY and _is_imprint(unit.text):
            unit.kind = "boilerplate"


def _opening(units: Sequence[Unit]) -> int | None:
    """Return the first unit of the book's own words, None where these are not found.

    They stand under the first heading that names or numbers a section, or are the first run of
    prose before such a heading that is longer than an epigraph.
    """
    n_words, first_prose, opening = 0, None, None
    for at, unit in enumerate(units):
        # "Volume I" on a title page has no prose near it.
        is_title = unit.kind == "heading" and level_by_words(unit.text)
        if is_title and any(map(is_prose, units[at + 1 : at + 12])):
            opening = at
            break
        if is_prose(unit):
            first_prose = at if first_prose is None else first_prose
            n_words += word_count(unit.text)
            if n_words > _MAX_FRONT_WORDS:
                break
    if first_prose is not None and (n_words > _MAX_FRONT_WORDS or opening is None):
        return _first_heading(units, first_prose)
    return opening


def _first_heading(units: Sequence[Unit], prose: int) -> int:
    """Return the first of the headings right above a prose unit, three at most.

    Short sentences may stand between the two.
    """
    at = prose
    while at and prose - at < _TITLE_LINES and _is_sentence(units[at - 1]):
        at -= 1
    prose = at
    while at and prose - at < _TITLE_LINES and units[at - 1].kind == "heading":
        at -= 1
    return at if prose - at < _TITLE_LINES else prose - 1


def _is_sentence(unit: Unit) -> bool:
    """Tell whether a short unit is the author's speech, not a line of a title page."""
    if unit.kind == "caption":
        return True
    if unit.kind not in _BODY or unit.text.isupper() or _is_imprint(unit.text):
        return False
    return word_count(unit.text) >= _SENTENCE_WORDS and bool(_SENTENCE_END.search(unit.text))


def header_names(path: Path) -> tuple[str | None, str | None]:
    """Return title and author as a library's header states them."""
    try:
        with path.open("rb") as file:
            head = decode(file.read(_HEAD_BYTES)).text
    except OSError:
        # The extract step raises it again, where it becomes the source's verdict.
        return None, None
    if "gutenberg" not in head.lower():
        return None, None
    fields = {name.lower(): value for name, value in reversed(_FIELD.findall(unix_lines(head)))}
    title, author = fields.get("title"), fields.get("author")
    return (
        title.splitlines()[0].strip() if title else None,
        " ".join(author.split()) if author else None,
    )


def mark_library_text(units: Sequence[Unit]) -> None:
    """Mark as boilerplate what stands outside a library's start and end marks, and credits within.

    The marks are Project Gutenberg's, of its old editions ("small print") and of the new ones.
    """
    first, last = _bounds(units)
    for at, unit in enumerate(units):
        if (
            not first <= at < last
            or (_CREDIT.match(unit.text) and _is_credit(unit, at - first, last - at))
            or _is_licence(unit)
        ):
            _mark(unit)


def _bounds(units: Sequence[Unit]) -> tuple[int, int]:
    """Return the first unit of the book itself and the one after its last."""
    middle = _middle(units)
    starts = [
        at + 1
        for at, unit in enumerate(units)
        if _START.search(unit.text) or (at < middle and _OLD_START.search(unit.text))
    ]
    first = max(starts, default=0)
    # "End of the Project Gutenberg Etext of volume 1" may stand between two volumes.
    for at, unit in enumerate(units):
        if at < first:
            continue
        if _END.search(unit.text) or (at > middle and _OLD_END.search(unit.text)):
            if not any(map(_opens_volume, units[at + 1 : at + 40])):
                return first, at
            _mark(unit)
    return first, len(units)


def _middle(units: Sequence[Unit]) -> int:
    """Return the unit at half of the words."""
    counts = [word_count(unit.text) for unit in units]
    half, n_words = sum(counts) / 2, 0
    for at, count in enumerate(counts):
        n_words += count
        if n_words >= half:
            return at
    return len(units)


def _opens_volume(unit: Unit) -> bool:
    """Tell whether a unit behind an end mark is the next volume's text, not the licence."""
    return unit.kind == "heading" and bool(re.match(r"(?:chapter|volume|book)\b", unit.text, re.I))


def _is_credit(unit: Unit, from_start: int, from_end: int) -> bool:
    is_note = re.match(r"\W*(?:transcriber|note (?:of|by)|etext)", unit.text, re.IGNORECASE)
    is_near = min(from_start, from_end) < _CREDIT_REACH
    return bool(is_note) or (word_count(unit.text) < 80 and is_near)


def _is_licence(unit: Unit) -> bool:
    n_hits = len(_LICENCE.findall(unit.text))
    return n_hits >= 2 and n_hits * 50 >= word_count(unit.text)


def _is_imprint(text: str) -> bool:
    """Tell whether a short text speaks of copyright, publisher and printing."""
    n_hits = len(_IMPRINT.findall(text))
    return n_hits > 0 and n_hits * 40 >= word_count(text)


def _mark(unit: Unit) -> None:
    unit.kind, unit.level = "boilerplate", 0

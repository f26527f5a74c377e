"""Make units of a plain text's strips: headings, paragraphs, verse, set-apart quotes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import groupby, pairwise
from operator import itemgetter

from memoirist.data.text.words import words
from memoirist.extractors.text.chapter_headings import is_bare_number, level_by_words
from memoirist.extractors.text.lines import Joiner
from memoirist.extractors.text.text_unit import Unit, has_letters, size, tidied
from memoirist.extractors.text.wrapping import Layout, Strip, columns, layout_of, strips_of

_FOLIO = re.compile(r"^\W*(\d{1,4})\W*$")
_COLUMNS = re.compile(r"\S {3,}\S.*|\S {3,}\S|\.{4,}|^\s*[|+]")
_OPEN_MARK = re.compile(r"[,;:—–-]$")
_SENTENCE = re.compile(r"[.!?…。！？][\"'”’»)\]」』]*$")
_ENTRY = re.compile(r"^\s*(\d{1,2})[.)]\s")
_YEAR = re.compile(r"^\s*(1\d{3}|20\d\d)[\s.:,-]")
_CHRONICLE_ROWS = 6
_RAGGED = 12
_MAX_HEADING_LINES = 4


def units_of_lines(lines: Sequence[str], *, cjk: bool) -> tuple[list[Unit], Counter[str]]:
    """Return the units of a text's lines, and how many repairs of each kind were made."""
    layout = layout_of(lines)
    strips = strips_of(lines, layout)
    joiner = Joiner(lines, cjk=cjk)
    folios = _folios(strips)
    units: list[Unit] = []
    for at, strip in enumerate(strips):
        if at in folios:
            units.append(Unit(kind="folio", text=strip.lines[0].strip(), sure=True))
            continue
        for part in _parts(strip, layout):
            before = units[-1] if units else None
            below = strips[at + 1] if at + 1 < len(strips) else None
            level = _level(part, layout, before, below)
            units.append(_unit(part, layout, joiner, level))
    return units, joiner.repairs


def _folios(strips: Sequence[Strip]) -> set[int]:
    """Return the places of lone page numbers: many of them, each one more than the last."""
    numbers = [
        (at, int(found[1]))
        for at, strip in enumerate(strips)
        if len(strip.lines) == 1 and (found := _FOLIO.match(strip.lines[0]))
    ]
    steps = sum(b[1] - a[1] == 1 for a, b in pairwise(numbers))
    if len(numbers) < 10 or steps < 0.8 * (len(numbers) - 1) or numbers[-1][1] * 6 < len(numbers):
        return set()
    apart = (numbers[-1][0] - numbers[0][0]) / len(numbers)
    return {at for at, _ in numbers} if apart < 12 else set()


def _parts(strip: Strip, layout: Layout) -> list[Strip]:
    """Part deeper runs of two lines and more from lines at the margin in the same strip."""
    if not layout.wrapped or len(strip.lines) < 3:
        return [strip]
    if rows := _rows(strip.lines):
        return [Strip(lines=lines, gap=0 if n else strip.gap) for n, lines in enumerate(rows)]
    deep = [_indent(line) >= layout.margin + 3 for line in strip.lines]
    if all(deep) or not any(a and b for a, b in pairwise(deep)):
        return [strip]
    # A hanging indent is one paragraph: only its first line stands at the margin.
    if not deep[0] and all(deep[1:]):
        return [strip]
    # A single deep line is a paragraph's first one; only two in a row are set apart.
    apart = [
        here and (before or after)
        for before, here, after in zip([False, *deep], deep, [*deep[1:], False], strict=False)
    ]
    parts = [
        [line for line, _ in run]
        for _, run in groupby(zip(strip.lines, apart, strict=True), key=itemgetter(1))
    ]
    return [
        Strip(lines=tuple(lines), gap=strip.gap if n == 0 else 0) for n, lines in enumerate(parts)
    ]


def _rows(lines: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the lines of each entry of a list whose numbers rise, none for other text."""
    numbered = _rising(lines, _ENTRY)
    if len(numbered) < 3 or numbered[0] != 0:
        return []
    return [tuple(lines[a:b]) for a, b in zip(numbered, [*numbered[1:], len(lines)], strict=True)]


def _rising(lines: Sequence[str], pattern: re.Pattern[str]) -> list[int]:
    """Return the places of the lines that open with a number, none where the numbers fall."""
    found = [(at, int(m[1])) for at, line in enumerate(lines) if (m := pattern.match(line))]
    falls = any(b[1] < a[1] for a, b in pairwise(found))
    return [] if falls else [at for at, _ in found]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _level(strip: Strip, layout: Layout, before: Unit | None, below: Strip | None) -> int:
    """Return the level of the heading that the strip is, 0 where it is none."""
    text = tidied(" ".join(strip.lines))
    titled = before is not None and before.kind == "heading" and is_bare_number(before.text)
    capitals = text.isupper() and not layout.cjk and sum(letter.isalpha() for letter in text) > 2
    if len(strip.lines) > (10 if capitals and titled else _MAX_HEADING_LINES):
        return 0
    if not _may_be_title(text, capitals=capitals):
        return 0
    centred = min(map(_indent, strip.lines)) >= layout.margin + 6
    n_words = size(text)
    worded = level_by_words(text)
    if worded in {1, 2} and (strip.gap or centred or capitals or n_words <= 8):
        return worded
    if worded == 3 and (strip.gap or centred or is_bare_number(text)):
        return 3
    below_title = max(3, before.level) if titled and before else 3
    signed = text[:1] in "\"'“‘(—-" and n_words <= 4
    if capitals and not signed and not _OPEN_MARK.search(text):
        apart = (strip.gap or titled or centred) and n_words < 60
        # Old texts part nothing: there a title is what stands at the margin above filled lines.
        at_margin = _indent(strip.lines[0]) <= layout.margin
        over_prose = at_margin and 1 < n_words <= 25 and _is_full(below, layout)
        return below_title if apart or over_prose else 0
    if titled and not _SENTENCE.search(text) and n_words <= 16 and len(strip.lines) < 3:
        return below_title
    return _plain_level(strip, text, layout, below)


def _may_be_title(text: str, *, capitals: bool) -> bool:
    """Tell whether the text has a title's characters: letters mostly, no row of a table."""
    if _FOLIO.match(text):
        return True
    n_letters = sum(letter.isalnum() for letter in text)
    if "|" in text or n_letters < 0.5 * len(text.replace(" ", "")) or text.startswith("["):
        return False
    return has_letters(text) and (capitals or not _OPEN_MARK.search(text))


def _is_full(strip: Strip | None, layout: Layout) -> bool:
    """Tell whether the strip is a paragraph of filled lines, right below the one before."""
    if strip is None or strip.gap or len(strip.lines) < 3:
        return False
    return all(columns(line) > 0.6 * layout.width for line in strip.lines[:-1])


def _plain_level(strip: Strip, text: str, layout: Layout, below: Strip | None) -> int:
    """Return the level of a short line far from the text above, or left of it, 0 for others."""
    if below is None or len(strip.lines) > 2 or _SENTENCE.search(text):
        return 0
    if layout.cjk:
        if len(text) > 20:
            return 0
        if _indent(strip.lines[0]) < layout.margin:
            return 2
        far = strip.gap >= 1 and not re.search(r"[，、︰：；]", text)
        return 3 if far and len("".join(below.lines)) > 2 * len(text) else 0
    far = strip.gap >= 2 and below.gap < strip.gap
    return 3 if far and size(text) <= 10 and text[:1].isupper() else 0


def _unit(strip: Strip, layout: Layout, joiner: Joiner, level: int) -> Unit:
    if level:
        return Unit(kind="heading", text=joiner.plain(strip.lines), level=level, gap=strip.gap)
    if not layout.wrapped:
        kept = len(strip.lines) > 1
        text = joiner.verse(strip.lines) if kept else joiner.prose(strip.lines)
        return Unit(kind="quote" if kept else "paragraph", text=text, gap=strip.gap)
    if _is_table(strip):
        return Unit(kind="boilerplate", text=joiner.verse(strip.lines), gap=strip.gap)
    deep = min(map(_indent, strip.lines)) >= layout.margin + 2 and not layout.indented
    if _is_verse(strip, layout, deep=deep):
        return Unit(kind="quote", text=joiner.verse(strip.lines), gap=strip.gap)
    apart = (deep and len(strip.lines) > 1) or (deep and not _is_signature(strip, layout))
    return Unit(
        kind="quote" if apart else "paragraph", text=joiner.prose(strip.lines), gap=strip.gap
    )


def _is_signature(strip: Strip, layout: Layout) -> bool:
    return _indent(strip.lines[0]) > 0.35 * layout.width


def _is_table(strip: Strip) -> bool:
    rows = sum(bool(_COLUMNS.search(line.strip())) for line in strip.lines)
    if len(_rising(strip.lines, _YEAR)) >= _CHRONICLE_ROWS:
        return True
    return len(strip.lines) > 2 and rows > 0.6 * len(strip.lines)


def _is_verse(strip: Strip, layout: Layout, *, deep: bool) -> bool:
    """Tell whether the line breaks are the author's: no line but the last reaches the width."""
    if len(strip.lines) < 2:
        return False
    body = [line.rstrip() for line in strip.lines]
    ends = [len(line) for line in body]
    longest = max(map(columns, body))
    if not deep:
        return longest < 0.72 * layout.width and len(words(" ".join(body))) > 1
    right = max(ends)
    filled = sum(end > right - _RAGGED for end in ends[:-1])
    capitals = sum(line.strip().lstrip("\"'“‘(_«„")[:1].isupper() for line in body)
    ragged = filled < 0.6 * (len(body) - 1)
    return ragged or (capitals >= 0.8 * len(body) and longest < 0.85 * layout.width)

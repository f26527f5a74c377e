"""Find headings by size, wording and place, and name chapters after them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from math import inf

from memoirist.extractors.pdf.layout.geometry import Line, Margins, Measures
from memoirist.extractors.repair import tidy
from memoirist.extractors.word_tables import any_of

_COUNT = any_of("headings", "count")
_UNIT = any_of("headings", "unit")
_NUMBERED = re.compile(rf"^{_UNIT}\s+{_COUNT}\b", re.IGNORECASE)
_NAMED = re.compile(rf"^(?:author.s )?{any_of('headings', 'named')}\b.{{0,30}}$", re.IGNORECASE)
_BARE_NUMBER = re.compile(r"^(?:[ivxlcdm]{1,7}|\d{1,3})[.:]?$", re.IGNORECASE)
_COUNT_ALONE = re.compile(rf"^(?:{_UNIT}\s+)?{_COUNT}$", re.I)
_ORNAMENT = re.compile(r"^[\W_]+$")
_CAPTION = re.compile(rf"^{any_of('headings', 'caption')}\s*[\divxlc]+\b", re.I)
_ENDS_OPEN = re.compile(r"[.,;:!?…—–-]\W*$")
_ROMAN = re.compile(r"^[IVXLCDM]+\W*$")
_MAX_CHARS = 120
# Lines farther apart than this many leadings are two headings.
_MAX_LINE_GAP = 6
# More text in large type than this is a page set large, not a heading.
_MAX_LARGE_CHARS = 500
_SMALL_WORDS = frozenset("A AN AND AT BY FOR FROM IN OF ON THE TO WITH".split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """The lines of one heading; a `major` one begins a chapter."""

    lines: tuple[Line, ...]
    major: bool


def bare_titles(entries: Iterable[str]) -> frozenset[str]:
    """Return the entries of an outline in the form that `headings` compares."""
    return frozenset(title for entry in entries if len(title := _bare(entry)) > 2)


def _bare(text: str) -> str:
    """Return the letters of a title alone: the outline and the page number it differently."""
    return "".join(letter for letter in tidy(text).casefold() if letter.isalpha())


def opens_part(text: str) -> bool:
    """Tell whether the words are those of a chapter's or a preface's heading."""
    return bool(_NUMBERED.match(text) or _NAMED.match(text) or _BARE_NUMBER.match(text))


def is_ornament(line: Line) -> bool:
    """Tell whether the line is only stars, dashes or the like between two sections."""
    return bool(_ORNAMENT.match(line.text)) and len(line.text) < 30


def is_caption(line: Line, measures: Measures) -> bool:
    """Tell whether the line opens the caption of a figure."""
    return bool(_CAPTION.match(line.text)) and line.size < 0.98 * measures.size


def headings(
    body: Sequence[Line], margins: Margins, measures: Measures, titles: frozenset[str]
) -> Iterator[Heading]:
    """Give the headings among the body lines of a frame; heading lines in a row are one heading.

    `titles` are those that the outline or the contents list, from `bare_titles`.
    """
    frame = _Frame(body, margins, measures, titles)
    run: list[Line] = []
    major = False
    for at, line in enumerate(body):
        level = frame.level(at, in_heading=bool(run))
        far = bool(run) and run[-1].y - line.y > _MAX_LINE_GAP * measures.leading
        if run and (far or not level):
            yield Heading(lines=tuple(run), major=major)
            run = []
        if level:
            major = level == 2 or (major and bool(run))
            run.append(line)
    if run:
        yield Heading(lines=tuple(run), major=major)


@dataclass(frozen=True, slots=True)
class _Frame:
    """The body lines of a frame, with what tells headings from text in it."""

    body: Sequence[Line]
    margins: Margins
    measures: Measures
    titles: frozenset[str]

    def level(self, at: int, *, in_heading: bool) -> int:
        """Return 2 for a line of a chapter heading, 1 for a lesser heading, 0 for text."""
        line, gap = self.body[at], self.measures.gap
        text = tidy(line.text)
        if len(text) > _MAX_CHARS or not any(letter.isalnum() for letter in text):
            return 0
        if line.size >= self.measures.heading_size:
            return 2 if self._n_large_chars(at) <= _MAX_LARGE_CHARS else 0
        above = self.body[at - 1].y - line.y if at else inf
        below = line.y - self.body[at + 1].y if at + 1 < len(self.body) else inf
        open_below = below > 0.95 * gap
        if line.size < 0.85 * self.measures.size or not (above > gap or in_heading):
            return 0
        if open_below and _bare(text) in self.titles:
            return 2
        full = line.x1 > self.margins.right - 0.1 * self.margins.width
        if full and not (open_below and text.isupper()):
            return 0
        level = self._level_by_words(line, text, open_below, in_heading)
        if level or not gap < below < inf or above <= max(1.2 * gap, below):
            return level
        return int(self._is_title(line, text) and self._is_prose(line, self.body[at + 1]))

    def _n_large_chars(self, at: int) -> int:
        def is_large(line: Line) -> bool:
            return line.size >= self.measures.heading_size

        before = takewhile(is_large, reversed(self.body[:at]))
        after = takewhile(is_large, self.body[at:])
        return sum(len(line.text) for part in (before, after) for line in part)

    def _is_centred(self, line: Line) -> bool:
        left, right = line.x0 - self.margins.left, self.margins.right - line.x1
        return abs(left - right) < 0.08 * self.margins.width and left > 12

    def _is_title(self, line: Line, text: str) -> bool:
        return self._is_centred(line) and text[0].isupper() and not _ENDS_OPEN.search(text)

    def _is_prose(self, title: Line, line: Line) -> bool:
        """Tell whether the line below a title is one of a paragraph, in no larger type."""
        long = line.x1 - line.x0 > 0.6 * self.margins.width
        at_left = line.x0 - self.margins.left < 3 * line.size
        return long and at_left and title.size > 0.95 * line.size

    def _level_by_words(self, line: Line, text: str, open_below: bool, in_heading: bool) -> int:
        centred = self._is_centred(line)
        prominent = centred or text.isupper()
        if _NUMBERED.match(text) and (prominent or (open_below and len(text) < 50)):
            return 2
        if _NAMED.match(text) and open_below and prominent:
            return 2
        ends_open = text.endswith((",", ";")) or (text.endswith(".") and len(text) > 60)
        if not open_below or ends_open:
            return 0
        if _BARE_NUMBER.match(text):
            return int(centred)
        capitals = text.isupper() and sum(letter.isalpha() for letter in text) > 3
        if in_heading and (centred or capitals):
            return 2
        return int((capitals and centred) or (line.bold > 0.9 and not text.endswith(".")))


def chapter_name(lines: Iterable[str]) -> str:
    """Return a heading as a chapter's name, such as "Chapter IV. West Point - Graduation"."""
    parts: list[str] = []
    for text in lines:
        if parts and parts[-1].endswith(("-", "–", "—")):
            parts[-1] += text
        elif parts and not _COUNT_ALONE.match(parts[-1].rstrip(".:")):
            parts[-1] += " " + text
        else:
            parts.append(text)
    name = ". ".join(part.rstrip(" .:") for part in parts)
    name = re.sub(r"\s*[–—]+\s*|\s+-\s+", " - ", name)
    if name.isupper() or all(part.isupper() for part in parts[1:] or parts):
        words = name.split()
        opens = [n == 0 or words[n - 1][-1] in "-.:" for n in range(len(words))]
        name = " ".join(map(_capitalised, words, opens))
    return name.strip(" .-")


def _capitalised(word: str, first: bool) -> str:
    if _ROMAN.match(word) or not word.isupper():
        return word
    if word in _SMALL_WORDS and not first:
        return word.lower()
    return "-".join(part.capitalize() for part in word.split("-"))

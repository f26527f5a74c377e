"""Find headings by size, wording and place, and name chapters after them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from memoirist.extractors.pdf.layout.columns import Frame, Kinds, Margins, Measures
from memoirist.extractors.pdf.layout.geometry import Line
from memoirist.extractors.repair import tidy
from memoirist.extractors.settings import ExtractSettings

_COUNT = (
    r"(?:[ivxlcdm]+|\d+|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
    r"|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|twenty(?:[- ]\w+)?"
    r"|the (?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|last)"
    r"|premi(?:er|ère)|seconde?|deuxième|troisième|quatrième|cinquième|eins|zwei|drei|vier|fünf"
    r"|primer[ao]?|segund[ao]|tercer[ao]?)"
)
_UNIT = (
    r"(?:chapter|book|part|volume|letter|section|canto|act|chapitre|livre|partie|tome|lettre"
    r"|kapitel|buch|teil|band|brief|cap[ií]tulo|libro|parte|tomo|carta|capitolo)"
)
_NUMBERED = re.compile(rf"^{_UNIT}\s+{_COUNT}\b", re.IGNORECASE)
_NAMED = re.compile(
    r"^(?:author.s )?(?:preface|foreword|introduction|introductory|prologue|epilogue|conclusion"
    r"|appendix|postscript|acknowledge?ments?|afterword|dedication|footnotes|notes|préface"
    r"|avant-propos|épilogue|appendice|postface|remerciements|vorwort|einleitung|nachwort|anhang"
    r"|prólogo|prefacio|introducción|epílogo|apéndice|prefazione|introduzione|序|前言|后记|跋)\b.{0,30}$",
    re.IGNORECASE,
)
_BARE_NUMBER = re.compile(r"^(?:[ivxlcdm]{1,7}|\d{1,3})[.:]?$", re.IGNORECASE)
_LONE = re.compile(rf"^(?:{_UNIT}\s+)?{_COUNT}$", re.I)
_ORNAMENT = re.compile(r"^[\W_]+$")
_CAPTION = re.compile(
    r"^(?:fig(?:ur[ae]?|\.)|plate|table|illustration|map|planche|tableau|carte|abb(?:ildung|\.)"
    r"|tafel|tabelle|lámina|tabla|图|圖|表)\s*[\divxlc]+\b",
    re.I,
)
_ENDS_OPEN = re.compile(r"[.,;:!?…—–-]\W*$")
_ROMAN = re.compile(r"^[IVXLCDM]+\W*$")
_MAX_CHARS = 120
# More text in large type than this is a page set large, not a heading.
_MAX_BIG_CHARS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """The lines of one heading; a `major` one begins a chapter."""

    lines: tuple[Line, ...]
    major: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What makes a heading of a line in this book; sizes and distances in points.

    `titles` are the outline's entries, bare of everything but letters.
    """

    big: float
    small: float
    gap: float
    far: float
    titles: frozenset[str]


def limits_of(measures: Measures, settings: ExtractSettings, entries: Iterable[str]) -> Limits:
    """Return the limits for a book of these measures and with these entries of its outline."""
    return Limits(
        big=settings.heading_size_ratio * measures.size,
        small=0.85 * measures.size,
        gap=settings.gap_ratio * measures.leading,
        far=6 * measures.leading,
        titles=frozenset(title for entry in entries if len(title := _bare(entry)) > 2),
    )


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
    frame: Frame,
    kinds: Kinds,
    margins: Margins,
    limits: Limits,
) -> Iterator[Heading]:
    """Give the headings of a frame; heading lines in a row are one heading."""
    body = [line for line in frame.lines if line not in kinds]
    run: list[Line] = []
    major = False
    for at, line in enumerate(body):
        level = _level(body, at, bool(run), margins, limits)
        if level and run and run[-1].y - line.y > limits.far:
            yield Heading(lines=tuple(run), major=major)
            run = []
        if level:
            major = level == 2 or (major and bool(run))
            run.append(line)
            continue
        if run:
            yield Heading(lines=tuple(run), major=major)
        run = []
    if run:
        yield Heading(lines=tuple(run), major=major)


def _level(
    body: Sequence[Line],
    at: int,
    in_heading: bool,
    margins: Margins,
    limits: Limits,
) -> int:
    """Return 2 for a line of a chapter heading, 1 for a lesser heading, 0 for text."""
    line = body[at]
    text = tidy(line.text)
    if len(text) > _MAX_CHARS or not any(letter.isalnum() for letter in text):
        return 0
    if line.size >= limits.big:
        n_chars = _big_run_chars(body, at, limits.big)
        return 2 if n_chars <= _MAX_BIG_CHARS else 0
    above = body[at - 1].y - line.y if at else None
    below = line.y - body[at + 1].y if at + 1 < len(body) else None
    open_above = above is None or above > limits.gap or in_heading
    open_below = below is None or below > 0.95 * limits.gap
    if not open_above or line.size < limits.small:
        return 0
    if open_below and _bare(text) in limits.titles:
        return 2
    if line.x1 > margins.right - 0.1 * margins.width and not (open_below and text.isupper()):
        return 0
    apart = at + 1 < len(body) and _stands_apart(line, body[at + 1], above, margins, limits)
    return _worded_level(line, text, (open_below, in_heading, apart), margins)


def _stands_apart(
    line: Line, after: Line, above: float | None, margins: Margins, limits: Limits
) -> bool:
    """Tell whether a line has more air above than below, and a line of prose after it."""
    below = line.y - after.y
    wide = above is None or above > max(1.2 * limits.gap, below)
    prose = after.x1 - after.x0 > 0.6 * margins.width and after.x0 - margins.left < 3 * after.size
    return wide and below > limits.gap and prose and line.size > 0.95 * after.size


def _worded_level(line: Line, text: str, places: tuple[bool, bool, bool], margins: Margins) -> int:
    open_below, in_heading, apart = places
    lead = line.x0 - margins.left
    centred = abs(lead - (margins.right - line.x1)) < 0.08 * margins.width and lead > 12
    ends_open = text.endswith((",", ";")) or (text.endswith(".") and len(text) > 60)
    if _NUMBERED.match(text) and (centred or text.isupper() or (open_below and len(text) < 50)):
        return 2
    if _NAMED.match(text) and open_below and (centred or text.isupper()):
        return 2
    if not open_below or ends_open:
        return 0
    if _BARE_NUMBER.match(text):
        return 1 if centred else 0
    capitals = text.isupper() and sum(letter.isalpha() for letter in text) > 3
    if in_heading and (centred or capitals):
        return 2
    if apart and centred and not _ENDS_OPEN.search(text) and text[0].isupper():
        return 1
    return 1 if (capitals and centred) or (line.bold > 0.9 and not text.endswith(".")) else 0


def _big_run_chars(body: Sequence[Line], at: int, limit: float) -> int:
    first = last = at
    while first and body[first - 1].size >= limit:
        first -= 1
    while last + 1 < len(body) and body[last + 1].size >= limit:
        last += 1
    return sum(len(line.text) for line in body[first : last + 1])


def chapter_name(lines: Sequence[str]) -> str:
    """Return a heading as a chapter's name, such as "Chapter IV. West Point - Graduation"."""
    parts: list[str] = []
    for text in lines:
        if parts and parts[-1].endswith(("-", "–", "—")):
            parts[-1] += text
        elif parts and not _LONE.match(parts[-1].rstrip(".:")):
            parts[-1] += " " + text
        else:
            parts.append(text)
    name = ". ".join(part.rstrip(" .:") for part in parts)
    name = re.sub(r"\s*[–—]+\s*|\s+-\s+", " - ", name)
    if name.isupper() or all(part.isupper() for part in parts[1:] or parts):
        words = name.split()
        opens = [n == 0 or words[n - 1][-1] in "-.:" for n in range(len(words))]
        name = " ".join(_cased(*pair) for pair in zip(words, opens, strict=True))
    return name.strip(" .-")


def _cased(word: str, first: bool) -> str:
    if _ROMAN.match(word) or not word.isupper():
        return word
    small = {"A", "AN", "AND", "AT", "BY", "FOR", "FROM", "IN", "OF", "ON", "THE", "TO", "WITH"}
    if word in small and not first:
        return word.lower()
    return "-".join(part.capitalize() for part in word.split("-"))

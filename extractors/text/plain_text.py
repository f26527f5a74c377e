"""Extract a plain text: measure its layout, then make headings, paragraphs, verse and quotes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import itemgetter

from memoirist.data.schema.records import Rows, Source
from memoirist.data.text.words import CJK, ends_sentence, is_cjk, words
from memoirist.extractors.detection.format_registry import Progress
from memoirist.extractors.repair import joined, vocabulary_of
from memoirist.extractors.settings import ExtractSettings
from memoirist.extractors.text.chapter_headings import is_bare_number, level_by_words
from memoirist.extractors.text.text_rows import (
    decode_source,
    document_verdict,
    encoding_verdicts,
    rows_of,
)
from memoirist.extractors.text.text_unit import Unit, clean_text, has_letters, word_count

# Where a text breaks its lines.
_BREAKS = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_WIDE = re.compile(rf"[{CJK}\u3000-\u303f\uff01-\uff60\u2014\u2018-\u201d\u2026\ufe30-\ufe4f]")
_WIDE_INDENT = re.compile(r"^[\u3000\s]*\u3000")
_NOTE_LABEL = re.compile(
    r"^\s*(?:\[\w{1,4}\]|\(\*\d+\)|〔\d+〕|［\d+］|[①-⑳]|\*{1,3}\s|†|‡|[ヾゝゞ々ぁ-と](?=\S))"
)
_LONG_CHARS, _LONG_CHARS_CJK = 130, 80
_LONG_SHARE = 0.1
_DOUBLED_SHARE = 0.85
# Chinese lines are all full, except the last one of a paragraph.
_FULL_SHARE = 0.92

# How lines become a paragraph, and the marks of italics, bold and drop capitals.
_ITALICS = re.compile(r"(?<![\w_])_(?=[^\s_])([^_]{1,600}?)(?<=[^\s_])_(?![\w_])", re.DOTALL)
_BOLD = re.compile(r"(?<![\w=])=(?=[^\s=])([^=]{1,300}?)(?<=[^\s=])=(?![\w=])", re.DOTALL)
_DROP_CAP = re.compile(r"^\|(?=\S)")
_BROKEN = re.compile(r"([^\W\d_]{2,})-$")
_FIRST_WORD = re.compile(r"^([^\W\d_]{2,})")
_NO_SPACE_END = re.compile(r"(?:--|[—–/])$")
_NO_SPACE_START = re.compile(r"^(?:--(?!\s)|—)")
_CJK_END = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\ufe30-\ufe4f\uff00-\uffef]$")
_CJK_START = re.compile(r"^[\u3000-\u30ff\u3400-\u9fff\ufe30-\ufe4f\uff00-\uffef]")
# More broken words than this at line ends are a typesetter's, not the author's.
_TYPESET_SHARE = 0.02
# A word at a line's end lies within so many characters, in lines that a page can hold.
_LAST_CHARS, _MAX_LINE_CHARS = 80, 2000

# What a group of lines is.
_FOLIO = re.compile(r"^\W*(\d{1,4})\W*$")
_COLUMNS = re.compile(r"\S {3,}\S.*|\S {3,}\S|\.{4,}|^\s*[|+]")
_OPEN_END = re.compile(r"[,;:—–-]$")
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’»)\]」』]*$")
_ENTRY = re.compile(r"^\s*(\d{1,2})[.)]\s")
_YEAR = re.compile(r"^\s*(1\d{3}|20\d\d)[\s.:,-]")
_MIN_CHRONICLE_ROWS = 6
_RAGGED_CHARS = 12
_MAX_HEADING_LINES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """The layout of a text: the width of its lines in columns, its usual margin and gap.

    `wrapped` texts break their lines; a `doubled` one has a blank line below every line; an
    `indented` one shows paragraphs by an indent alone.
    """

    width: int
    margin: int
    gap: int
    wrapped: bool
    doubled: bool
    indented: bool
    cjk: bool


@dataclass(frozen=True, slots=True)
class _Group:
    """Lines without a blank one between them, and the blank lines above beyond the usual gap."""

    lines: Sequence[str]
    gap: int

    @property
    def indent(self) -> int:
        """The smallest indent of the lines."""
        return min(map(_indent, self.lines))


def extract_text(
    source: Source, settings: ExtractSettings, on_progress: Progress | None = None
) -> Rows:
    """Return the paragraphs of a text; raise SourceUnreadable where it holds no prose.

    A doubt about the encoding and the repairs are kept as verdicts.
    """
    decoded = decode_source(source)
    units, repairs = _units(_lines_of(decoded.text), cjk=is_cjk(decoded.text[:20_000]))
    verdicts = encoding_verdicts(source, decoded)
    if reason := ", ".join(f"{n:,} {repair}" for repair, n in repairs.items() if n):
        step = "nothing; the words are unchanged"
        verdicts.append(document_verdict(source, "repaired", reason, step, keep=True))
    return rows_of(source, units, None, verdicts)


def _units(lines: Sequence[str], *, cjk: bool) -> tuple[list[Unit], Counter[str]]:
    """Return the units of a text's lines, and how many repairs of each kind were made."""
    layout = _layout_of(lines)
    groups = _groups_of(lines, layout)
    joiner = _Joiner(lines, cjk=cjk)
    folios = _folios(groups)
    units: list[Unit] = []
    for at, group in enumerate(groups):
        if at in folios:
            units.append(Unit(kind="folio", text=group.lines[0].strip(), fixed=True))
            continue
        below = groups[at + 1] if at + 1 < len(groups) else None
        for part in _parts(group, layout):
            level = _heading_level(part, layout, units[-1] if units else None, below)
            units.append(_unit(part, layout, joiner, level))
    return units, joiner.repairs


def _lines_of(text: str) -> list[str]:
    """Return the lines with tabs as spaces, without trailing spaces and invisible marks."""
    clean = text.replace("\ufeff", "").replace("\x00", "")
    return [line.expandtabs(8).rstrip() for line in _BREAKS.split(clean)]


def _layout_of(lines: Sequence[str]) -> _Layout:
    places = [at for at, line in enumerate(lines) if line.strip()]
    filled = [lines[at] for at in places]
    # For each filled line but the last, the blank lines below it.
    gaps = [(a, b - a - 1) for a, b in pairwise(places)]
    n_gaps = sum(gap > 0 for _, gap in gaps)
    cjk = is_cjk("\n".join(filled[:2000]))
    widths = sorted(_width(line) for line in filled) or [0]
    limit = 2 * _LONG_CHARS_CJK if cjk else _LONG_CHARS
    wrapped = sum(width > limit for width in widths) < _LONG_SHARE * len(widths)
    doubled = (
        wrapped
        and len(gaps) > 10
        and n_gaps >= _DOUBLED_SHARE * len(gaps)
        and _breaks_sentences([lines[at] for at, gap in gaps if gap == 1], filled)
    )
    counts = Counter(gap for _, gap in gaps if gap > doubled)
    indents = Counter(len(line) - len(line.lstrip()) for line in filled)
    margin = min(indents, key=lambda n: (-indents[n], n)) if indents else 0
    n_deeper = sum(n for indent, n in indents.items() if margin < indent <= margin + 10)
    return _Layout(
        width=widths[int((0.75 if cjk else 0.95) * (len(widths) - 1))],
        margin=margin,
        gap=counts.most_common(1)[0][0] if counts else 1 + doubled,
        wrapped=wrapped,
        doubled=doubled,
        indented=wrapped
        and n_gaps < 0.06 * len(gaps)
        and 0.03 * len(filled) < n_deeper < 0.6 * len(filled),
        cjk=cjk,
    )


def _breaks_sentences(above_blank: Sequence[str], filled: Sequence[str]) -> bool:
    """Tell whether blank lines stand within paragraphs: few sentences end above them."""
    if sum(map(ends_sentence, above_blank)) < 0.5 * len(above_blank):
        return True
    return 0.05 * len(filled) < sum(map(_has_wide_indent, filled)) < 0.6 * len(filled)


def _has_wide_indent(line: str) -> bool:
    """Tell whether the line has the indent of a Chinese paragraph."""
    return _WIDE_INDENT.match(line) is not None


def _width(line: str) -> int:
    """Return the columns of a line without its margin; a Chinese character takes two."""
    text = line.strip()
    return len(text) + len(_WIDE.findall(text)) if not text.isascii() else len(text)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _groups_of(lines: Sequence[str], layout: _Layout) -> list[_Group]:
    """Group the lines: a blank line, a paragraph's indent or a note's label starts a new group."""
    groups: list[_Group] = []
    current: list[str] = []
    n_blank, gap = 0, 0
    for line in lines:
        if not line.strip():
            n_blank += 1
            continue
        if current and (n_blank > layout.doubled or _starts_group(line, current, layout)):
            groups.append(_Group(current, gap))
            current = []
        if not current:
            gap = max(0, n_blank - layout.gap) if groups else n_blank
        current.append(line)
        n_blank = 0
    return [*groups, _Group(current, gap)] if current else groups


def _starts_group(line: str, group: Sequence[str], layout: _Layout) -> bool:
    """Tell whether a line starts a new group though no blank line is above it."""
    first, last = group[0], group[-1]
    if not layout.wrapped:
        return max(_width(line), _width(last)) > _LONG_CHARS_CJK
    if _has_wide_indent(line) and not (_has_wide_indent(first) and _has_wide_indent(last)):
        return True
    if _NOTE_LABEL.match(line) and (layout.doubled or _NOTE_LABEL.match(first)):
        return True
    if layout.cjk and _width(last) < _FULL_SHARE * layout.width:
        return _width(last) < 0.6 * layout.width or ends_sentence(last)
    if layout.indented:
        # A run of indented lines is verse, and stays one group up to the next line at the margin.
        before, here = (len(x) - len(x.lstrip()) > layout.margin for x in (last, line))
        return here and not before
    return False


class _Joiner:
    """Joins lines as the whole text requires, and counts the repairs."""

    def __init__(self, lines: Sequence[str], *, cjk: bool) -> None:
        self._cjk = cjk
        self.repairs: Counter[str] = Counter()
        filled = [line.strip() for line in lines if line.strip()]
        n_broken = sum(bool(_BROKEN.search(line[-_LAST_CHARS:])) for line in filled)
        short = (line for line in filled if len(line) < _MAX_LINE_CHARS)
        self._words = vocabulary_of(short) if n_broken else Counter[str]()
        self._typeset = n_broken > max(20, _TYPESET_SHARE * len(filled))

    def paragraph(self, lines: Sequence[str]) -> str:
        """Return the lines as one paragraph."""
        if self._typeset:
            text = joined([line.strip() for line in lines], self._words)
        else:
            parts: list[str] = []
            for line in lines:
                self._add(parts, line.strip(" \u3000"))
            text = "".join(parts)
        return self._without_marks(text.replace("\n", " "))

    def lines(self, lines: Sequence[str], separator: str = "\n") -> str:
        """Return the lines of verse or of a heading with `separator` between them."""
        return self._without_marks(separator.join(line.strip(" \u3000") for line in lines))

    def _add(self, parts: list[str], line: str) -> None:
        """Add a line to a paragraph's parts, with a space before it where words meet."""
        if not line:
            return
        # Only the end of the line before matters, however long the paragraph is.
        before = parts[-1][-_LAST_CHARS:] if parts else ""
        broken, first = _BROKEN.search(before), _FIRST_WORD.match(line)
        if broken and first and not before.endswith("--"):
            whole = (broken[1] + first[1]).casefold()
            hyphenated = f"{broken[1]}-{first[1]}".casefold()
            # Only the book itself can say that it writes the word without the hyphen.
            if self._words[whole] and not self._words[hyphenated] and first[1].islower():
                self.repairs["words joined that were broken at the end of a line"] += 1
                parts[-1] = parts[-1][:-1]
        elif not (
            not before
            or _NO_SPACE_END.search(before)
            or _NO_SPACE_START.match(line)
            or (self._cjk and _CJK_END.search(before) and _CJK_START.match(line))
        ):
            parts.append(" ")
        parts.append(line)

    def _without_marks(self, text: str) -> str:
        text = clean_text(text)
        for pattern, replacement, repair in (
            (_ITALICS, r"\1", "pairs of _ for italics removed"),
            (_BOLD, r"\1", "pairs of = for bold removed"),
            (_DROP_CAP, "", "bars before drop capitals removed"),
        ):
            text, n = pattern.subn(replacement, text)
            self.repairs[repair] += n
        return text


def _folios(groups: Sequence[_Group]) -> set[int]:
    """Return the places of printed page numbers: many of them, each one more than the last."""
    numbers = [
        (at, int(match[1]))
        for at, group in enumerate(groups)
        if len(group.lines) == 1 and (match := _FOLIO.match(group.lines[0]))
    ]
    n_steps = sum(b[1] - a[1] == 1 for a, b in pairwise(numbers))
    if len(numbers) < 10 or n_steps < 0.8 * (len(numbers) - 1):
        return set()
    distance = (numbers[-1][0] - numbers[0][0]) / len(numbers)
    is_count = numbers[-1][1] * 6 >= len(numbers) and distance < 12
    return {at for at, _ in numbers} if is_count else set()


def _parts(group: _Group, layout: _Layout) -> list[_Group]:
    """Separate runs of two and more indented lines from lines at the margin in the same group."""
    lines = group.lines
    if not layout.wrapped or len(lines) < 3:
        return [group]
    if starts := _list_entries(lines):
        parts = [lines[a:b] for a, b in pairwise([*starts, len(lines)])]
    else:
        deep = [_indent(line) >= layout.margin + 3 for line in lines]
        # A hanging indent is one paragraph: only its first line stands at the margin.
        is_hanging = not deep[0] and all(deep[1:])
        if all(deep) or is_hanging or not any(a and b for a, b in pairwise(deep)):
            return [group]
        # A single indented line is a paragraph's first one; only two in a row are set apart.
        apart = [
            here and (before or after)
            for before, here, after in zip([False, *deep], deep, [*deep[1:], False], strict=False)
        ]
        runs = groupby(zip(lines, apart, strict=True), key=itemgetter(1))
        parts = [[line for line, _ in run] for _, run in runs]
    return [_Group(part, 0 if n else group.gap) for n, part in enumerate(parts)]


def _list_entries(lines: Sequence[str]) -> list[int]:
    """Return the first line of each entry of a list with rising numbers, none for other text."""
    starts = _rising(lines, _ENTRY)
    return starts if len(starts) >= 3 and starts[0] == 0 else []


def _rising(lines: Sequence[str], pattern: re.Pattern[str]) -> list[int]:
    """Return the places of the lines that begin with a number, none where the numbers fall."""
    matches = [(at, pattern.match(line)) for at, line in enumerate(lines)]
    numbers = [(at, int(match[1])) for at, match in matches if match]
    falls = any(b[1] < a[1] for a, b in pairwise(numbers))
    return [] if falls else [at for at, _ in numbers]


def _heading_level(
    group: _Group, layout: _Layout, before: Unit | None, below: _Group | None
) -> int:
    """Return the level of the heading that the group is, 0 where it is none."""
    text = clean_text(" ".join(group.lines))
    below_number = before is not None and before.kind == "heading" and is_bare_number(before.text)
    capitals = text.isupper() and not layout.cjk and sum(map(str.isalpha, text)) > 2
    if len(group.lines) > (10 if capitals and below_number else _MAX_HEADING_LINES):
        return 0
    if not _may_be_title(text, capitals=capitals):
        return 0
    centred = group.indent >= layout.margin + 6
    n_words = word_count(text)
    level = level_by_words(text)
    if level in {1, 2} and (group.gap or centred or capitals or n_words <= 8):
        return level
    if level == 3 and (group.gap or centred or is_bare_number(text)):
        return 3
    title_level = max(3, before.level) if below_number and before else 3
    is_speech = text[:1] in "\"'“‘(—-" and n_words <= 4
    if capitals and not is_speech and not _OPEN_END.search(text):
        set_apart = (group.gap or below_number or centred) and n_words < 60
        # Old texts without gaps: a title stands at the margin above full lines.
        at_margin = _indent(group.lines[0]) <= layout.margin
        over_prose = at_margin and 1 < n_words <= 25 and _is_full(below, layout)
        return title_level if set_apart or over_prose else 0
    if below_number and not _SENTENCE_END.search(text) and n_words <= 16 and len(group.lines) < 3:
        return title_level
    return _plain_level(group, text, layout, below)


def _may_be_title(text: str, *, capitals: bool) -> bool:
    """Tell whether the text has a title's characters: mostly letters, no row of a table."""
    if _FOLIO.match(text):
        return True
    n_letters = sum(map(str.isalnum, text))
    if "|" in text or n_letters < 0.5 * len(text.replace(" ", "")) or text.startswith("["):
        return False
    return has_letters(text) and (capitals or not _OPEN_END.search(text))


def _is_full(group: _Group | None, layout: _Layout) -> bool:
    """Tell whether the group is a paragraph of full lines, right below the one before."""
    if group is None or group.gap or len(group.lines) < 3:
        return False
    return all(_width(line) > 0.6 * layout.width for line in group.lines[:-1])


def _plain_level(group: _Group, text: str, layout: _Layout, below: _Group | None) -> int:
    """Return the level of a short line far below the text above, or left of it, 0 for others."""
    if below is None or len(group.lines) > 2 or _SENTENCE_END.search(text):
        return 0
    if layout.cjk:
        if len(text) > 20:
            return 0
        if _indent(group.lines[0]) < layout.margin:
            return 2
        is_far = group.gap >= 1 and not re.search(r"[，、︰：；]", text)
        return 3 if is_far and len("".join(below.lines)) > 2 * len(text) else 0
    is_far = group.gap >= 2 and below.gap < group.gap
    return 3 if is_far and word_count(text) <= 10 and text[:1].isupper() else 0


def _unit(group: _Group, layout: _Layout, joiner: _Joiner, level: int) -> Unit:
    lines, gap = group.lines, group.gap
    if level:
        return Unit(kind="heading", text=joiner.lines(lines, " "), level=level, gap=gap)
    if not layout.wrapped:
        is_verse = set_apart = len(lines) > 1
    elif _is_table(lines):
        return Unit(kind="boilerplate", text=joiner.lines(lines), gap=gap)
    else:
        deep = group.indent >= layout.margin + 2 and not layout.indented
        is_verse = _is_verse(lines, layout, deep=deep)
        is_signature = len(lines) == 1 and _indent(lines[0]) > 0.35 * layout.width
        set_apart = is_verse or (deep and not is_signature)
    text = joiner.lines(lines) if is_verse else joiner.paragraph(lines)
    return Unit(kind="quote" if set_apart else "paragraph", text=text, gap=gap)


def _is_table(lines: Sequence[str]) -> bool:
    if len(_rising(lines, _YEAR)) >= _MIN_CHRONICLE_ROWS:
        return True
    n_rows = sum(bool(_COLUMNS.search(line.strip())) for line in lines)
    return len(lines) > 2 and n_rows > 0.6 * len(lines)


def _is_verse(lines: Sequence[str], layout: _Layout, *, deep: bool) -> bool:
    """Tell whether the line breaks are the author's: no line but the last is full."""
    if len(lines) < 2:
        return False
    longest = max(map(_width, lines))
    if not deep:
        return longest < 0.72 * layout.width and len(words(" ".join(lines))) > 1
    right = max(map(len, lines))
    n_full = sum(len(line) > right - _RAGGED_CHARS for line in lines[:-1])
    if n_full < 0.6 * (len(lines) - 1):
        return True
    n_capitals = sum(line.strip().lstrip("\"'“‘(_«„")[:1].isupper() for line in lines)
    return n_capitals >= 0.8 * len(lines) and longest < 0.85 * layout.width

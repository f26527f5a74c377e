"""Build the lines of a page from the glyphs that an engine draws, the same way for every engine."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from memoirist.extractors.pdf.layout.font_encodings import compose_signs, decode_bitmap_fonts
from memoirist.extractors.pdf.layout.geometry import Frame, Glyph, Line, Measures, PageLines, groups
from memoirist.extractors.pdf.layout.writing_direction import (
    horizontal_lines,
    in_reading_order,
    in_visual_order,
    is_vertical,
    is_visual_rtl,
)
from memoirist.extractors.repair import vocabulary_of

# A gap of this share of the font size is a space, of the last one the end of a text run.
_SPACE_EMS = 0.13
# A leaning letter stands off its exponent by more than that; a space between words is wider.
_SCRIPT_EMS = 0.21
_RUN_EMS = 3.0
_BOLD = re.compile(r"bold|black|heavy|demi|cmbx|cmb1|-bd\b", re.IGNORECASE)
_CJK = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]")
# When this share of the text lies beside the page, the page is cropped from a larger sheet.
_BESIDE_SHARE = 0.2
# A page is turned when nearly all of its characters run the same other way.
_TURNED_SHARE = 0.9
# The text layer of a scan leans with its lines, by up to some three degrees.
_MAX_SLOPE = 0.05
_MIN_DROP_CAP_RATIO = 1.7
# The letters that are words by themselves, in one language or another.
_ONE_LETTER_WORDS = frozenset("AIOYÀÔEÓÈ")

Directions = tuple[float, float, float, float]


@dataclass(slots=True, kw_only=True)
class PageGlyphs:
    """One page as an engine draws it; sizes in points, after the page's own rotation.

    `sides` holds the glyphs that run upright, and those that do when the page is turned once,
    twice or three times to the right, with their places on the page so turned. `n_askew` counts
    characters that run in no such direction.
    """

    width: float
    height: float
    sides: tuple[list[Glyph], list[Glyph], list[Glyph], list[Glyph]] = field(
        default_factory=lambda: ([], [], [], [])
    )
    n_askew: int = 0
    has_image: bool = False

    @property
    def n_chars(self) -> int:
        """Return how many characters the page shows, in any direction."""
        return sum(map(_n_chars, self.sides)) + self.n_askew


def _n_chars(glyphs: Iterable[Glyph]) -> int:
    return sum(len(glyph.text) for glyph in glyphs)


def rotated(directions: Directions, turns: int) -> Directions:
    """Return a matrix's a, b, c and d as they are on a page turned to the right."""
    a, b, c, d = directions
    for _ in range(turns % 4):
        a, b, c, d = b, -a, d, -c
    return a, b, c, d


def turned_place(
    x: float, y: float, turns: int, width: float, height: float
) -> tuple[float, float]:
    """Return where a place of a page is when the page is turned to the right `turns` times."""
    for _ in range(turns % 4):
        x, y, width, height = y, width - x, height, width
    return x, y


def turns_to_upright(directions: Directions) -> int | None:
    """Return how many turns to the right make a text upright; None when none does."""
    for turns in range(4):
        a, b, _, d = directions
        if a > 0 and d > 0 and abs(b) < _MAX_SLOPE * a:
            return turns
        directions = rotated(directions, 1)
    return None


def build_page(drawn: PageGlyphs, page: int) -> PageLines:
    """Return the lines of one page, turned upright where nearly all of it runs another way."""
    counts = [_n_chars(side) for side in drawn.sides]
    side = max(range(4), key=counts.__getitem__)
    if counts[side] < _TURNED_SHARE * drawn.n_chars:
        side = 0
    width, height = drawn.width, drawn.height
    if side % 2:
        width, height = height, width
    glyphs = _on_page(decode_bitmap_fonts(drawn.sides[side]), width, height)
    if is_vertical(glyphs):
        lines = horizontal_lines(glyphs, height, page)
        width, height = height, width
    elif is_visual_rtl(glyphs):
        lines = in_reading_order(_lines(in_visual_order(glyphs), page), width)
    else:
        lines = _lines(glyphs, page)
    return PageLines(
        page=page,
        width=width,
        height=height,
        lines=tuple(line if line.text.isascii() else _with_composed_signs(line) for line in lines),
        has_image=drawn.has_image,
        n_turned=drawn.n_chars - counts[side],
    )


def _on_page(glyphs: Sequence[Glyph], width: float, height: float) -> Sequence[Glyph]:
    """Return the glyphs that lie on the page, where a good part lies beside it.

    That is the other half of a cropped sheet; a line that runs over the edge stays whole.
    """
    inside = [
        glyph
        for glyph in glyphs
        if glyph.x1 > 0 and glyph.x0 < width and glyph.base + glyph.size > 0 and glyph.base < height
    ]
    return inside if len(glyphs) - len(inside) > _BESIDE_SHARE * len(glyphs) else glyphs


def _with_composed_signs(line: Line) -> Line:
    text = compose_signs(line.text)
    # What stands before a mark may have grown shorter.
    marks = tuple(
        (len(compose_signs(line.text[:start])), len(compose_signs(line.text[:end])))
        for start, end in line.marks
    )
    return line if text == line.text else replace(line, text=text, marks=marks)


def _lines(glyphs: Iterable[Glyph], page: int) -> list[Line]:
    """Group `glyphs`, in the order of drawing, into lines sorted from top to bottom."""
    runs = (run for run in _runs(glyphs) if any(glyph.text.strip() for glyph in run))
    return _join_rows([_line(run, page) for run in runs])


def _runs(glyphs: Iterable[Glyph]) -> list[list[Glyph]]:
    runs: list[list[Glyph]] = []
    tallest: Glyph | None = None
    for glyph in glyphs:
        if tallest is not None:
            small = min(glyph.size, tallest.size)
            gap = glyph.x0 - runs[-1][-1].x1
            max_gap = _RUN_EMS * max(glyph.size, tallest.size)
            # A raised mark lies within .65 of its own size of the baseline; the next line of
            # text and the line beside a drop capital do not.
            if abs(glyph.base - tallest.base) < 0.65 * small and -0.6 * small < gap < max_gap:
                runs[-1].append(glyph)
                if glyph.size > tallest.size:
                    tallest = glyph
                continue
        runs.append([glyph])
        tallest = glyph
    return runs


def _line(run: Sequence[Glyph], page: int) -> Line:
    first = run[0]
    if len(run) == 1:
        # Most lines that PDFium reads; it would take several times as long as below.
        return Line(
            page=page,
            x0=round(first.x0, 2),
            x1=round(first.x1, 2),
            y=round(first.base, 2),
            size=round(first.size, 1),
            text=first.text.strip(),
            bold=float(_is_bold(first.font)),
        )
    sizes: Counter[float] = Counter()
    for glyph in run:
        sizes[round(glyph.size, 1)] += len(glyph.text)
    size = max(sizes, key=lambda size: (sizes[size], size))
    base = next(glyph.base for glyph in run if round(glyph.size, 1) == size)
    text, marks = _text_and_marks(run, base, size)
    visible = [glyph for glyph in run if glyph.text.strip()]
    n_bold = sum(len(glyph.text) for glyph in visible if _is_bold(glyph.font))
    return Line(
        page=page,
        x0=round(min(glyph.x0 for glyph in visible), 2),
        x1=round(max(glyph.x1 for glyph in visible), 2),
        y=round(base, 2),
        size=size,
        text=text,
        bold=round(n_bold / _n_chars(visible), 2),
        marks=marks,
    )


@lru_cache(maxsize=1024)
def _is_bold(font: str) -> bool:
    return bool(_BOLD.search(font))


def _text_and_marks(
    run: Sequence[Glyph], base: float, size: float
) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Return the text of a run with its spaces, and where its raised small marks lie."""
    parts: list[str] = []
    marks: list[tuple[int, int]] = []
    length, end = 0, None
    for glyph in run:
        text, small = glyph.text, glyph.size < 0.85 * size
        is_script = small and abs(glyph.base - base) > 0.1 * size
        space = (_SCRIPT_EMS if is_script else _SPACE_EMS) * size
        if end is not None and glyph.x0 - end > space and text[0] != " ":
            last = parts[-1][-1]
            wide = glyph.x0 - end > 0.5 * size
            if last != " " and (wide or not (_CJK.match(text) and _CJK.match(last))):
                parts.append(" ")
                length += 1
        end = glyph.x1
        if text == " " and parts and parts[-1][-1] == " ":
            continue
        if small and glyph.base - base > 0.15 * size and text.strip():
            start = marks.pop()[0] if marks and marks[-1][1] == length else length
            marks.append((start, length + len(text)))
        parts.append(text)
        length += len(text)
    joined = "".join(parts)
    lead = len(joined) - len(joined.lstrip())
    return joined.strip(), tuple((start - lead, stop - lead) for start, stop in marks)


def _join_rows(lines: Iterable[Line]) -> list[Line]:
    """Sort lines by row, then from left to right, and join what was drawn in pieces."""
    rows = groups(
        sorted(lines, key=lambda line: -line.y),
        lambda row, line: row[0].y - line.y < 0.4 * min(line.size, row[0].size),
    )
    joined: list[Line] = []
    for row in rows:
        start = len(joined)
        for line in sorted(row, key=lambda line: line.x0):
            if len(joined) > start and _touch(joined[-1], line):
                joined[-1] = _merge(joined[-1], line)
            else:
                joined.append(line)
    return joined


def _touch(left: Line, right: Line) -> bool:
    """Tell whether `right` goes on where `left` ends; a drop capital stays by itself."""
    if len(left.text) < 3 and left.size > 1.6 * right.size:
        return False
    # Full-width punctuation may reach over half of its neighbour.
    return -0.7 * right.size < right.x0 - left.x1 < right.size


def _merge(left: Line, right: Line) -> Line:
    main = left if len(left.text) >= len(right.text) else right
    space = " " if right.x0 - left.x1 > _SPACE_EMS * main.size else ""
    text = left.text + space + right.text
    offset = len(text) - len(right.text)
    marks = tuple((start + offset, end + offset) for start, end in right.marks)
    if right.size < 0.85 * left.size and right.y - left.y > 0.15 * left.size:
        marks = ((offset, len(text)),)
    return replace(main, x0=left.x0, x1=max(left.x1, right.x1), text=text, marks=left.marks + marks)


def join_drop_caps(frames: Sequence[Frame], measures: Measures) -> list[Frame]:
    """Return `frames` with each drop capital joined to the first of the lines beside it."""
    words: Counter[str] = Counter()
    frames_joined: list[Frame] = []
    for frame in frames:
        lines = list(frame.lines)
        for drop_cap in [line for line in lines if _is_drop_cap(line, measures)]:
            beside = [line for line in lines if _runs_around(line, drop_cap, measures)]
            if beside:
                if not words and drop_cap.text in _ONE_LETTER_WORDS:
                    words = vocabulary_of(line.text for other in frames for line in other.lines)
                lines = _with_drop_cap(lines, drop_cap, beside, words)
        frames_joined.append(replace(frame, lines=tuple(lines)))
    return frames_joined


def _is_drop_cap(line: Line, measures: Measures) -> bool:
    large = len(line.text) <= 2 and line.size >= _MIN_DROP_CAP_RATIO * measures.size
    return large and sum(letter.isalpha() for letter in line.text) == 1


def _runs_around(line: Line, drop_cap: Line, measures: Measures) -> bool:
    near = -1 < line.x0 - drop_cap.x1 < 1.5 * measures.size
    beside = drop_cap.y - 0.3 * measures.size < line.y < drop_cap.y + drop_cap.size
    return near and beside and line.size < 1.2 * measures.size


def _with_drop_cap(
    lines: Sequence[Line], drop_cap: Line, beside: Sequence[Line], words: Counter[str]
) -> list[Line]:
    first = max(beside, key=lambda line: line.y)
    rest = first.text.split(maxsplit=1)[0].casefold().rstrip(".,;:!?")
    letter = drop_cap.text.casefold()
    # "Y a-t-il" and "A man": the book knows the letter as a word, and not the two in one.
    known = words[letter] > 0 or letter in "aio"
    is_word = drop_cap.text in _ONE_LETTER_WORDS and known and not words[letter + rest]
    start = drop_cap.text + (" " if is_word else "")
    joined: list[Line] = []
    for line in lines:
        if line is first:
            marks = tuple((a + len(start), b + len(start)) for a, b in line.marks)
            joined.append(replace(line, x0=drop_cap.x0, text=start + line.text, marks=marks))
        elif line is not drop_cap:
            joined.append(replace(line, x0=drop_cap.x0) if line in beside else line)
    return joined

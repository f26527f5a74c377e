"""What an engine draws of one page becomes the page's lines, the same way for every engine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from memoirist.extractors.pdf.layout.font_encodings import decoded
from memoirist.extractors.pdf.layout.geometry import Glyph, Line, PageLines, lines_of
from memoirist.extractors.pdf.layout.tex_fonts import composed
from memoirist.extractors.pdf.layout.vertical import column_lines, is_vertical
from memoirist.extractors.pdf.layout.writing_direction import (
    in_reading_order,
    in_visual_order,
    stands_as_seen,
)

# So much of a page's text lies beside it when the page is a part of a larger sheet.
_BESIDE = 0.2
Directions = tuple[float, float, float, float]
# A page is turned when nearly all of its characters run the same other way.
_TURNED_SHARE = 0.9
# The text layer of a scan leans with its lines, by up to some three degrees.
_MAX_SLOPE = 0.05


@dataclass(slots=True, kw_only=True)
class Drawn:
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


def _seen(glyphs: Sequence[Glyph], width: float, height: float) -> list[Glyph]:
    """Return the glyphs that lie on the page, where a good part lies beside it.

    That is the other half of a cropped sheet; a line that runs over the edge stays whole.
    """
    seen = [
        glyph
        for glyph in glyphs
        if glyph.x1 > 0 and glyph.x0 < width and glyph.base + glyph.size > 0 and glyph.base < height
    ]
    return seen if len(glyphs) - len(seen) > _BESIDE * len(glyphs) else list(glyphs)


def turned(directions: Directions, turns: int) -> Directions:
    """Return a matrix's a, b, c and d as they are on a page turned to the right."""
    a, b, c, d = directions
    for _ in range(turns % 4):
        a, b, c, d = b, -a, d, -c
    return a, b, c, d


def side_of(directions: Directions) -> int | None:
    """Return how many turns to the right make a text upright; None when none does."""
    a, b, c, d = directions
    if a > 0 and d > 0 and abs(b) < _MAX_SLOPE * a:
        return 0
    for turns in (1, 2, 3):
        a, b, c, d = b, -a, d, -c
        if a > 0 and d > 0 and abs(b) < _MAX_SLOPE * a:
            return turns
    return None


def assembled(drawn: Drawn, page: int) -> PageLines:
    """Return the lines of one page, turned upright where nearly all of it runs another way."""
    counts = [_n_chars(side) for side in drawn.sides]
    side = max(range(4), key=counts.__getitem__)
    if counts[side] < _TURNED_SHARE * (sum(counts) + drawn.n_askew):
        side = 0
    size = (drawn.width, drawn.height) if side % 2 == 0 else (drawn.height, drawn.width)
    seen = _seen(decoded(drawn.sides[side]), *size)
    if is_vertical(seen):
        lines, size = column_lines(seen, size[1], page), (size[1], size[0])
    elif stands_as_seen(seen):
        lines = in_reading_order(lines_of(in_visual_order(seen), page), size[0])
    else:
        lines = lines_of(seen, page)
    lines = tuple(line if line.text.isascii() else _composed(line) for line in lines)
    return PageLines(
        page=page,
        width=size[0],
        height=size[1],
        lines=lines,
        has_image=drawn.has_image,
        n_turned=sum(counts) + drawn.n_askew - counts[side],
    )


def _composed(line: Line) -> Line:
    text = composed(line.text)
    if text == line.text:
        return line
    # What stands before a mark may have grown shorter.
    marks = tuple(
        (len(composed(line.text[:start])), len(composed(line.text[:end])))
        for start, end in line.marks
    )
    return replace(line, text=text, marks=marks)

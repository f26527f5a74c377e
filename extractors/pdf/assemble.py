"""What an engine draws of one page becomes the page's lines, the same way for every engine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from extractors.pdf.bitmap_fonts import decoded
from extractors.pdf.lines import Glyph, PageLines, lines_of

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
    return PageLines(
        page=page,
        width=size[0],
        height=size[1],
        lines=lines_of(decoded(drawn.sides[side]), page),
        has_image=drawn.has_image,
        n_turned=sum(counts) + drawn.n_askew - counts[side],
    )

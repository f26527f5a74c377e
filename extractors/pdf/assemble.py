"""What an engine draws of one page becomes the page's lines, the same way for every engine."""

from __future__ import annotations

from dataclasses import dataclass, field

from extractors.pdf.bitmap_fonts import decoded
from extractors.pdf.lines import Glyph, PageLines, lines_of


@dataclass(slots=True, kw_only=True)
class Drawn:
    """One page as an engine draws it; sizes in points, after the page's own rotation."""

    width: float
    height: float
    glyphs: list[Glyph] = field(default_factory=list)
    n_turned: int = 0
    has_image: bool = False


def assembled(drawn: Drawn, page: int) -> PageLines:
    """Return the lines of one page."""
    return PageLines(
        page=page,
        width=drawn.width,
        height=drawn.height,
        lines=lines_of(decoded(drawn.glyphs), page),
        has_image=drawn.has_image,
        n_turned=drawn.n_turned,
    )

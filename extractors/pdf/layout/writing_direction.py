"""Arabic and Hebrew: what stands from right to left on the page is put into reading order."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace

from memoirist.extractors.pdf.layout.geometry import Glyph, Line

RTL = re.compile(r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]")
# A letter with the marks that belong to it stays in one piece.
_CLUSTER = re.compile(r".[\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed]*", re.DOTALL)
# Numbers and other scripts keep their own direction, with what stands between their words.
_OTHER = r"[0-9A-Za-z\u00c0-\u024f\u0660-\u0669]+"
_STRONG = re.compile(rf"{_OTHER}(?:[ .,:/%'’-]+{_OTHER})*")
_MIRROR = str.maketrans("()[]{}<>«»", ")(][}{><»«")
_MAIN_SHARE = 0.5
_MAX_LIGATURE = 4


def stands_as_seen(glyphs: Iterable[Glyph]) -> bool:
    """Tell whether a page has letters from right to left, each in its own place.

    A font that gives whole words for one glyph gives them in reading order already.
    """
    found = [len(glyph.text) for glyph in glyphs if RTL.search(glyph.text)]
    return bool(found) and max(found) <= _MAX_LIGATURE


def in_visual_order(glyphs: Iterable[Glyph]) -> list[Glyph]:
    """Return glyphs whose letters stand as they are seen: a ligature's are turned round."""
    return [
        glyph._replace(text=_reversed(glyph.text))
        if len(glyph.text) > 1 and RTL.search(glyph.text)
        else glyph
        for glyph in glyphs
    ]


def in_reading_order(lines: Sequence[Line], width: float) -> tuple[Line, ...]:
    """Return lines with their letters in reading order.

    A page that is mostly written from right to left is mirrored as well, so that a paragraph
    begins with its indent and columns follow one another as elsewhere.
    """
    text = "".join(line.text for line in lines)
    letters = sum(char.isalpha() for char in text)
    mirrored = len(RTL.findall(text)) > _MAIN_SHARE * letters
    return tuple(_read(line, width if mirrored else None) for line in lines)


def _read(line: Line, width: float | None) -> Line:
    text = unicodedata.normalize("NFKC", logical(line.text)) if RTL.search(line.text) else line.text
    if width is None:
        return replace(line, text=text)
    return replace(line, text=text, marks=(), x0=width - line.x1, x1=width - line.x0)


def logical(seen: str) -> str:
    """Return in reading order a line that is given as it is seen from left to right."""
    n_rtl = len(RTL.findall(seen))
    n_ltr = sum(char.isalpha() for char in seen) - n_rtl
    if n_rtl >= n_ltr:
        turned = _reversed(seen).translate(_MIRROR)
        return _STRONG.sub(lambda match: match[0][::-1], turned)
    return re.sub(rf"{RTL.pattern}(?:.*{RTL.pattern})?", lambda match: _reversed(match[0]), seen)


def _reversed(text: str) -> str:
    return "".join(reversed(_CLUSTER.findall(text)))

"""See how a plain text is laid out, and cut its lines into strips that belong together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from memoirist.data.text.words import CJK, ends_sentence, is_cjk

_BREAKS = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_WIDE = re.compile(rf"[{CJK}\u3000-\u303f\uff01-\uff60\u2014\u2018-\u201d\u2026\ufe30-\ufe4f]")
_WIDE_INDENT = re.compile(r"^[\u3000\s]*\u3000")
_LABEL = re.compile(
    r"^\s*(?:\[\w{1,4}\]|\(\*\d+\)|〔\d+〕|［\d+］|[①-⑳]|\*{1,3}\s|†|‡|[ヾゝゞ々ぁ-と](?=\S))"
)
_LONG_CHARS, _LONG_CHARS_CJK = 130, 80
_LONG_SHARE = 0.1
_DOUBLED_SHARE = 0.85
# Chinese lines are all filled, but for the last one of a paragraph.
_FILLED = 0.92


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a text is set: the width of its lines in columns, its common margin and gap.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """Lines without a blank one between them, and the blank lines above that are too many."""

    lines: tuple[str, ...]
    gap: int


def lines_of(text: str) -> list[str]:
    """Return the lines with tabs as spaces, nothing behind the last word, no invisible marks."""
    clean = text.replace("\ufeff", "").replace("\x00", "")
    return [line.expandtabs(8).rstrip() for line in _BREAKS.split(clean)]


def layout_of(lines: Sequence[str]) -> Layout:
    """Measure how the lines are laid out."""
    filled = [line for line in lines if line.strip()]
    cjk = is_cjk("\n".join(filled[:2000]))
    lengths = sorted(columns(line) for line in filled) or [0]
    limit = 2 * _LONG_CHARS_CJK if cjk else _LONG_CHARS
    n_long = sum(length > limit for length in lengths)
    wrapped = n_long < _LONG_SHARE * len(lengths)
    gaps = _gaps(lines)
    ones = [at for at, gap in gaps if gap == 1]
    doubled = (
        wrapped
        and len(gaps) > 10
        and sum(gap > 0 for _, gap in gaps) >= _DOUBLED_SHARE * len(gaps)
        and (
            sum(ends_sentence(lines[at]) for at in ones) < 0.5 * len(ones)
            or 0.05 * len(filled) < sum(map(_opens_wide, filled)) < 0.6 * len(filled)
        )
    )
    counted = Counter(gap for _, gap in gaps if gap > doubled)
    indents = Counter(len(line) - len(line.lstrip()) for line in filled)
    margin = min(indents, key=lambda n: (-indents[n], n)) if indents else 0
    deeper = sum(n for indent, n in indents.items() if margin < indent <= margin + 10)
    return Layout(
        width=lengths[int((0.75 if cjk else 0.95) * (len(lengths) - 1))],
        margin=margin,
        gap=counted.most_common(1)[0][0] if counted else 1 + doubled,
        wrapped=wrapped,
        doubled=doubled,
        indented=wrapped
        and sum(gap > 0 for _, gap in gaps) < 0.06 * len(gaps)
        and 0.03 * len(filled) < deeper < 0.6 * len(filled),
        cjk=cjk,
    )


def _opens_wide(line: str) -> bool:
    """Tell whether the line has the indent of a Chinese paragraph."""
    return _WIDE_INDENT.match(line) is not None


def columns(line: str) -> int:
    """Return the width of a line without its margin; a Chinese character takes two columns."""
    text = line.strip()
    return len(text) + len(_WIDE.findall(text)) if not text.isascii() else len(text)


def _gaps(lines: Sequence[str]) -> list[tuple[int, int]]:
    """Return, for each filled line but the last, its place and the blank lines below it."""
    places = [at for at, line in enumerate(lines) if line.strip()]
    return [(a, b - a - 1) for a, b in pairwise(places)]


def strips_of(lines: Sequence[str], layout: Layout) -> list[Strip]:
    """Cut the lines at blank ones, at indents where these open paragraphs, and at note marks."""
    found: list[Strip] = []
    held: list[str] = []
    blank, gap = 0, 0

    def close() -> None:
        nonlocal held
        if held:
            found.append(Strip(lines=tuple(held), gap=gap))
        held = []

    for line in lines:
        if not line.strip():
            blank += 1
            continue
        parted = blank > layout.doubled or (held and _opens(line, held, layout))
        if parted and held:
            close()
        if not held:
            gap = max(0, blank - layout.gap) if found else blank
        held.append(line)
        blank = 0
    close()
    return found


def _opens(line: str, held: Sequence[str], layout: Layout) -> bool:
    """Tell whether a line opens a new strip though no blank line is above it."""
    if not layout.wrapped:
        return max(columns(line), columns(held[-1])) > _LONG_CHARS_CJK
    if _opens_wide(line) and not (_opens_wide(held[0]) and _opens_wide(held[-1])):
        return True
    if _LABEL.match(line) and (layout.doubled or _LABEL.match(held[0])):
        return True
    if layout.cjk and columns(held[-1]) < _FILLED * layout.width:
        short = columns(held[-1]) < 0.6 * layout.width
        return short or ends_sentence(held[-1])
    indent = len(line) - len(line.lstrip())
    if layout.indented:
        # A deeper run is verse, and stays one strip until the text is back at the margin.
        before = len(held[-1]) - len(held[-1].lstrip())
        return (indent > layout.margin) != (before > layout.margin) and indent > layout.margin
    return False

"""Cut the text of one HTML block into pieces: paragraphs, stanzas of verse, headings, captions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from memoirist.data.schema.records import BlockKind
from memoirist.data.text.words import ends_sentence
from memoirist.extractors.text.text_unit import bare, tidied

_STANZA = re.compile(r"\n{2,}")
_LINE_CHARS = 75
TITLE_CHARS = 160
_CAPTION_CHARS = 120
_CREDIT = re.compile(
    r"^(?:photo|copyright|©|courtesy|from an? (?:photo|paint|draw|engrav|portrait|print))", re.I
)
NO_ALT = "picture"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What the elements around say of the text: its kind, and how its white space counts."""

    kind: BlockKind | None = None
    sure: bool = False
    level: int = 0
    pre: bool = False
    verse: bool = False
    line: bool = False
    initial: bool = False
    link: bool = False


def pieces(text: str, place: Place) -> Iterator[tuple[BlockKind, str]]:
    """Give kind and text of each unit in the text of one block."""
    if place.level and (place.kind is None or not place.sure):
        yield "heading", tidied(" ".join(text.split()))
        return
    kind = place.kind
    for part in _STANZA.split(tidied(text)):
        lines = [line for line in part.split("\n") if line.strip()]
        if not lines:
            continue
        if kind in {None, "quote"} and len(lines) > 1:
            if place.verse or _are_lines(lines):
                yield kind or "quote", "\n".join(lines)
                continue
            if place.pre or max(map(len, lines)) <= _LINE_CHARS:
                yield kind or "paragraph", " ".join(lines)
                continue
            # Long pieces between single breaks are paragraphs that somebody broke by hand.
            for line in lines:
                yield kind or "paragraph", line
            continue
        joined = "\n".join(lines) if place.verse else " ".join(lines)
        yield kind or ("quote" if place.verse else "paragraph"), joined


def _are_lines(lines: Sequence[str]) -> bool:
    """Tell whether breaks make lines of verse or of an address: short, and capitals mostly."""
    if max(map(len, lines)) > _LINE_CHARS:
        return False
    starts = sum(line.lstrip("\"'“‘(«„¿¡—-")[:1].isupper() for line in lines)
    ragged = len(lines) < 4 or max(map(len, lines[:-1])) - min(map(len, lines[:-1])) > 8
    return starts >= 0.6 * len(lines) or ragged


def is_caption(text: str, alt: str) -> bool:
    """Tell whether the words beside or right below a picture are its caption."""
    words = " ".join(text.split())
    if len(words) > _CAPTION_CHARS:
        return False
    return bare(words) == bare(alt) or not ends_sentence(words) or bool(_CREDIT.match(words))

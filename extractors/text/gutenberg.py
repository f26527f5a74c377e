"""Find the words of libraries around a book: headers, licences, credits, transcribers' notes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from memoirist.extractors.text.text_unit import Unit, size

_NAME = r"project\s+guten(?:b[eu]rg|berg)"
_START = re.compile(rf"\*\s*(?:START|BEGIN)\s+OF\s+(?:THE|THIS)?\s*{_NAME}", re.IGNORECASE)
_END = re.compile(rf"\*\s*END\s+OF\s+(?:THE|THIS)?\s*{_NAME}", re.IGNORECASE)
# The old editions' header ends so; their marks are trusted on the right side of the middle alone.
_OLD_START = re.compile(r"\*END\W*THE SMALL PRINT", re.IGNORECASE)
_OLD_END = re.compile(
    rf"^\W*end of\s+(?:the |this )?{_NAME}|^\W*\*+\s*START\W*THE SMALL PRINT"
    r"|^\W*(?:the )?full project gutenberg licen[sc]e"
    r"|^\W*(?:ende|fin) (?:dieses|de ce|de este|du|del)?\W*(?:projekt|projet|proyecto)\W+gutenberg",
    re.IGNORECASE | re.MULTILINE,
)
_LICENCE = re.compile(
    rf"{_NAME}(?:-tm|™)?|e-?book is for the use of|gutenberg literary archive", re.IGNORECASE
)
_CREDIT = re.compile(
    r"^\W*(?:this e-?(?:text|book) (?:was )?(?:produced|prepared)|(?:e-?text|html version"
    r"|e-?book)\s+(?:was\s+)?"
    r"(?:prepared|produced|created|scanned)|produced by|prepared by|scanned by|digitized by"
    r"|transcribed (?:by|from)"
    r"|updated editions will replace|\[?\s*transcriber.?s.? note|\[?\s*note (?:of"
    r"|by) (?:the )?transcriber"
    r"|\[?\s*etext editor|distributed proofread|credits:)",
    re.IGNORECASE,
)
_IMPRINT = re.compile(
    r"©|\bcopyright\b|all rights reserved|alle rechte vorbehalten|tous droits réservés"
    r"|todos los derechos reservados|\bisbn\b|library of congress|no part of this|first published"
    r"|published by|printed in|public domain",
    re.IGNORECASE,
)
_CREDIT_REACH = 12


def mark_library(units: Sequence[Unit]) -> None:
    """Name what stands outside a library's start and end marks boilerplate, credits within too.

    Marks are Project Gutenberg's, of its old editions ("small print") and of the new ones.
    """
    first, last = _bounds(units)
    for at, unit in enumerate(units):
        inside = first <= at < last
        if (
            not inside
            or (_CREDIT.match(unit.text) and _is_credit(unit, at - first, last - at))
            or _is_licence(unit)
        ):
            _drop(unit)


def _bounds(units: Sequence[Unit]) -> tuple[int, int]:
    """Return the first unit of the book itself and the one after its last."""
    middle = _middle(units)
    first = max(
        (
            at + 1
            for at, unit in enumerate(units)
            if _START.search(unit.text) or (at < middle and _OLD_START.search(unit.text))
        ),
        default=0,
    )
    # "End of the Project Gutenberg Etext of volume 1" may stand between two volumes.
    closing = [
        at
        for at, unit in enumerate(units)
        if at >= first and (_END.search(unit.text) or (at > middle and _OLD_END.search(unit.text)))
    ]
    last = len(units)
    for at in closing:
        if not any(_is_story(unit) for unit in units[at + 1 : at + 40]):
            last = at
            break
        _drop(units[at])
    return first, last


def _middle(units: Sequence[Unit]) -> int:
    """Return the unit at half of the words."""
    half, seen = _words(units) / 2, 0
    for at, unit in enumerate(units):
        seen += size(unit.text)
        if seen >= half:
            return at
    return len(units)


def _words(units: Sequence[Unit]) -> int:
    return sum(size(unit.text) for unit in units)


def _is_story(unit: Unit) -> bool:
    """Tell whether a unit behind an end mark is the next volume's text, not the licence."""
    return unit.kind == "heading" and bool(re.match(r"(?:chapter|volume|book)\b", unit.text, re.I))


def _is_credit(unit: Unit, from_start: int, from_end: int) -> bool:
    noted = re.match(r"\W*(?:transcriber|note (?:of|by)|etext)", unit.text, re.IGNORECASE)
    return bool(noted) or (size(unit.text) < 80 and min(from_start, from_end) < _CREDIT_REACH)


def _is_licence(unit: Unit) -> bool:
    hits = len(_LICENCE.findall(unit.text))
    return hits >= 2 and hits * 50 >= size(unit.text)


def is_imprint(text: str) -> bool:
    """Tell whether a short text speaks of copyright, publisher and printing."""
    hits = len(_IMPRINT.findall(text))
    return hits > 0 and hits * 40 >= size(text)


def _drop(unit: Unit) -> None:
    unit.kind, unit.level = "boilerplate", 0

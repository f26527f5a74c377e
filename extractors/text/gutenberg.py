"""Find what Project Gutenberg and other libraries add: headers, licences, credits, notes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from memoirist.extractors.text.encoding import decode, unix_lines
from memoirist.extractors.text.text_unit import Unit, word_count

_HEAD_BYTES = 20_000
_FIELD = re.compile(r"^(title|author):[ \t]*(.+(?:\n[ \t]+\S.*)*)", re.IGNORECASE | re.MULTILINE)
_NAME = r"project\s+guten(?:b[eu]rg|berg)"
_START = re.compile(rf"\*\s*(?:START|BEGIN)\s+OF\s+(?:THE|THIS)?\s*{_NAME}", re.IGNORECASE)
_END = re.compile(rf"\*\s*END\s+OF\s+(?:THE|THIS)?\s*{_NAME}", re.IGNORECASE)
# The end of the header in old editions; a mark counts only in the half of the book it belongs to.
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
    r"|e-?book)\s+(?:was\s+)?(?:prepared|produced|created|scanned)|produced by|prepared by"
    r"|scanned by|digitized by|transcribed (?:by|from)|updated editions will replace"
    r"|\[?\s*transcriber.?s.? note|\[?\s*note (?:of|by) (?:the )?transcriber|\[?\s*etext editor"
    r"|distributed proofread|credits:)",
    re.IGNORECASE,
)
_IMPRINT = re.compile(
    r"©|\bcopyright\b|all rights reserved|alle rechte vorbehalten|tous droits réservés"
    r"|todos los derechos reservados|\bisbn\b|library of congress|no part of this|first published"
    r"|published by|printed in|public domain",
    re.IGNORECASE,
)
_CREDIT_REACH = 12


def header_names(path: Path) -> tuple[str | None, str | None]:
    """Return title and author as a library's header states them."""
    try:
        with path.open("rb") as file:
            head = decode(file.read(_HEAD_BYTES)).text
    except OSError:
        # The extract step raises it again, where it becomes the source's verdict.
        return None, None
    if "gutenberg" not in head.lower():
        return None, None
    fields = {name.lower(): value for name, value in reversed(_FIELD.findall(unix_lines(head)))}
    title, author = fields.get("title"), fields.get("author")
    return (
        title.splitlines()[0].strip() if title else None,
        " ".join(author.split()) if author else None,
    )


def mark_library_text(units: Sequence[Unit]) -> None:
    """Mark as boilerplate what stands outside a library's start and end marks, and credits within.

    The marks are Project Gutenberg's, of its old editions ("small print") and of the new ones.
    """
    first, last = _bounds(units)
    for at, unit in enumerate(units):
        if (
            not first <= at < last
            or (_CREDIT.match(unit.text) and _is_credit(unit, at - first, last - at))
            or _is_licence(unit)
        ):
            _mark(unit)


def _bounds(units: Sequence[Unit]) -> tuple[int, int]:
    """Return the first unit of the book itself and the one after its last."""
    middle = _middle(units)
    starts = [
        at + 1
        for at, unit in enumerate(units)
        if _START.search(unit.text) or (at < middle and _OLD_START.search(unit.text))
    ]
    first = max(starts, default=0)
    # "End of the Project Gutenberg Etext of volume 1" may stand between two volumes.
    for at, unit in enumerate(units):
        if at < first:
            continue
        if _END.search(unit.text) or (at > middle and _OLD_END.search(unit.text)):
            if not any(map(_opens_volume, units[at + 1 : at + 40])):
                return first, at
            _mark(unit)
    return first, len(units)


def _middle(units: Sequence[Unit]) -> int:
    """Return the unit at half of the words."""
    counts = [word_count(unit.text) for unit in units]
    half, n_words = sum(counts) / 2, 0
    for at, count in enumerate(counts):
        n_words += count
        if n_words >= half:
            return at
    return len(units)


def _opens_volume(unit: Unit) -> bool:
    """Tell whether a unit behind an end mark is the next volume's text, not the licence."""
    return unit.kind == "heading" and bool(re.match(r"(?:chapter|volume|book)\b", unit.text, re.I))


def _is_credit(unit: Unit, from_start: int, from_end: int) -> bool:
    is_note = re.match(r"\W*(?:transcriber|note (?:of|by)|etext)", unit.text, re.IGNORECASE)
    is_near = min(from_start, from_end) < _CREDIT_REACH
    return bool(is_note) or (word_count(unit.text) < 80 and is_near)


def _is_licence(unit: Unit) -> bool:
    n_hits = len(_LICENCE.findall(unit.text))
    return n_hits >= 2 and n_hits * 50 >= word_count(unit.text)


def is_imprint(text: str) -> bool:
    """Tell whether a short text speaks of copyright, publisher and printing."""
    n_hits = len(_IMPRINT.findall(text))
    return n_hits > 0 and n_hits * 40 >= word_count(text)


def _mark(unit: Unit) -> None:
    unit.kind, unit.level = "boilerplate", 0

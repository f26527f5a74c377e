"""Find what is not the author's text: contents, title and copyright pages, licences, index."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from memoirist.data.schema.records import BlockKind
from memoirist.extractors.pdf.layout.columns import Frame, Kinds, Measures
from memoirist.extractors.pdf.layout.geometry import Line
from memoirist.extractors.pdf.structure.shapes import rows_of
from memoirist.extractors.settings import ExtractSettings

_CONTENTS = re.compile(
    r"^(table of contents|contents|list of (illustrations|figures|plates|maps|tables)"
    r"|illustrations|table des (matières|illustrations)|sommaire|inhalt(sverzeichnis)?"
    r"|abbildungsverzeichnis|índice( general)?|tabla de contenidos?|indice|目\s*[录錄次])\W*$",
    re.IGNORECASE,
)
_ENDS_IN_NUMBER = re.compile(r"\S.*?[\s.…·]([ivxlcdm]{1,7}|\d{1,4})$", re.IGNORECASE)
_NUMBER = re.compile(r"^([ivxlcdm]{1,7}|\d{1,4})$", re.IGNORECASE)
_LEADERS = re.compile(r"(\s?[.·…]){4,}")
_INDEX = re.compile(
    r"^((general )?index|index (alphabétique|des noms( propres)?|général)"
    r"|(sach|personen|namen)?register|sachverzeichnis|stichwortverzeichnis"
    r"|índice (alfabético|onomástico|analítico))\W*$",
    re.IGNORECASE,
)
_INDEX_ROW = re.compile(r",\s*\d{1,4}(\s*[-–]\s*\d{1,4})?([,;]\s*\d{1,4}([-–]\d{1,4})?)*[.,;]?$")
_LICENCE = re.compile(r"project\s+gutenb[eu]rg", re.IGNORECASE)
_IMPRINT = re.compile(
    r"©|\(c\)\s*\d{4}|copyright|all rights reserved|\bisbn\b|printed in|library of congress"
    r"|first published|published by|public domain|e-?book is for the use of|apache license"
    r"|creative commons|internet archive|digitized by|google books|no part of this"
    r"|tous droits|dépôt légal|achevé d['’]imprimer|imprimé en|alle rechte|gedruckt in"
    r"|auflage \d{4}|todos los derechos|depósito legal|impreso en|tutti i diritti"
    r"|版权所有|版權所有",
    re.IGNORECASE,
)
_FRONT_SHARE, _BACK_SHARE = 0.2, 0.75
_TITLE_PAGE_LINES = 12


def matter(
    frames: Sequence[Frame], kinds: Kinds, measures: Measures, settings: ExtractSettings
) -> Kinds:
    """Return the lines of contents pages and of boilerplate among those not in `kinds`."""
    bodies = [[line for line in frame.lines if line not in kinds] for frame in frames]
    found: Kinds = {}
    in_contents = False
    for at, lines in enumerate(bodies):
        in_contents = _is_contents(lines, in_contents, at < _FRONT_SHARE * len(bodies))
        if in_contents:
            found.update(dict.fromkeys(lines, "contents"))
    opening = _opening(bodies, found, measures)
    for at, lines in enumerate(bodies):
        if lines and lines[0] not in found and _is_front(lines, at, opening, measures):
            found.update(dict.fromkeys(lines, "boilerplate"))
    limit = settings.heading_size_ratio * measures.size
    _mark_back(bodies, found, limit)
    return found


def _is_contents(lines: Sequence[Line], goes_on: bool, in_front: bool) -> bool:
    rows = _rows(lines)
    titled = any(_CONTENTS.match(row) for row in rows[:3])
    entries = sum(1 for row in rows if _LEADERS.search(row) or _ENDS_IN_NUMBER.match(row))
    if titled and (in_front or entries >= 0.4 * len(rows)):
        return True
    share = entries / len(rows) if rows else 0.0
    if goes_on:
        return share >= 0.5
    return in_front and len(rows) >= 5 and share >= 0.6


def heads_contents(text: str) -> bool:
    """Tell whether the words are those over a table of contents."""
    return bool(_CONTENTS.match(text))


def entries(kinds: Kinds) -> Iterator[str]:
    """Give the titles that the contents pages among `kinds` list, without their numbers."""
    for line, kind in kinds.items():
        if kind == "contents":
            title = _LEADERS.sub(" ", line.text)
            yield re.sub(r"^\d+(\.\d+)*\.?\s+|[\s.…·]+(\d{1,4}|[ivxlcdm]{1,7})$", "", title)


def _rows(lines: Sequence[Line]) -> list[str]:
    """Return the text of each row, its pieces joined: titles stand far from their numbers."""
    return ["  ".join(line.text for line in row) for row in rows_of(lines)]


def _opening(bodies: Sequence[Sequence[Line]], found: Kinds, measures: Measures) -> int:
    """Return the first frame of running prose: enough long lines that are no licence."""
    longest = max((line.x1 - line.x0 for lines in bodies for line in lines), default=0.0)
    for at, lines in enumerate(bodies):
        prose = [line for line in lines if line.x1 - line.x0 > 0.5 * longest and line not in found]
        if len(prose) >= 6 and not _is_imprint(lines):
            return at
    return 0


def _is_imprint(lines: Sequence[Line]) -> bool:
    text = " ".join(line.text for line in lines)
    hits = len(_IMPRINT.findall(text)) + 2 * len(_LICENCE.findall(text))
    return hits >= 2 and hits * 60 >= len(text.split())


def _is_front(lines: Sequence[Line], at: int, opening: int, measures: Measures) -> bool:
    if at >= opening:
        return at <= opening + 4 and _is_imprint(lines)
    return len(lines) <= _TITLE_PAGE_LINES or _is_imprint(lines)


def _mark_back(bodies: Sequence[Sequence[Line]], found: Kinds, limit: float) -> None:
    """Name everything from the licence or the index at the book's end on boilerplate."""
    start = int(_BACK_SHARE * len(bodies))
    name: BlockKind = "boilerplate"
    for at in range(start, len(bodies)):
        for n, line in enumerate(bodies[at]):
            big = line.size >= limit
            licence = _LICENCE.search(line.text) and (
                big or re.match(r"\W*(end of|\*\*\*)", line.text, re.IGNORECASE)
            )
            if licence or (_INDEX.match(line.text) and n < 3):
                rest = [each for lines in bodies[at + 1 :] for each in lines]
                found.update(dict.fromkeys([*bodies[at][n:], *rest], name))
                return
        rows = _rows(bodies[at])
        indexed = sum(1 for row in rows if _INDEX_ROW.search(row))
        if len(rows) >= 8 and indexed >= 0.5 * len(rows):
            found.update(dict.fromkeys(bodies[at], name))

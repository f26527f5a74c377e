"""Find title page, contents, imprint, licence and index, which are not the author's text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from memoirist.extractors.pdf.layout.geometry import (
    Frame,
    Line,
    LineKinds,
    Measures,
    PageLines,
    rows_of,
)
from memoirist.extractors.pdf.structure.headings import chapter_name, opens_part
from memoirist.extractors.repair import tidy
from memoirist.extractors.word_tables import any_of

_CONTENTS_TITLE = re.compile(rf"^{any_of('front_matter', 'contents_title')}\W*$", re.IGNORECASE)
_ENDS_IN_NUMBER = re.compile(r"\S.*?[\s.…·]([ivxlcdm]{1,7}|\d{1,4})$", re.IGNORECASE)
_LEADERS = re.compile(r"(\s?[.·…]){4,}")
_INDEX_TITLE = re.compile(rf"^{any_of('front_matter', 'index_title')}\W*$", re.IGNORECASE)
_INDEX_ROW = re.compile(r",\s*\d{1,4}(\s*[-–]\s*\d{1,4})?([,;]\s*\d{1,4}([-–]\d{1,4})?)*[.,;]?$")
_LICENCE = re.compile(r"project\s+gutenb[eu]rg", re.IGNORECASE)
_LICENCE_START = re.compile(r"\W*(end of|\*\*\*)", re.IGNORECASE)
_IMPRINT = re.compile(any_of("front_matter", "imprint"), re.IGNORECASE)
_BY = re.compile(
    r"^(?:(?:written )?by|von|par|di|por|autore?:?|author:?|auteur\s?:|verfasser:?)\s+(?=[^\W\d_])",
    re.IGNORECASE,
)
_NAME = re.compile(
    r"^[^\W\d_a-z]['’\w.-]*(?:\s+(?:(?:de|del|della|der|des|di|du|la|le|van|von|zu|y|e|und|and|&)\s+)*"
    r"[^\W\d_a-z]['’\w.-]*){1,4}$"
)
_NOT_A_NAME = re.compile(
    rf"^{any_of('front_matter', 'article')}\b|\d|\b{any_of('front_matter', 'no_name')}\b",
    re.IGNORECASE,
)
_FRONT_SHARE, _BACK_SHARE = 0.2, 0.75
_MAX_FRONT_LINES = 12

# The title page is among so many first pages; it has so few lines, and hardly a long one.
FRONT_PAGES = 8
# A shorter file is no book with a title page.
_MIN_PAGES = 4
_MAX_TITLE_LINES = 20
_MAX_LONG_LINES = 3
_LONG_CHARS = 60
_MAX_TITLE_CHARS = 150
# A title is set so much larger than the text, or than the smallest line beside it.
_TITLE_RATIO = 1.15


def front_and_back_matter(
    frames: Sequence[Frame], kinds: LineKinds, measures: Measures
) -> LineKinds:
    """Return the lines of contents pages and of boilerplate among those not in `kinds`."""
    bodies = [[line for line in frame.lines if line not in kinds] for frame in frames]
    matter: LineKinds = {}
    in_contents = False
    for at, lines in enumerate(bodies):
        in_contents = _is_contents(lines, in_contents, at < _FRONT_SHARE * len(bodies))
        if in_contents:
            matter.update(dict.fromkeys(lines, "contents"))
    opening = _opening(bodies, matter)
    for at, lines in enumerate(bodies):
        if lines and lines[0] not in matter and _is_front(lines, at, opening):
            matter.update(dict.fromkeys(lines, "boilerplate"))
    matter.update(dict.fromkeys(_back_matter(bodies, measures), "boilerplate"))
    return matter


def _is_contents(lines: Sequence[Line], goes_on: bool, in_front: bool) -> bool:
    rows = _row_texts(lines)
    titled = any(_CONTENTS_TITLE.match(row) for row in rows[:3])
    n_entries = sum(1 for row in rows if _LEADERS.search(row) or _ENDS_IN_NUMBER.match(row))
    share = n_entries / len(rows) if rows else 0.0
    if titled and (in_front or share >= 0.4):
        return True
    if goes_on:
        return share >= 0.5
    return in_front and len(rows) >= 5 and share >= 0.6


def contents_entries(kinds: LineKinds) -> Iterator[str]:
    """Give the titles that the contents pages among `kinds` list, without their numbers."""
    for line, kind in kinds.items():
        if kind == "contents":
            title = _LEADERS.sub(" ", line.text)
            yield re.sub(r"^\d+(\.\d+)*\.?\s+|[\s.…·]+(\d{1,4}|[ivxlcdm]{1,7})$", "", title)


def _row_texts(lines: Sequence[Line]) -> list[str]:
    """Return the text of each row, its pieces joined: titles stand far from their numbers."""
    return ["  ".join(line.text for line in row) for row in rows_of(lines)]


def _opening(bodies: Sequence[Sequence[Line]], matter: LineKinds) -> int:
    """Return the first frame of running prose: enough long lines that are no licence."""
    longest = max((line.x1 - line.x0 for lines in bodies for line in lines), default=0.0)
    for at, lines in enumerate(bodies):
        n_long = sum(line.x1 - line.x0 > 0.5 * longest and line not in matter for line in lines)
        if n_long >= 6 and not _is_imprint(lines):
            return at
    return 0


def _is_imprint(lines: Sequence[Line]) -> bool:
    text = " ".join(line.text for line in lines)
    n_terms = len(_IMPRINT.findall(text)) + 2 * len(_LICENCE.findall(text))
    return n_terms >= 2 and n_terms * 60 >= len(text.split())


def _is_front(lines: Sequence[Line], at: int, opening: int) -> bool:
    if at >= opening:
        return at <= opening + 4 and _is_imprint(lines)
    return len(lines) <= _MAX_FRONT_LINES or _is_imprint(lines)


def _back_matter(bodies: Sequence[Sequence[Line]], measures: Measures) -> Iterator[Line]:
    """Give the pages of an index, and all lines from the end's licence or index title on."""
    for at in range(int(_BACK_SHARE * len(bodies)), len(bodies)):
        for n, line in enumerate(bodies[at]):
            large = line.size >= measures.heading_size
            licence = _LICENCE.search(line.text) and (large or _LICENCE_START.match(line.text))
            if licence or (_INDEX_TITLE.match(line.text) and n < 3):
                yield from bodies[at][n:]
                yield from (line for lines in bodies[at + 1 :] for line in lines)
                return
        rows = _row_texts(bodies[at])
        n_indexed = sum(1 for row in rows if _INDEX_ROW.search(row))
        if len(rows) >= 8 and n_indexed >= 0.5 * len(rows):
            yield from bodies[at]


def title_page(pages: Sequence[PageLines]) -> tuple[str | None, str | None]:
    """Return title and author as the first page that shows both has them, else the title alone.

    A title is the largest type of a page of few short lines; an author follows "by", or is the
    largest other line that is made like a person's name.
    """
    if len(pages) < _MIN_PAGES:
        return None, None
    sizes: Counter[float] = Counter()
    for page in pages:
        if len(page.lines) > _MAX_TITLE_LINES:
            for line in page.lines:
                sizes[line.size] += len(line.text)
    text_size = max(sizes, key=lambda size: (sizes[size], size)) if sizes else None
    first: str | None = None
    for page in pages[:FRONT_PAGES]:
        title, author = _title_and_author(page, text_size)
        first = first or title
        if title and author:
            return title, author
    return first, None


def _title_and_author(page: PageLines, text_size: float | None) -> tuple[str | None, str | None]:
    lines = page.lines
    n_long = sum(len(line.text) > _LONG_CHARS for line in lines)
    if not 0 < len(lines) <= _MAX_TITLE_LINES or n_long > _MAX_LONG_LINES or page.n_unmapped:
        return None, None
    largest = max(line.size for line in lines)
    title = [line for line in lines if line.size > 0.97 * largest]
    text = " ".join(tidy(line.text) for line in title)
    # A lone line says nothing of its size without text to compare with.
    small = text_size or min(line.size for line in lines)
    if (
        largest < _TITLE_RATIO * small
        or len(text) > _MAX_TITLE_CHARS
        or opens_part(text)
        or any(_CONTENTS_TITLE.match(line.text) for line in title)
        or sum(letter.isalpha() for letter in text) < 3
    ):
        return None, None
    return chapter_name([text]), _author([line for line in lines if line not in title])


def _author(lines: Sequence[Line]) -> str | None:
    names: list[tuple[float, str]] = []
    for line in lines:
        text = tidy(line.text).strip(" .,;")
        name = _BY.sub("", text)
        if name != text and _is_name(name):
            return _capitalised_name(name)
        if _is_name(text) and not _NOT_A_NAME.search(text):
            names.append((line.size, text))
    # The first of the largest.
    return _capitalised_name(max(names, key=lambda pair: pair[0])[1]) if names else None


def _is_name(text: str) -> bool:
    return text[:1].isupper() and bool(_NAME.match(text))


def _capitalised_name(name: str) -> str:
    if not name.isupper():
        return name
    # Initials and numerals stay capitals: U. S. GRANT, HENRY VIII.
    return re.sub(
        r"[^\W\d_]{2,}",
        lambda word: word[0] if re.fullmatch("[IVX]+", word[0]) else word[0].capitalize(),
        name,
    )

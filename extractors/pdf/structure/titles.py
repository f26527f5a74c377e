"""Read title and author off a book's title page, for files that do not tell them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from memoirist.extractors.pdf.layout.geometry import Line, PageLines
from memoirist.extractors.pdf.structure.front_matter import heads_contents
from memoirist.extractors.pdf.structure.headings import chapter_name, opens_part
from memoirist.extractors.repair import tidy

# The title page is among so many first pages; it has so few lines, and hardly a long one.
FRONT_PAGES = 8
# A shorter file is no book with a title page.
_LEAST_PAGES = 4
_MAX_LINES = 20
_MAX_LONG_LINES = 3
_LONG_CHARS = 60
_MAX_TITLE_CHARS = 150
# A title is set so much larger than the text, or than the smallest line beside it.
_LARGER = 1.15

_BY = re.compile(
    r"^(?:(?:written )?by|von|par|di|por|autore?:?|author:?|auteur\s?:|verfasser:?)\s+(?=[^\W\d_])",
    re.IGNORECASE,
)
_NAME = re.compile(
    r"^[^\W\d_a-z]['’\w.-]*(?:\s+(?:(?:de|del|della|der|des|di|du|la|le|van|von|zu|y|e|und|and|&)\s+)*"
    r"[^\W\d_a-z]['’\w.-]*){1,4}$"
)
_NO_NAME = re.compile(
    r"^(?:an?|the|le|la|les|un|une|der|die|das|ein|eine|el|los|las|il|lo)\b|\d"
    r"|\b(?:press|books?|verlag|éditions?|editions?|editorial|publish\w*|company|co\.|university"
    r"|house|memoirs?|novel|roman|stories|complete|library|society|london|paris|york|berlin)\b",
    re.IGNORECASE,
)


def title_page(pages: Sequence[PageLines]) -> tuple[str | None, str | None]:
    """Return title and author as the first page that shows both has them, else the title alone.

    A title is the largest type of a page of few short lines; an author follows "by", or is the
    largest other line that is made like a person's name.
    """
    if len(pages) < _LEAST_PAGES:
        return None, None
    size = _text_size(pages)
    first: str | None = None
    for page in pages[:FRONT_PAGES]:
        title, author = _names(page.lines, size)
        first = first or title
        if title and author:
            return title, author
    return first, None


def _text_size(pages: Sequence[PageLines]) -> float | None:
    """Return the usual size of the pages that are full of text, None without one."""
    sizes: Counter[float] = Counter()
    for page in pages:
        if len(page.lines) > _MAX_LINES:
            for line in page.lines:
                sizes[line.size] += len(line.text)
    return max(sizes, key=lambda each: (sizes[each], each)) if sizes else None


def _names(lines: Sequence[Line], size: float | None) -> tuple[str | None, str | None]:
    if not lines or len(lines) > _MAX_LINES or any("\ufffd" in line.text for line in lines):
        return None, None
    if sum(len(line.text) > _LONG_CHARS for line in lines) > _MAX_LONG_LINES:
        return None, None
    largest = max(line.size for line in lines)
    title = [line for line in lines if line.size > 0.97 * largest]
    text = " ".join(tidy(line.text) for line in title)
    small = size or min(line.size for line in lines)
    # A lone line says nothing of its size without text to compare with.
    if largest < _LARGER * small or len(text) > _MAX_TITLE_CHARS:
        return None, None
    if opens_part(text) or any(heads_contents(line.text) for line in title):
        return None, None
    if sum(letter.isalpha() for letter in text) < 3:
        return None, None
    return chapter_name([text]), _author([line for line in lines if line not in title])


def _author(lines: Sequence[Line]) -> str | None:
    found: list[tuple[float, str]] = []
    for line in lines:
        text = tidy(line.text).strip(" .,;")
        named = _BY.sub("", text)
        if named != text and _is_name(named):
            return _cased(named)
        if _is_name(text) and not _NO_NAME.search(text):
            found.append((line.size, text))
    # The first of the largest.
    return _cased(max(found, key=lambda each: each[0])[1]) if found else None


def _is_name(text: str) -> bool:
    return text[:1].isupper() and bool(_NAME.match(text))


def _cased(name: str) -> str:
    if not name.isupper():
        return name
    # Initials and numerals stay capitals: U. S. GRANT, HENRY VIII.
    return re.sub(
        r"[^\W\d_]{2,}",
        lambda word: word[0] if re.fullmatch("[IVX]+", word[0]) else word[0].capitalize(),
        name,
    )

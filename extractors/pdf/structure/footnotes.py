"""Find the footnotes of a frame, and remove their raised marks from the body."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from memoirist.extractors.pdf.layout.geometry import Frame, Line, LineKinds, Measures
from memoirist.extractors.pdf.structure.paragraphs import SENTENCE_END

_LABEL = re.compile(r"^(\d{1,3}|[*†‡§¶‖]{1,3}|\[\d{1,3}\])[.)]?\s*(?=\S)")
_MARK = re.compile(r"^[\d*†‡§¶‖,\[\]()]+$")
_SYMBOL = re.compile(r"(?<=[^\s*†‡§])([*†‡§]{1,3})(?=[\s,.;:!?)]|$)")
# Where one of these stands in a line, a raised number is an exponent unless a word bears it.
_FORMULA = re.compile("[=+−×·÷∈⊆⊂→⇒⇔≤≥≠≈√∑∫∥]")
_FRACTION = re.compile(r"\s?[⁄/]\s?\d")
# Lines farther below the last note than this many leadings are not the same note.
_MAX_NOTE_GAP = 2.2


def footnotes(frames: Sequence[Frame], kinds: LineKinds, measures: Measures) -> list[list[Line]]:
    """Return the footnotes, each as its lines, and name these lines in `kinds`."""
    notes: list[list[Line]] = []
    last_page: int | None = None
    for frame in frames:
        body = [line for line in frame.lines if line not in kinds]
        small = _small_lines_at_foot(body, measures)
        first = next((at for at, line in enumerate(small) if _starts(line)), len(small))
        if first and last_page is not None and frame.page - last_page <= 1:
            first = _continuation(small, first, notes[-1])
        for line in small[first:]:
            kinds[line] = "footnote"
            if _starts(line) or not notes or notes[-1][-1].page < line.page - 1:
                notes.append([])
            notes[-1].append(line)
        last_page = frame.page if small[first:] else None
    return notes


def _continuation(small: Sequence[Line], first: int, note: Sequence[Line]) -> int:
    """Return where the rest of the `note` of the frame before begins among the small lines.

    An unfinished note goes on. One that ends a sentence goes on only where these lines are set
    like it, just above the next note, or alone below a note that filled its last line.
    """
    last = note[-1]
    if not SENTENCE_END.search(last.text):
        return 0
    alike = abs(small[0].size - last.size) < 0.02 * last.size
    if first < len(small):
        close = small[first - 1].y - small[first].y < 1.6 * small[first].size
    else:
        close = max(line.x1 for line in note) - last.x1 < 2 * last.size
    return 0 if alike and close else first


def _small_lines_at_foot(body: Sequence[Line], measures: Measures) -> Sequence[Line]:
    """Return the lines in small type at the foot of the frame, below at least one body line."""
    start = len(body)
    while start and body[start - 1].size <= measures.footnote_size:
        if start < len(body) and (
            body[start - 1].y - body[start].y > _MAX_NOTE_GAP * measures.leading
        ):
            break
        start -= 1
    return body[start:] if any(line.size > measures.footnote_size for line in body[:start]) else ()


def _starts(line: Line) -> bool:
    return bool(line.marks and line.marks[0][0] == 0) or bool(_LABEL.match(line.text))


def note_labels(notes: Iterable[Sequence[Line]]) -> dict[int, set[str]]:
    """Return the labels of the footnotes that stand on each page."""
    labels: dict[int, set[str]] = {}
    for note in notes:
        if match := _LABEL.match(note[0].text):
            labels.setdefault(note[0].page, set()).add(match[1].strip("[]"))
    return labels


def without_marks(line: Line, labels: set[str]) -> str:
    """Return the text of `line` without the note marks in it.

    A raised small number goes when it names a note of its page, or when it follows a word or a
    stop: that leaves exponents of figures and units (10 2, m 2) and raised letters alone, and in
    a line with a formula only the number of a note that follows a word is taken for a mark. A
    star or dagger of full size goes only when a note of its page bears it.
    """
    text, formula = line.text, _FORMULA.search(line.text)
    for start, end in reversed(line.marks):
        mark, before = text[start:end].strip(), text[:start].rstrip()
        if not _MARK.match(mark) or not before or _FRACTION.match(text, end):
            continue
        after_word = bool(re.search(r"[^\W\d_]{3,}$", before))
        named = mark.strip("[]()") in labels
        plain = after_word or before[-1] in ".,;:!?\"”’')]—–"
        if (named and after_word) if formula else (named or plain):
            # A mark ends its word, also where it fills the gap to the next one.
            text = before + (" " if text[end : end + 1].isalnum() else "") + text[end:]
    if symbols := labels & {"*", "†", "‡", "§", "**", "††"}:
        text = _SYMBOL.sub(lambda match: "" if match[0] in symbols else match[0], text)
    return text

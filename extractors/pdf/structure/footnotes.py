"""Find the footnotes of a frame, and take their raised marks out of the body."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from memoirist.extractors.pdf.layout.columns import SENTENCE_END, Frame, Kinds, Measures
from memoirist.extractors.pdf.layout.geometry import Line
from memoirist.extractors.settings import ExtractSettings

_LABEL = re.compile(r"^(\d{1,3}|[*†‡§¶‖]{1,3}|\[\d{1,3}\])[.)]?\s*(?=\S)")
_MARK = re.compile(r"^[\d*†‡§¶‖,\[\]()]+$")
_SYMBOL = re.compile(r"(?<=[^\s*†‡§])([*†‡§]{1,3})(?=[\s,.;:!?)]|$)")
# Where one of these stands in a line, a raised number is an exponent unless a word bears it.
_FORMULA = re.compile("[=+−×·÷∈⊆⊂→⇒⇔≤≥≠≈√∑∫∥]")
_FRACTION = re.compile(r"\s?[⁄/]\s?\d")
# A longer run of lines below the last note than this many leadings is not the same note.
_NOTE_GAP = 2.2


def footnotes(
    frames: Sequence[Frame], kinds: Kinds, measures: Measures, settings: ExtractSettings
) -> list[list[Line]]:
    """Return the footnotes, each as its lines, and name these lines in `kinds`."""
    notes: list[list[Line]] = []
    last: int | None = None
    for frame in frames:
        body = [line for line in frame.lines if line not in kinds]
        small = _small_run(body, measures, settings)
        first = next((at for at, line in enumerate(small) if _starts(line)), len(small))
        if first and last is not None and frame.page - last <= 1 and notes:
            first = _continued(small, first, notes[-1])
        for line in small[first:]:
            kinds[line] = "footnote"
            if _starts(line) or not notes or notes[-1][-1].page < line.page - 1:
                notes.append([])
            notes[-1].append(line)
        last = frame.page if small[first:] else None
    return notes


def _continued(small: Sequence[Line], first: int, note: Sequence[Line]) -> int:
    """Return where the rest of the `note` of the frame before begins among the small lines.

    An unfinished note goes on. One that ends a sentence goes on only where these lines are set
    like it, just above the next note, or alone below a note that filled its last line.
    """
    if not SENTENCE_END.search(note[-1].text):
        return 0
    alike = abs(small[0].size - note[-1].size) < 0.02 * note[-1].size
    full = max(line.x1 for line in note) - note[-1].x1 < 2 * note[-1].size
    close = first == len(small) or small[first - 1].y - small[first].y < 1.6 * small[first].size
    return 0 if alike and close and (full or first < len(small)) else first


def _small_run(body: Sequence[Line], measures: Measures, settings: ExtractSettings) -> list[Line]:
    """Return the lines in small type at the foot of the frame, below at least one body line."""
    limit = settings.footnote_size_ratio * measures.size
    start = len(body)
    while start and body[start - 1].size <= limit:
        if start < len(body) and body[start - 1].y - body[start].y > _NOTE_GAP * measures.leading:
            break
        start -= 1
    return list(body[start:]) if any(line.size > limit for line in body[:start]) else []


def _starts(line: Line) -> bool:
    return bool(line.marks and line.marks[0][0] == 0) or bool(_LABEL.match(line.text))


def labels_of(notes: Sequence[Sequence[Line]]) -> dict[int, set[str]]:
    """Return the labels of the footnotes that stand on each page."""
    labels: dict[int, set[str]] = {}
    for note in notes:
        match = _LABEL.match(note[0].text)
        if match:
            labels.setdefault(note[0].page, set()).add(match.group(1).strip("[]"))
    return labels


def without_marks(line: Line, labels: set[str]) -> Line:
    """Return `line` without the note marks in it.

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
        word = re.search(r"[^\W\d_]+$", before)
        worded = bool(word and len(word.group()) > 2)
        named = mark.strip("[]()") in labels
        plain = worded or before[-1] in ".,;:!?\"”’')]—–"
        if (named and worded) if formula else (named or plain):
            # A mark ends its word, also where it fills the gap to the next one.
            text = before + (" " if text[end : end + 1].isalnum() else "") + text[end:]
    if symbols := labels & {"*", "†", "‡", "§", "**", "††"}:
        text = _SYMBOL.sub(lambda hit: "" if hit.group() in symbols else hit.group(), text)
    return line if text == line.text else replace(line, text=text, marks=())

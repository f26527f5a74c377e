"""Put large initials back before the lines that run around them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from memoirist.extractors.pdf.layout.columns import Frame, Measures
from memoirist.extractors.pdf.layout.geometry import Line
from memoirist.extractors.repair import vocabulary_of

_MIN_SIZE_RATIO = 1.7
# The letters that are words by themselves, in one language or another.
_WORDS = frozenset("AIOYÀÔEÓÈ")


def with_initials(frames: Sequence[Frame], measures: Measures) -> list[Frame]:
    """Return `frames` with each large initial joined to the first line at its right."""
    words: Counter[str] = Counter()
    joined: list[Frame] = []
    for frame in frames:
        lines = list(frame.lines)
        for initial in [line for line in lines if _is_initial(line, measures)]:
            beside = [line for line in lines if _runs_around(line, initial, measures)]
            if beside:
                if not words and initial.text in _WORDS:
                    words = vocabulary_of(line.text for each in frames for line in each.lines)
                lines = _joined(lines, initial, beside, words)
        joined.append(replace(frame, lines=tuple(lines)))
    return joined


def _is_initial(line: Line, measures: Measures) -> bool:
    if len(line.text) > 2 or line.size < _MIN_SIZE_RATIO * measures.size:
        return False
    return sum(letter.isalpha() for letter in line.text) == 1


def _runs_around(line: Line, initial: Line, measures: Measures) -> bool:
    near = -1 < line.x0 - initial.x1 < 1.5 * measures.size
    beside = initial.y - 0.3 * measures.size < line.y < initial.y + initial.size
    return near and beside and line.size < 1.2 * measures.size


def _joined(
    lines: Sequence[Line], initial: Line, beside: Sequence[Line], words: Counter[str]
) -> list[Line]:
    first = max(beside, key=lambda line: line.y)
    head = first.text.split(maxsplit=1)[0].casefold().rstrip(".,;:!?")
    letter = initial.text.casefold()
    # "Y a-t-il" and "A man": the book knows the letter as a word, and not the two in one.
    known = words[letter] > 0 or letter in "aio"
    alone = initial.text in _WORDS and known and not words[letter + head]
    start = initial.text + (" " if alone else "")
    found: list[Line] = []
    for line in lines:
        if line is first:
            marks = tuple((a + len(start), b + len(start)) for a, b in line.marks)
            found.append(replace(line, x0=initial.x0, text=start + line.text, marks=marks))
        elif line in beside:
            found.append(replace(line, x0=initial.x0))
        elif line is not initial:
            found.append(line)
    return found

"""Assemble cleaned lines into units in reading order, and units into drafts with chapters."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median

from memoirist.data.schema.records import BlockKind
from memoirist.extractors.blocks import Draft
from memoirist.extractors.pdf.layout.columns import Frame, Kinds, Margins, Measures, margins_of
from memoirist.extractors.pdf.layout.geometry import Line
from memoirist.extractors.pdf.structure.footnotes import labels_of, without_marks
from memoirist.extractors.pdf.structure.headings import (
    Heading,
    Limits,
    chapter_name,
    headings,
    is_caption,
    is_ornament,
)
from memoirist.extractors.pdf.structure.paragraphs import Placed, paragraphs, placed
from memoirist.extractors.pdf.structure.shapes import rows_of
from memoirist.extractors.repair import joined, tidy
from memoirist.extractors.settings import ExtractSettings

# A frame with fewer lines does not say what the usual margins are.
_TELLING_LINES = 15
# What names the parts of a picture is at most so large, of the text's size and measure.
_LABEL_SIZE = 0.9
_LABEL_REACH = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Lines that make one block; `place` is (frame, line), `major` marks a chapter heading."""

    place: tuple[int, int]
    kind: BlockKind
    lines: tuple[Line, ...]
    verse: bool = False
    major: bool = False


def units_of(
    frames: Sequence[Frame],
    kinds: Kinds,
    measures: Measures,
    limits: Limits,
    settings: ExtractSettings,
) -> list[Unit]:
    """Return the units of all frames, in reading order; footnotes have their own list."""
    usual = _usual_margins(frames, kinds, measures)
    places = {line: (f, n) for f, frame in enumerate(frames) for n, line in enumerate(frame.lines)}
    units: list[Unit] = []
    flow: list[Placed] = []
    for number, frame in enumerate(frames):
        units.extend(_named(frame, kinds, places))
        body = [line for line in frame.lines if line not in kinds]
        if not body:
            continue
        margins = margins_of(body, measures, usual.get(_class(frame))) or _outline(body)
        breaks = _breaks(headings(frame, kinds, margins, limits), body, places)
        inside = {line for each in breaks.values() for line in each.lines}
        for breaking, group in groupby(body, key=inside.__contains__):
            run = list(group)
            if not breaking:
                flow.extend(placed(run, margins, number, measures, settings))
                continue
            units.extend(_flowed(flow, places, measures, settings))
            units.extend(breaks[line] for line in run if line in breaks)
            flow = []
    units.extend(_flowed(flow, places, measures, settings))
    return sorted(units, key=lambda unit: unit.place)


def _outline(body: Sequence[Line]) -> Margins:
    left, right = min(line.x0 for line in body), max(line.x1 for line in body)
    return Margins(left=left, right=right, justified=False)


def _breaks(
    found: Iterable[Heading], body: Sequence[Line], places: dict[Line, tuple[int, int]]
) -> dict[Line, Unit]:
    """Return the headings and ornaments that end the flow of text, by their first line."""
    # The ditto mark in a row of a table is no ornament.
    alone = [row[0] for row in rows_of(body) if len(row) == 1]
    breaks = {
        line: Unit(place=places[line], kind="boilerplate", lines=(line,))
        for line in alone
        if is_ornament(line)
    }
    for heading in found:
        first = heading.lines[0]
        breaks[first] = Unit(
            place=places[first], kind="heading", lines=heading.lines, major=heading.major
        )
    return breaks


def _class(frame: Frame) -> tuple[int, int]:
    return frame.page % 2, frame.side


def _usual_margins(
    frames: Sequence[Frame], kinds: Kinds, measures: Measures
) -> dict[tuple[int, int], Margins]:
    """Return the usual margins of odd and even pages, and of left and right columns."""
    found: defaultdict[tuple[int, int], list[Margins]] = defaultdict(list)
    for frame in frames:
        body = [line for line in frame.lines if line not in kinds]
        if len(body) >= _TELLING_LINES and (margins := margins_of(body, measures, None)):
            found[_class(frame)].append(margins)
    return {
        key: Margins(
            left=median(each.left for each in several),
            right=median(each.right for each in several),
            justified=sum(each.justified for each in several) > len(several) / 2,
        )
        for key, several in found.items()
    }


def _named(frame: Frame, kinds: Kinds, places: dict[Line, tuple[int, int]]) -> Iterator[Unit]:
    """Give the units of lines that are not body text; footnotes come from their own list."""
    named = [line for line in frame.lines if line in kinds]
    for kind, group in groupby(named, key=lambda line: kinds[line]):
        lines = tuple(group)
        if kind in ("running_head", "folio"):
            for line in lines:
                yield Unit(place=places[line], kind=kind, lines=(line,))
        elif kind != "footnote":
            yield Unit(place=places[lines[0]], kind=kind, lines=lines)


def _flowed(
    flow: Sequence[Placed],
    places: dict[Line, tuple[int, int]],
    measures: Measures,
    settings: ExtractSettings,
) -> Iterator[Unit]:
    captions, text = _parted(flow, measures)
    for lines in captions:
        yield Unit(place=places[lines[0]], kind="caption", lines=tuple(lines))
    for run in paragraphs(text, measures, settings):
        yield Unit(
            place=places[run[0].line],
            kind=run[-1].shape.kind,
            lines=tuple(each.line for each in run),
            verse=run[0].shape.verse,
        )


def _parted(flow: Sequence[Placed], measures: Measures) -> tuple[list[list[Line]], list[Placed]]:
    """Return the captions in a flow, and the rest, which goes on around them."""
    captions: list[list[Line]] = []
    text: list[Placed] = []
    last: Line | None = None
    for each in flow:
        line = each.line
        if is_caption(line, measures):
            while text and _is_label(text[-1], line, measures):
                captions.append([text.pop().line])
            captions.append([])
        elif last is None or not _same_caption(last, line):
            last = None
            text.append(each)
            continue
        captions[-1].append(line)
        last = line
    return captions, text


def _is_label(each: Placed, caption: Line, measures: Measures) -> bool:
    """Tell whether a line just above a caption only names a part of the picture.

    It is set smaller than the text, short, and without the stop of a sentence or of a verse.
    """
    line = each.line
    small = line.page == caption.page and line.size < _LABEL_SIZE * measures.size
    reach = _LABEL_REACH * (each.shape.right - each.shape.left)
    return small and line.x1 - line.x0 < reach and line.text[-1] not in '.,;:!?…”"’'


def _same_caption(last: Line, line: Line) -> bool:
    alike = abs(last.size - line.size) < 0.02 * line.size and last.page == line.page
    return alike and -0.5 * line.size < last.y - line.y < 1.6 * line.size


def drafts(
    units: Sequence[Unit],
    notes: Sequence[Sequence[Line]],
    words: Counter[str],
    printed: Mapping[int, str],
) -> Iterator[Draft]:
    """Give the drafts of all units, each under the chapter whose heading came last."""
    labels = labels_of(notes)
    any_major = any(unit.major for unit in units)
    notes_of: defaultdict[int, list[Sequence[Line]]] = defaultdict(list)
    for note in notes:
        notes_of[note[0].page].append(note)
    chapter: str | None = None
    page = 0
    for unit in units:
        while page < unit.lines[0].page:
            yield from _note_drafts(notes_of[page], chapter, words, printed)
            page += 1
        if unit.kind == "heading" and (unit.major or not any_major):
            chapter = chapter_name([tidy(line.text) for line in unit.lines]) or chapter
        cleaned = [_unmarked(line, unit.kind, labels) for line in unit.lines]
        rows = unit.verse or unit.kind in ("contents", "boilerplate")
        text = _by_rows(unit.lines, cleaned) if rows else joined(cleaned, words)
        yield Draft(
            kind=unit.kind,
            text=text,
            page=unit.lines[0].page,
            page_last=unit.lines[-1].page,
            page_label=printed.get(unit.lines[0].page),
            chapter=None if unit.kind in ("contents", "boilerplate") else chapter,
        )
    for rest in range(page, max(notes_of, default=0) + 1):
        yield from _note_drafts(notes_of[rest], chapter, words, printed)


def _by_rows(lines: Sequence[Line], cleaned: Sequence[str]) -> str:
    """Return the lines as they are set, the cells of one row beside each other."""
    texts = iter(cleaned)
    return "\n".join(" ".join(tidy(next(texts)) for _ in row) for row in rows_of(lines))


def _unmarked(line: Line, kind: BlockKind, labels: dict[int, set[str]]) -> str:
    if kind in ("paragraph", "quote", "heading", "caption"):
        return without_marks(line, labels.get(line.page, set())).text
    return line.text


def _note_drafts(
    notes: Iterable[Sequence[Line]],
    chapter: str | None,
    words: Counter[str],
    printed: Mapping[int, str],
) -> Iterator[Draft]:
    for note in notes:
        yield Draft(
            kind="footnote",
            text=joined([line.text for line in note], words),
            page=note[0].page,
            page_last=note[-1].page,
            page_label=printed.get(note[0].page),
            chapter=chapter,
        )

"""Build the blocks of a book from its lines: what each line is, in reading order, by chapters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median

from memoirist.data.schema.records import BlockKind
from memoirist.extractors.blocks import Draft
from memoirist.extractors.pdf.engines.base import PdfInfo
from memoirist.extractors.pdf.layout.geometry import (
    Frame,
    Line,
    LineKinds,
    Margins,
    Measures,
    PageLines,
    margins_of,
    measures_of,
    rows_of,
)
from memoirist.extractors.pdf.layout.page_columns import frames_of
from memoirist.extractors.pdf.layout.page_lines import join_drop_caps
from memoirist.extractors.pdf.structure.footnotes import footnotes, note_labels, without_marks
from memoirist.extractors.pdf.structure.front_matter import contents_entries, front_and_back_matter
from memoirist.extractors.pdf.structure.headings import (
    bare_titles,
    chapter_name,
    headings,
    is_caption,
    is_ornament,
)
from memoirist.extractors.pdf.structure.paragraphs import PlacedLine, paragraphs, place_lines
from memoirist.extractors.pdf.structure.running_heads import page_labels, running_heads
from memoirist.extractors.repair import joined, tidy, vocabulary_of
from memoirist.extractors.settings import ExtractSettings

# A frame with fewer lines does not say what the usual margins are.
_MIN_FULL_LINES = 15
# What names the parts of a picture is at most so large, of the text's size and measure.
_LABEL_SIZE = 0.9
_LABEL_WIDTH = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """The lines of one block; `major` marks the heading of a chapter."""

    kind: BlockKind
    lines: Sequence[Line]
    verse: bool = False
    major: bool = False


def build_blocks(
    pages: Sequence[PageLines], settings: ExtractSettings, info: PdfInfo
) -> Iterator[Draft]:
    """Give the blocks of a book, in reading order, as drafts.

    Of `info` the outline and the page labels are used.
    """
    frames = frames_of(pages)
    measures = measures_of(frames, settings)
    frames = join_drop_caps(frames, measures)
    kinds = running_heads(frames, measures, settings)
    labels = page_labels(frames, kinds, info.labels)
    notes = footnotes(frames, kinds, measures)
    asides = [line for frame in frames for line in frame.lines if line.aside]
    kinds |= dict.fromkeys(asides, "footnote")
    notes = [*(note for note in notes if not note[0].aside), *([line] for line in asides)]
    kinds |= front_and_back_matter(frames, kinds, measures)
    titles = bare_titles([*(title for _, title in info.outline), *contents_entries(kinds)])
    units = _units(frames, kinds, measures, titles)
    yield from _drafts(units, notes, labels)


def _units(
    frames: Sequence[Frame], kinds: LineKinds, measures: Measures, titles: frozenset[str]
) -> list[Unit]:
    """Return the units of all frames in reading order, footnotes apart."""
    usual = _usual_margins(frames, kinds, measures)
    units: list[Unit] = []
    flow: list[PlacedLine] = []
    for number, frame in enumerate(frames):
        units.extend(_named_units(frame, kinds))
        body = [line for line in frame.lines if line not in kinds]
        if not body:
            continue
        margins = margins_of(body, measures, usual.get(_place(frame))) or Margins(
            left=min(line.x0 for line in body), right=max(line.x1 for line in body), justified=False
        )
        breaks = [
            *_ornaments(body),
            *(
                Unit(kind="heading", lines=heading.lines, major=heading.major)
                for heading in headings(body, margins, measures, titles)
            ),
        ]
        units.extend(breaks)
        breaking = {line for unit in breaks for line in unit.lines}
        for is_break, group in groupby(body, key=breaking.__contains__):
            if is_break:
                units.extend(_flow_units(flow, measures))
                flow = []
            else:
                flow.extend(place_lines(list(group), margins, number, measures))
    units.extend(_flow_units(flow, measures))
    lines = (line for frame in frames for line in frame.lines)
    order = {line: n for n, line in enumerate(lines)}
    return sorted(units, key=lambda unit: order[unit.lines[0]])


def _ornaments(body: Sequence[Line]) -> Iterator[Unit]:
    for row in rows_of(body):
        # The ditto mark in a row of a table is no ornament.
        if len(row) == 1 and is_ornament(row[0]):
            yield Unit(kind="boilerplate", lines=row)


def _place(frame: Frame) -> tuple[int, int]:
    """Return what frames with the same margins share: odd or even page, left or right column."""
    return frame.page % 2, frame.side


def _usual_margins(
    frames: Sequence[Frame], kinds: LineKinds, measures: Measures
) -> dict[tuple[int, int], Margins]:
    """Return the usual margins of odd and even pages, and of left and right columns."""
    all_margins: defaultdict[tuple[int, int], list[Margins]] = defaultdict(list)
    for frame in frames:
        body = [line for line in frame.lines if line not in kinds]
        if len(body) >= _MIN_FULL_LINES and (margins := margins_of(body, measures, None)):
            all_margins[_place(frame)].append(margins)
    return {
        place: Margins(
            left=median(margins.left for margins in several),
            right=median(margins.right for margins in several),
            justified=sum(margins.justified for margins in several) > len(several) / 2,
        )
        for place, several in all_margins.items()
    }


def _named_units(frame: Frame, kinds: LineKinds) -> Iterator[Unit]:
    """Give the units of the lines that are neither body text nor footnotes."""
    named = (line for line in frame.lines if line in kinds)
    for kind, group in groupby(named, key=kinds.__getitem__):
        if kind in ("running_head", "folio"):
            yield from (Unit(kind=kind, lines=[line]) for line in group)
        elif kind != "footnote":
            yield Unit(kind=kind, lines=list(group))


def _flow_units(flow: Sequence[PlacedLine], measures: Measures) -> Iterator[Unit]:
    """Give the captions and the paragraphs of text that no heading interrupts."""
    captions, text = _split_captions(flow, measures)
    for lines in captions:
        yield Unit(kind="caption", lines=lines)
    for run in paragraphs(text, measures):
        lines = [placed.line for placed in run]
        yield Unit(kind=run[-1].area.kind, lines=lines, verse=run[0].area.verse)


def _split_captions(
    flow: Sequence[PlacedLine], measures: Measures
) -> tuple[list[list[Line]], list[PlacedLine]]:
    """Return the captions in a flow, and the rest, which goes on around them."""
    captions: list[list[Line]] = []
    text: list[PlacedLine] = []
    last: Line | None = None
    for placed in flow:
        line = placed.line
        if is_caption(line, measures):
            while text and _is_picture_label(text[-1], line, measures):
                captions.append([text.pop().line])
            captions.append([line])
            last = line
        elif last and _same_caption(last, line):
            captions[-1].append(line)
            last = line
        else:
            text.append(placed)
            last = None
    return captions, text


def _is_picture_label(placed: PlacedLine, caption: Line, measures: Measures) -> bool:
    """Tell whether a line just above a caption only names a part of the picture.

    It is set smaller than the text, short, and without the stop of a sentence or of a verse.
    """
    line, area = placed.line, placed.area
    small = line.page == caption.page and line.size < _LABEL_SIZE * measures.size
    short = line.x1 - line.x0 < _LABEL_WIDTH * (area.right - area.left)
    return small and short and line.text[-1] not in '.,;:!?…”"’'


def _same_caption(last: Line, line: Line) -> bool:
    alike = abs(last.size - line.size) < 0.02 * line.size and last.page == line.page
    return alike and -0.5 * line.size < last.y - line.y < 1.6 * line.size


def _drafts(
    units: Sequence[Unit], notes: Sequence[Sequence[Line]], labels: dict[int, str]
) -> Iterator[Draft]:
    """Give the drafts of all units, each under the chapter whose heading came last.

    Footnotes stand after the other units of their page.
    """
    any_major = any(unit.major for unit in units)
    marks = note_labels(notes)
    units = [*units, *(Unit(kind="footnote", lines=note) for note in notes)]
    # In the order of the units a broken word is followed by its own rest, not by a folio.
    words = vocabulary_of(line.text for unit in units for line in unit.lines)
    units.sort(key=lambda unit: (unit.lines[0].page, unit.kind == "footnote"))
    chapter: str | None = None
    for unit in units:
        page = unit.lines[0].page
        if unit.kind == "heading" and (unit.major or not any_major):
            chapter = chapter_name([tidy(line.text) for line in unit.lines]) or chapter
        texts = [_text(line, unit.kind, marks) for line in unit.lines]
        not_text = unit.kind in ("contents", "boilerplate")
        by_rows = unit.verse or not_text
        yield Draft(
            kind=unit.kind,
            text=_join_rows(unit.lines, texts) if by_rows else joined(texts, words),
            page=page,
            page_last=unit.lines[-1].page,
            page_label=labels.get(page),
            chapter=None if not_text else chapter,
        )


def _text(line: Line, kind: BlockKind, marks: dict[int, set[str]]) -> str:
    if kind in ("paragraph", "quote", "heading", "caption"):
        return without_marks(line, marks.get(line.page, set()))
    return line.text


def _join_rows(lines: Sequence[Line], texts: Sequence[str]) -> str:
    """Return the texts of lines as they are set, the cells of one row beside each other."""
    cells = iter(texts)
    return "\n".join(" ".join(tidy(next(cells)) for _ in row) for row in rows_of(lines))

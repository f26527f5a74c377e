"""Read tables of turns: CSV and TSV with a column of speakers and a column of words."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from memoirist.extractors.transcript.formats.base import (
    Cue,
    Fault,
    Script,
    bad_row,
    bad_time,
    read_head,
    read_text,
    seconds,
)
from memoirist.extractors.transcript.formats.time_order import OVERLAP_SECONDS, in_time_order
from memoirist.extractors.word_tables import word_set

_SPEAKER, _LOOSE_SPEAKER, _TEXT, _START, _END, _DATASET, _ROLES = (
    word_set("turn_table", key)
    for key in ("speaker", "loose_speaker", "text", "start", "end", "dataset", "roles")
)
_DELIMITERS = ",;\t|"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """The column of each part of a turn."""

    text: int
    speaker: int
    start: int | None
    end: int | None


def is_turn_table(path: Path) -> bool:
    """Tell whether a table holds turns: a speaker's and a text's column, and no chat roles."""
    rows = _rows(read_head(path, 1 << 16))
    columns = _columns(next(rows, []))
    if columns is None:
        return False
    return not _ROLES & {_cell(row, columns.speaker).strip().casefold() for row in rows}


def read_turn_table(path: Path) -> list[Script]:
    """Return the one script of a .csv or .tsv file; a row without words is a fault."""
    rows = _rows(read_text(path))
    columns = _columns(next(rows, []))
    if columns is None:
        return [Script(cues=())]
    faults: list[Fault] = []
    cues = in_time_order(list(_cues(rows, columns, faults)), faults, OVERLAP_SECONDS)
    return [Script(cues=cues, faults=faults)]


def _rows(text: str) -> Iterator[list[str]]:
    header = text.split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=header.count)
    rows = csv.reader(io.StringIO(text.replace("\x00", "")), delimiter=delimiter)
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except csv.Error:  # a field beyond csv's limit: the row counts as one without words
            yield []


def _columns(header: Sequence[str]) -> _Columns | None:
    names = [name.strip().casefold().replace(" ", "_").replace("-", "_") for name in header]
    if _DATASET & set(names):
        return None

    def place(wanted: frozenset[str]) -> int | None:
        return next((at for at, name in enumerate(names) if name in wanted), None)

    start, speaker, text = place(_START), place(_SPEAKER), place(_TEXT)
    if speaker is None and start is not None:
        speaker = place(_LOOSE_SPEAKER)
    if text is None or speaker is None:
        return None
    return _Columns(text=text, speaker=speaker, start=start, end=place(_END))


def _cues(rows: Iterator[list[str]], columns: _Columns, faults: list[Fault]) -> Iterator[Cue]:
    for number, row in enumerate(rows, start=2):
        where = f"row {number}"
        text = " ".join(_cell(row, columns.text).split())
        if not text:
            if any(cell.strip() for cell in row):
                faults.append(bad_row(where, "it has no text"))
            continue
        stated = _cell(row, columns.start)
        start, end = seconds(stated), seconds(_cell(row, columns.end))
        if columns.start is not None and start is None:
            step = "write seconds, or times such as 0:01:02"
            faults.append(bad_time(where, f"{stated[:40]!r} is not a time", step))
        yield Cue(
            text=text,
            speaker=" ".join(_cell(row, columns.speaker).split()) or None,
            start=start,
            end=end if start is None or end is None else max(start, end),
        )


def _cell(row: Sequence[str], column: int | None) -> str:
    return row[column] if column is not None and column < len(row) else ""

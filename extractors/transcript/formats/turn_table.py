"""Read tables of turns: CSV and TSV with a column of speakers and a column of words."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from memoirist.extractors.transcript.formats.base import Cue, Fault, Script
from memoirist.extractors.transcript.reading import read_head, read_text
from memoirist.extractors.transcript.times import seconds

_SPEAKER = frozenset(
    "speaker speaker_name speakername speaker_label who voice participant talker sprecher"
    " sprecherin locuteur intervenant orador hablante 说话人 發言人 发言人".split()
)
# These name other things too: they count only beside a column of times.
_LOOSE_SPEAKER = frozenset({"name", "from", "label", "character", "person"})
_TEXT = frozenset(
    "text utterance transcript transcription line speech words sentence content said text_content"
    " texte texto 内容 文本".split()
)
_START = frozenset(
    "start start_time starttime start_seconds begin in time timestamp start_s".split()
)
_END = frozenset("end end_time endtime end_seconds out stop end_s".split())
# A table with one of these is a dataset of questions and answers.
_DATASET = frozenset(
    "question answer prompt completion instruction output response label_id".split()
)
_ROLES = frozenset("user assistant system human gpt bot".split())
_DELIMITERS = ",;\t|"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """Where the parts of a turn stand in a row."""

    text: int
    speaker: int | None
    start: int | None
    end: int | None


def is_turn_table(path: Path) -> bool:
    """Tell whether a table holds turns: a speaker's and a text's column, and no chat roles."""
    head = read_head(path, 1 << 16)
    rows = _rows(head)
    columns = _columns(next(rows, []))
    if columns is None:
        return False
    names = {row[columns.speaker or 0].strip().casefold() for row in rows if len(row) > 1}
    return not names & _ROLES


def read_turn_table(path: Path) -> list[Script]:
    """Return the one script of a .csv or .tsv file; a row without words is a fault."""
    rows = _rows(read_text(path))
    columns = _columns(next(rows, []))
    if columns is None:
        return [Script(cues=())]
    faults: list[Fault] = []
    return [Script(cues=list(_cues(rows, columns, faults)), faults=faults)]


def _rows(text: str) -> Iterator[list[str]]:
    first = text.split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=first.count)
    rows = csv.reader(io.StringIO(text.replace("\x00", "")), delimiter=delimiter)
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except csv.Error:  # a field beyond csv's limit: the row is told as one without words
            yield []


def _columns(header: Sequence[str]) -> _Columns | None:
    names = [name.strip().casefold().replace(" ", "_").replace("-", "_") for name in header]
    if _DATASET & set(names):
        return None
    start = _find(names, _START)
    speaker = _find(names, _SPEAKER)
    if speaker is None and start is not None:
        speaker = _find(names, _LOOSE_SPEAKER)
    text = _find(names, _TEXT)
    if text is None or speaker is None:
        return None
    return _Columns(text=text, speaker=speaker, start=start, end=_find(names, _END))


def _find(names: Sequence[str], wanted: frozenset[str]) -> int | None:
    return next((n for n, name in enumerate(names) if name in wanted), None)


def _cues(rows: Iterator[list[str]], columns: _Columns, faults: list[Fault]) -> Iterator[Cue]:
    for number, row in enumerate(rows, start=2):
        said = " ".join(_cell(row, columns.text).split())
        if not said:
            if any(cell.strip() for cell in row):
                faults.append(
                    Fault(
                        where=f"row {number}",
                        rule="bad_row",
                        reason="it has no text",
                        next_step="mend the row, or leave it out",
                    )
                )
            continue
        start, end = seconds(_cell(row, columns.start)), seconds(_cell(row, columns.end))
        if columns.start is not None and start is None:
            faults.append(
                Fault(
                    where=f"row {number}",
                    rule="bad_time",
                    reason=f"{_cell(row, columns.start)[:40]!r} is no time; its words are kept",
                    next_step="write seconds, or times such as 0:01:02",
                    keep=True,
                )
            )
        yield Cue(
            text=said,
            speaker=" ".join(_cell(row, columns.speaker).split()) or None,
            start=start,
            end=end if start is None or end is None else max(start, end),
        )


def _cell(row: Sequence[str], column: int | None) -> str:
    return row[column] if column is not None and column < len(row) else ""

"""Some rows of a source, in the shape in which its file gives them, each with its number."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

# No JSON begins so.
NOT_UTF8 = "\ufffd"
# What a line may hold and still be no row, in characters or in bytes.
BLANK = " \t\n\r\v\f"


class BadRow(ValueError):
    """A row that cannot be used: `rule` names the verdict, the text says what is wrong with it."""

    def __init__(self, rule: str, reason: str) -> None:
        self.rule = rule
        super().__init__(reason)


class Chunk(Protocol):
    """Some rows of a source in order."""

    @property
    def first(self) -> int:
        """Return the number of the first row or line."""

    @property
    def size(self) -> int:
        """Return the number of rows or lines."""

    def numbers(self) -> Sequence[int]:
        """Return the rows' numbers in the file: lines of JSON lines, else places; from 1."""

    def row(self, at: int) -> object:
        """Return one row by its place here, or the BadRow that it is."""

    def plain(self, parts: Mapping[str, str]) -> pa.RecordBatch | None:
        """Return the rows as the store takes them; None where they must be read singly.

        `parts` names the column of each part that is wanted, which has to be text.
        """


@dataclass(frozen=True, slots=True)
class Listed:
    """Rows that are Python values already."""

    first: int
    values: Sequence[object]

    @property
    def size(self) -> int:
        """Return the number of rows."""
        return len(self.values)

    def numbers(self) -> Sequence[int]:
        """Count on from the first."""
        return range(self.first, self.first + len(self.values))

    def row(self, at: int) -> object:
        """Return the value."""
        return self.values[at]

    def plain(self, parts: Mapping[str, str]) -> pa.RecordBatch | None:
        """Return None: what is in Python already gains nothing by leaving it."""
        return None


@dataclass(frozen=True, slots=True)
class Columnar:
    """Rows of Parquet, Arrow, CSV or the hub."""

    first: int
    batch: pa.Table

    @property
    def size(self) -> int:
        """Return the number of rows."""
        return int(self.batch.num_rows)

    def numbers(self) -> Sequence[int]:
        """Count on from the first."""
        return range(self.first, self.first + self.batch.num_rows)

    def row(self, at: int) -> object:
        """Return the row as a dictionary."""
        return self.batch.slice(at, 1).to_pylist()[0]

    def plain(self, parts: Mapping[str, str]) -> pa.RecordBatch | None:
        """Return the rows' numbers and each part's column, where all of these are text."""
        n = self.batch.num_rows
        columns = [pa.array(np.arange(self.first, self.first + n))]
        for name in parts.values():
            if name not in self.batch.column_names:
                columns.append(pa.nulls(n, pa.string()))
                continue
            column = self.batch.column(name)
            if not _is_text(column.type):
                return None
            columns.append(pa.concat_arrays(column.cast(pa.string()).chunks))
        return pa.RecordBatch.from_arrays(columns, names=["source_row", *parts])


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)
    )


class Lines:
    """Some whole lines of a JSON lines file; blank ones are no rows."""

    def __init__(self, first: int, block: bytes) -> None:
        self.first = first
        self.block = block
        self._ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + 1
        self.size = len(self._ends) + (not block.endswith(b"\n"))
        self._split: list[tuple[int, bytes]] | None = None

    def _lines(self) -> list[tuple[int, bytes]]:
        if self._split is None:
            self._split = [
                (number, line)
                for number, line in enumerate(self.block.split(b"\n"), start=self.first)
                if line.strip(BLANK.encode())
            ]
        return self._split

    def numbers(self) -> Sequence[int]:
        """Return the line numbers."""
        return [number for number, _ in self._lines()]

    def row(self, at: int) -> object:
        """Return the parsed line, or the BadRow that it is."""
        return parsed(_marked(self._lines()[at][1]))

    def plain(self, parts: Mapping[str, str]) -> pa.RecordBatch | None:
        """Return the lines and their numbers; the store looks into them itself.

        Nothing is copied. A line that is not UTF-8 comes with the mark of NOT_UTF8 before it.
        """
        starts = np.zeros(self.size + 1, np.int32)
        starts[1 : len(self._ends) + 1] = self._ends
        starts[-1] = len(self.block)
        buffers = pa.py_buffer(starts), pa.py_buffer(self.block)
        lines = pa.StringArray.from_buffers(self.size, *buffers)
        try:
            lines.validate(full=True)
        except pa.ArrowInvalid:
            lines = pa.array([_marked(line) for line in self.block.split(b"\n")][: self.size])
        numbers = pa.array(np.arange(self.first, self.first + self.size))
        return pa.RecordBatch.from_arrays([numbers, lines], names=["source_row", "line"])


def parsed(line: str) -> object:
    """Return the value of a line, or the BadRow that it is."""
    if line.startswith(NOT_UTF8):
        return BadRow("row_broken", "it holds bytes that are not UTF-8")
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as fault:
        return BadRow("row_broken", f"it is not JSON ({str(fault)[:80]})")


def _marked(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return NOT_UTF8 + line.decode("utf-8", "replace")

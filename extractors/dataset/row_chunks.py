"""Read the rows of a dataset file in chunks; a broken row loses only itself."""

from __future__ import annotations

import csv
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.data.text.wide_text import as_utf8, wide_encoding
from memoirist.extractors.dataset.json_values import (
    BadRow,
    is_lines,
    reason_of,
    rows_of,
    value_of,
)

# The mark before a line that is not UTF-8: no JSON begins with it.
NOT_UTF8 = "\ufffd"
# The characters of a blank line, in characters or in bytes.
BLANK = " \t\n\r\v\f"
_BINARY = frozenset({".parquet", ".arrow", ".feather"})
_HEAD_BYTES = 1 << 20
# What is not lines is read at once.
_MAX_JSON_BYTES = 1 << 31
_BLOCK_BYTES = 2 << 20
_BATCH_ROWS = 10_000
_BATCH_BYTES = 32 << 20


class Chunk(ABC):
    """Some rows of a source in order; `first` is the number of the first row or line."""

    first: int
    size: int

    def numbers(self) -> Sequence[int]:
        """Return the rows' numbers in the file: lines of JSON lines, else places; from 1."""
        return range(self.first, self.first + self.size)

    @abstractmethod
    def row(self, at: int) -> object:
        """Return one row by its place here, or the BadRow that it is."""

    def plain(self, parts: Mapping[str, str]) -> pa.RecordBatch | None:
        """Return the rows as the store takes them; None where they must be read singly.

        `parts` names the column of each part that is wanted, which has to be text.
        """
        return None


class Listed(Chunk):
    """Rows that are Python values already, which gain nothing as Arrow."""

    def __init__(self, first: int, values: Sequence[object]) -> None:
        self.first, self.size, self.values = first, len(values), values

    def row(self, at: int) -> object:
        """Return the value."""
        return self.values[at]


class Columnar(Chunk):
    """Rows of Parquet, Arrow or the hub."""

    def __init__(self, first: int, rows: pa.Table) -> None:
        self.first, self.size, self.rows = first, rows.num_rows, rows

    def row(self, at: int) -> object:
        """Return the row as a dictionary."""
        return self.rows.slice(at, 1).to_pylist()[0]

    def plain(self, parts: Mapping[str, str]) -> pa.RecordBatch | None:
        """Return the rows' numbers and each part's column, where all of these are text."""
        columns = [pa.array(np.arange(self.first, self.first + self.size))]
        for name in parts.values():
            if name not in self.rows.column_names:
                columns.append(pa.nulls(self.size, pa.string()))
                continue
            column = self.rows.column(name)
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


class Lines(Chunk):
    """Some whole lines of a JSON lines file; blank ones are no rows."""

    def __init__(self, first: int, block: bytes) -> None:
        self.first = first
        self.block = block
        self._ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + 1
        self.size = len(self._ends) + (not block.endswith(b"\n"))
        self._rows: list[tuple[int, bytes]] | None = None

    def _lines(self) -> list[tuple[int, bytes]]:
        if self._rows is None:
            lines = enumerate(self.block.split(b"\n"), start=self.first)
            self._rows = [(number, line) for number, line in lines if line.strip(BLANK.encode())]
        return self._rows

    def numbers(self) -> Sequence[int]:
        """Return the line numbers."""
        return [number for number, _ in self._lines()]

    def row(self, at: int) -> object:
        """Return the parsed line, or the BadRow that it is."""
        return parse_line(_marked(self._lines()[at][1]))

    def plain(self, parts: Mapping[str, str]) -> pa.RecordBatch | None:
        """Return the lines and their numbers; the store parses them itself.

        Nothing is copied. A line that is not UTF-8 comes with the mark NOT_UTF8 before it.
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


def parse_line(line: str) -> object:
    """Return the value of a line, or the BadRow that it is."""
    if line.startswith(NOT_UTF8):
        return BadRow("row_broken", "it contains bytes that are not UTF-8")
    try:
        return value_of(line)
    except (ValueError, RecursionError) as fault:
        column = f": column {fault.colno}" if isinstance(fault, json.JSONDecodeError) else ""
        return BadRow("row_broken", f"it is not JSON ({reason_of(fault)}{column})")


def _marked(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return NOT_UTF8 + line.decode("utf-8", "replace")


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


def read_chunks(path: Path) -> Iterator[Chunk]:
    """Yield the rows of a JSON, JSON lines, Parquet, Arrow, Feather, CSV or TSV file.

    Raise SourceUnreadable where the file as a whole is none of what its name says.
    """
    suffix = path.suffix.lower()
    try:
        if suffix not in _BINARY and (encoding := wide_encoding(_first_bytes(path))):
            with TemporaryDirectory() as folder:
                yield from read_chunks(as_utf8(path, encoding, Path(folder)))
        elif suffix == ".json":
            yield from _read_json(path)
        elif suffix in _BINARY:
            yield from _read_arrow(path, suffix)
        elif suffix in {".csv", ".tsv"}:
            yield from _read_csv(path)
        elif _holds_lines(path):
            yield from _read_lines(path)
        else:
            yield from _read_json(path)
    except pa.ArrowException as fault:
        first = str(fault).strip().splitlines()[0][:160]
        raise SourceUnreadable(
            f"the dataset {str(path)!r} cannot be read: {first}",
            "check that it is complete and in the format of its ending, or make it JSON lines",
        ) from fault


def _read_lines(path: Path) -> Iterator[Chunk]:
    first, n_bytes = 1, _BLOCK_BYTES
    with path.open("rb", buffering=0) as file:
        if file.read(3) != b"\xef\xbb\xbf":
            file.seek(0)
        while block := file.read(n_bytes):
            cut = block.rfind(b"\n") + 1
            if not cut and len(block) == n_bytes:
                file.seek(-len(block), os.SEEK_CUR)
                n_bytes *= 2  # one line is longer than a block
                continue
            if cut and cut < len(block):
                # The last line is read again with its end: joining blocks would copy all of them.
                file.seek(cut - len(block), os.SEEK_CUR)
                block = block[:cut]
            chunk = Lines(first, block)
            first, n_bytes = first + chunk.size, _BLOCK_BYTES
            yield chunk


def _holds_lines(path: Path) -> bool:
    """Tell whether a file is JSON lines, or larger than what is read at once."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    whole_line = len(head) < _HEAD_BYTES or b"\n" in head
    return not whole_line or path.stat().st_size > _MAX_JSON_BYTES or is_lines(head)


def _read_json(path: Path) -> Iterator[Chunk]:
    """Read a file that is one JSON value, several in a row, or JSON lines under the wrong name."""
    # A byte that is not UTF-8 is a fault of its row alone.
    text = path.read_text("utf-8-sig", errors="surrogateescape")
    try:
        rows: Iterable[object] = unwrap(json.loads(text))
    except (ValueError, RecursionError):
        if _holds_lines(path):
            yield from _read_lines(path)
            return
        try:
            rows = unwrap(value_of(text))
        except (ValueError, RecursionError):
            rows = rows_of(text, str(path))
    first = 1
    for part in _batched(rows):
        yield Listed(first, part)
        first += len(part)


def _batched(rows: Iterable[object]) -> Iterator[list[object]]:
    left = iter(rows)
    while part := list(islice(left, _BATCH_ROWS)):
        yield part


def unwrap(value: object) -> Sequence[object]:
    """Return the rows of a JSON value: a list, `{"train": [...]}`, the hub's rows API, one row."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        return [value]
    rows = value.get("rows")
    if isinstance(rows, list) and all(isinstance(row, dict) and "row" in row for row in rows):
        return [row["row"] for row in rows]
    lists = [rows for rows in value.values() if isinstance(rows, list)]
    are_splits = len(lists) == len(value) or ("train" in value and "instruction" not in value)
    if lists and are_splits and all(isinstance(row, dict | list) for row in lists[0]):
        return [row for rows in lists for row in rows]
    for name in ("train", "data", "rows", "examples", "instances"):
        if isinstance(value.get(name), list) and len(value) <= 4 and "instruction" not in value:
            return list(value[name])
    return [value]


def _read_arrow(path: Path, suffix: str) -> Iterator[Chunk]:
    first = 1
    for batch in _arrow_batches(path, suffix):
        table = pa.Table.from_batches([batch])
        for start in range(0, table.num_rows, _BATCH_ROWS):
            chunk = Columnar(first, table.slice(start, _BATCH_ROWS))
            first += chunk.size
            yield chunk


def _arrow_batches(path: Path, suffix: str) -> Iterator[pa.RecordBatch]:
    if suffix == ".parquet":
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            groups = map(file.metadata.row_group, range(file.num_row_groups))
            n_bytes = max(sum(group.total_byte_size for group in groups), 1)
            # Fewer rows at a time where texts are long.
            n_rows = max(_BATCH_BYTES * file.metadata.num_rows // n_bytes, 1)
            yield from file.iter_batches(batch_size=min(n_rows, _BATCH_ROWS), use_threads=False)
        return
    with pa.memory_map(str(path)) as file:
        try:
            reader = pa.ipc.open_file(file)
        except pa.ArrowInvalid:
            file.seek(0)
            yield from pa.ipc.open_stream(file)
            return
        yield from map(reader.get_batch, range(reader.num_record_batches))


def _read_csv(path: Path) -> Iterator[Chunk]:
    """Read CSV by Python's reader, whose row numbers hold where a value has line breaks.

    The most frequent separator of the header separates the columns, whatever the ending says.
    """
    csv.field_size_limit(1 << 28)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        header_line = file.readline()
        file.seek(0)
        reader = csv.reader(file, delimiter=max(",\t;|", key=header_line.count))
        header = next(reader, [])
        first, rows = 1, []
        for values in reader:
            rows.append(_csv_row(header, values))
            if len(rows) >= _BATCH_ROWS:
                yield Listed(first, rows)
                first, rows = first + len(rows), []
        if rows:
            yield Listed(first, rows)


def _csv_row(header: Sequence[str], values: Sequence[str]) -> Any:  # noqa: ANN401 - a row or a fault
    if len(values) != len(header):
        return BadRow("row_broken", f"it has {len(values)} values for {len(header)} columns")
    try:
        "".join(values).encode()
    except UnicodeEncodeError:
        return BadRow("row_broken", "it contains bytes that are not UTF-8")
    return dict(zip(header, values, strict=True))

"""Read the rows of a file in chunks, each with its number; a broken row costs only itself."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.json as pj

from data.errors import SourceUnreadable

_BLOCK_BYTES = 4 << 20
_BATCH_ROWS = 10_000


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

    def table(self, columns: Sequence[str]) -> pa.Table | None:
        """Return text columns as Arrow, row by row as here; None where a value is no text."""


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

    def table(self, columns: Sequence[str]) -> pa.Table | None:
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

    def table(self, columns: Sequence[str]) -> pa.Table | None:
        """Return the columns as text, where they are text."""
        found = []
        for name in columns:
            if name not in self.batch.column_names:
                found.append(pa.nulls(self.batch.num_rows, pa.string()))
                continue
            column = self.batch.column(name)
            if not _is_text(column.type):
                return None
            found.append(column.cast(pa.string()))
        return pa.table(found, names=list(columns))


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
        self.size = block.count(b"\n") + (not block.endswith(b"\n"))
        self._split: list[tuple[int, bytes]] | None = None

    def _lines(self) -> list[tuple[int, bytes]]:
        if self._split is None:
            self._split = [
                (number, line)
                for number, line in enumerate(self.block.split(b"\n"), start=self.first)
                if line.strip()
            ]
        return self._split

    def numbers(self) -> Sequence[int]:
        """Return the line numbers."""
        return [number for number, _ in self._lines()]

    def row(self, at: int) -> object:
        """Return the parsed line, or the BadRow that it is."""
        try:
            return json.loads(self._lines()[at][1].decode("utf-8"))
        except UnicodeDecodeError:
            return BadRow("row_broken", "it holds bytes that are not UTF-8")
        except (ValueError, RecursionError) as fault:
            return BadRow("row_broken", f"it is not JSON ({str(fault)[:80]})")

    def table(self, columns: Sequence[str]) -> pa.Table | None:
        """Return the columns as text; None where a line is blank, broken or of another shape."""
        schema = pa.schema([(name, pa.string()) for name in columns])
        try:
            table = pj.read_json(
                pa.BufferReader(self.block),
                # Parsed by one thread: the other is writing what came before.
                pj.ReadOptions(use_threads=False, block_size=2 * max(len(self.block), 1 << 20)),
                pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
            )
            table.validate(full=True)  # that all of it is UTF-8
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return None
        return table if table.num_rows == self.size else None


def chunks(path: Path) -> Iterator[Chunk]:
    """Yield the rows of a JSON, JSON lines, Parquet, Arrow, Feather, CSV or TSV file.

    Raise SourceUnreadable where the file as a whole is none of what its name says.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".json":
            yield from _json(path)
        elif suffix in {".parquet", ".arrow", ".feather"}:
            yield from _columnar(_batches(path, suffix))
        elif suffix in {".csv", ".tsv"}:
            yield from _csv(path)
        else:
            yield from _lines(path)
    except pa.ArrowException as fault:
        first = str(fault).strip().splitlines()[0][:160]
        raise SourceUnreadable(
            f"the dataset {str(path)!r} cannot be read: {first}",
            "check that it is whole and what its name says, or convert it to JSON lines",
        ) from fault


def _lines(path: Path) -> Iterator[Chunk]:
    first, most = 1, _BLOCK_BYTES
    with path.open("rb", buffering=0) as file:
        if file.read(3) != b"\xef\xbb\xbf":
            file.seek(0)
        while block := file.read(most):
            cut = block.rfind(b"\n") + 1
            if not cut and len(block) == most:
                file.seek(-len(block), os.SEEK_CUR)
                most *= 2  # one line is longer than a block
                continue
            if cut and cut < len(block):
                # Read again with its end: to join blocks would copy all of them.
                file.seek(cut - len(block), os.SEEK_CUR)
                block = block[:cut]
            chunk = Lines(first, block)
            first, most = first + chunk.size, _BLOCK_BYTES
            yield chunk


def _json(path: Path) -> Iterator[Chunk]:
    """Read a file that is one JSON value, or JSON lines under the wrong name."""
    try:
        whole = json.loads(path.read_text("utf-8-sig"))
    except (ValueError, RecursionError):
        yield from _lines(path)
        return
    rows = unwrapped(whole)
    for start in range(0, len(rows), _BATCH_ROWS):
        yield Listed(start + 1, rows[start : start + _BATCH_ROWS])


def unwrapped(whole: object) -> Sequence[object]:
    """Return the rows of a JSON value: a list, `{"train": [...]}`, the hub's rows API, one row."""
    if isinstance(whole, list):
        return whole
    if not isinstance(whole, dict):
        return [whole]
    rows = whole.get("rows")
    if isinstance(rows, list) and all(isinstance(r, dict) and "row" in r for r in rows):
        return [each["row"] for each in rows]
    lists = [value for value in whole.values() if isinstance(value, list)]
    for name in ("train", "data", "rows", "examples", "instances"):
        if isinstance(whole.get(name), list) and len(whole) <= 4 and "instruction" not in whole:
            return list(whole[name])
    if len(lists) == len(whole) and lists and all(isinstance(r, (dict, list)) for r in lists[0]):
        return [row for each in lists for row in each] if len(lists) > 1 else lists[0]
    return [whole]


def _columnar(batches: Iterator[pa.RecordBatch]) -> Iterator[Chunk]:
    first = 1
    for batch in batches:
        table = pa.Table.from_batches([batch])
        for start in range(0, table.num_rows, _BATCH_ROWS):
            chunk = Columnar(first, table.slice(start, _BATCH_ROWS))
            first += chunk.size
            yield chunk


def _batches(path: Path, suffix: str) -> Iterator[pa.RecordBatch]:
    if suffix == ".parquet":
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False)
        return
    with pa.memory_map(str(path)) as mapped:
        try:
            reader = pa.ipc.open_file(mapped)
        except pa.ArrowInvalid:
            mapped.seek(0)
            yield from pa.ipc.open_stream(mapped)
            return
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)


def _csv(path: Path) -> Iterator[Chunk]:
    """Read CSV by Python's reader, whose row numbers hold where a value has line breaks.

    The mark that stands most often in the header parts the columns, whatever the file's name says.
    """
    import csv

    csv.field_size_limit(1 << 28)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        names = file.readline()
        delimiter = max(",\t;|", key=names.count)
        file.seek(0)
        reader = csv.reader(file, delimiter=delimiter)
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
        return BadRow("row_broken", f"it has {len(values)} values under {len(header)} columns")
    try:
        "".join(values).encode()
    except UnicodeEncodeError:
        return BadRow("row_broken", "it holds bytes that are not UTF-8")
    return dict(zip(header, values, strict=True))

"""Read the rows of a file in chunks; a broken row costs only itself."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.extractors.dataset.row_chunks import BadRow, Chunk, Columnar, Lines, Listed

_BLOCK_BYTES = 2 << 20
_BATCH_ROWS = 10_000
_BATCH_BYTES = 32 << 20


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
            size = sum(
                file.metadata.row_group(n).total_byte_size for n in range(file.num_row_groups)
            )
            # Rows of long texts come fewer at a time.
            fit = _BATCH_BYTES * file.metadata.num_rows // max(size, 1)
            most = min(max(fit, 1), _BATCH_ROWS)
            yield from file.iter_batches(batch_size=most, use_threads=False)
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

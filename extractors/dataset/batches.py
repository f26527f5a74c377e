"""Rows -> batches: plain rows as they are, for the store to look into, all others one by one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.data.schema.records import Source, content_id
from memoirist.data.store.exchanges import arrow_schema
from memoirist.extractors.dataset.chat_messages import Reading
from memoirist.extractors.dataset.dataset_schema import Schema
from memoirist.extractors.dataset.row_chunks import BLANK, BadRow, Chunk, Listed, parsed
from memoirist.extractors.dataset.row_parser import canonical, filled, read_row
from memoirist.extractors.dataset.trees import planted
from memoirist.extractors.detection.format_registry import Progress


def read_one(row: object, schema: Schema, values: Mapping[str, str]) -> Reading:
    """Return what a row holds, the placeholders filled in; raise BadRow for any fault of it."""
    try:
        return filled(read_row(row, schema), values)
    except (TypeError, ValueError, KeyError, IndexError, RecursionError) as fault:
        if isinstance(fault, BadRow):
            raise
        # Rows come from anywhere: a shape that nobody foresaw is a fault of its row.
        raise BadRow("row_shape", f"it has an odd shape ({type(fault).__name__})") from fault


class Batches:
    """Reads the chunks of one source, whose first one it looks at before."""

    def __init__(
        self,
        source: Source,
        schema: Schema,
        values: Mapping[str, str],
        chunks: Iterator[Chunk],
        on_progress: Progress | None,
    ) -> None:
        self.source = source
        self.schema = schema
        self.values = values
        self.on_progress = on_progress
        first = next(chunks)
        self.chunks = itertools.chain([first], chunks)
        self.parts = _parts(schema)
        if first.plain(self.parts) is None:
            self.parts = {}

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the batches: raw rows where `parts` says what is in them, else exchanges."""
        chunks: Iterable[Chunk] = self.chunks
        if self.schema.kind == "branches":
            chunks = _replanted(chunks)
        done = 0
        for chunk in chunks:
            yield (
                self._plain(chunk)
                if self.parts
                else self._read(
                    (number, chunk.row(at)) for at, number in enumerate(chunk.numbers())
                )
            )
            done += chunk.size
            if self.on_progress is not None:
                self.on_progress(done, 0)

    def reread(self, rows: Sequence[tuple[int, str]]) -> pa.RecordBatch:
        """Return the exchanges of some rows, each given by its number and as JSON."""
        return self._read((number, parsed(line)) for number, line in rows if line.strip(BLANK))

    def _plain(self, chunk: Chunk) -> pa.RecordBatch:
        batch = chunk.plain(self.parts)
        if batch is None:
            raise SourceUnreadable(
                f"the columns of {self.source.location!r} are of other types from row"
                f" {chunk.first} on",
                "make every part of it alike, or extract the parts one by one",
            )
        return batch

    def _read(self, rows: Iterable[tuple[int, object]]) -> pa.RecordBatch:
        found = [each for number, row in rows for each in self._exchanges(row, number)]
        return pa.RecordBatch.from_pylist(found, schema=arrow_schema())

    def _exchanges(self, row: object, number: int) -> list[dict[str, Any]]:
        try:
            reading = read_one(row, self.schema, self.values)
        except BadRow as fault:
            return [{"source_row": number, "ord": 0, "fault": fault.rule, "reason": str(fault)}]
        alone = reading.apart or len(reading.exchanges) == 1
        thread = None if alone else content_id(canonical(reading))
        notes = " ".join(f"{rule}:{n}" for rule, n in reading.notes.items()) or None
        return [
            {
                "source_row": number,
                "ord": 0 if reading.apart else place,
                "thread": thread,
                "system": reading.system,
                "question": question,
                "answer": answer,
                "notes": notes if place == 0 else None,
            }
            for place, (question, answer) in enumerate(reading.exchanges)
        ]


def _parts(schema: Schema) -> dict[str, str]:
    """Return the column of each part of a plain row; nothing where no row of the schema is."""
    if schema.kind not in {"flat", "text"} or "history" in schema.columns:
        return {}
    parts = {part: name for part, name in schema.columns.items() if part != "text"}
    if schema.kind == "text":
        parts = {"answer": schema.columns["text"]}
    return {**parts, "label": "label"}


def _replanted(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """Return the trees of a file that holds a message a row, each at its root's place."""
    rows = ((number, each.row(at)) for each in chunks for at, number in enumerate(each.numbers()))
    for number, row in planted(rows):
        yield Listed(number, [row])

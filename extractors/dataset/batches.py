"""Rows -> batches of exchanges: plain rows a whole chunk at once, doubtful ones one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.batches import letters_of
from data.errors import SourceUnreadable
from data.exchanges import arrow_schema
from data.nouns import Source, content_id
from extractors.dataset.conversation import Reading
from extractors.dataset.reading import BadRow, Chunk, Listed
from extractors.dataset.rows import canonical, filled, read_row
from extractors.dataset.schemas import Schema
from extractors.dataset.trees import planted
from extractors.formats import Progress


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
    """Reads the chunks of one source into batches of exchanges."""

    def __init__(
        self,
        source: Source,
        schema: Schema,
        values: Mapping[str, str],
        on_progress: Progress | None,
    ) -> None:
        self.source = source
        self.schema = schema
        self.values = values
        self.on_progress = on_progress
        self.arrow = arrow_schema()
        self.good = 0
        self.first_fault: str | None = None

    def read(self, parts: Iterable[Chunk]) -> Iterator[pa.RecordBatch]:
        """Yield the batches; raise SourceUnreadable at the end where every row was refused."""
        if self.schema.kind == "branches":
            parts = _replanted(parts)
        done = 0
        for part in parts:
            yield from self._batches(part)
            done += part.size
            if self.on_progress is not None:
                self.on_progress(done, 0)
        if not self.good:
            raise SourceUnreadable(
                f"no row of {self.source.location!r} can be used: {self.first_fault}",
                "mend the rows, or say which column is what: --map question=COLUMN",
            )

    def _batches(self, part: Chunk) -> Iterator[pa.RecordBatch]:
        numbers: Sequence[int] | None = None
        rest: Iterable[int]
        table = part.table(self._wanted()) if self._is_plain() else None
        if table is None:
            numbers = part.numbers()
            rest = range(len(numbers))
        else:
            batch, rest = self._plain(part, table)
            self.good += batch.num_rows
            yield batch
        rows: list[dict[str, Any]] = []
        for at in rest:
            numbers = numbers or part.numbers()
            rows += self._slowly(part.row(at), numbers[at])
        if rows:
            yield pa.RecordBatch.from_pylist(rows, schema=self.arrow)

    def _is_plain(self) -> bool:
        return self.schema.kind in {"flat", "text"} and "history" not in self.schema.columns

    def _wanted(self) -> list[str]:
        return list(dict.fromkeys([*self.schema.columns.values(), "label"]))

    def _plain(self, part: Chunk, table: pa.Table) -> tuple[pa.RecordBatch, list[int]]:
        """Return the rows that are plainly good, at once, and the places of all others.

        Whatever is doubtful - empty, with a placeholder, about a picture - is read by itself.
        """
        columns = self.schema.columns
        answer = _column(table, columns.get("answer") or columns["text"])
        question = _column(table, columns["question"]) if "question" in columns else None
        system = _column(table, columns.get("system"))
        good = _sound(answer)
        if question is not None:
            context = _column(table, columns.get("context"))
            if context is not None:
                some = pc.fill_null(pc.match_substring_regex(context, r"\S"), False)
                joined = pc.binary_join_element_wise(question, pc.fill_null(context, ""), "\n")
                good = pc.and_(good, _sound(question))
                question = pc.if_else(some, joined, question)
            good = pc.and_(good, _sound(question))
        if system is not None:
            good = pc.and_(good, pc.invert(_odd(_or_empty(system))))
        label = _column(table, "label")
        if label is not None and label.null_count < len(label):
            good = pc.and_(good, pc.is_null(label))
        whole = pc.all(good).as_py()
        n = table.num_rows
        # A table holds every line of its chunk, so none is blank and the numbers just count on.
        numbers = pa.array(np.arange(part.first, part.first + n))
        none = pa.nulls(n, pa.string())
        batch = pa.RecordBatch.from_arrays(
            [
                numbers,
                pa.repeat(pa.scalar(0, pa.int32()), n),
                none,
                none if system is None else system,
                none if question is None else question,
                answer,
                none,
                none,
                none,
            ],
            schema=self.arrow,
        )
        if whole:
            return batch, []
        return batch.filter(good), pc.indices_nonzero(pc.invert(good)).to_pylist()

    def _slowly(self, row: object, number: int) -> list[dict[str, Any]]:
        try:
            reading = read_one(row, self.schema, self.values)
        except BadRow as fault:
            self.first_fault = self.first_fault or f"row {number}: {fault}"
            return [{"source_row": number, "ord": 0, "fault": fault.rule, "reason": str(fault)}]
        self.good += 1
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


def _column(table: pa.Table, name: str | None) -> Any:  # noqa: ANN401 - an Arrow array
    if name is None or name not in table.column_names:
        return None
    column = table.column(name).combine_chunks()
    return column.chunk(0) if isinstance(column, pa.ChunkedArray) else column


def _sound(texts: Any) -> Any:  # noqa: ANN401 - Arrow arrays
    """Tell which texts are there, hold more than white space and nothing that needs a look."""
    texts = _or_empty(texts)
    return pc.and_(_filled(texts), pc.invert(_odd(texts)))


def _filled(texts: Any) -> Any:  # noqa: ANN401 - Arrow arrays
    # Nearly every text begins with a letter, which is quickly seen.
    offsets, letters = letters_of(texts)
    if np.all(offsets[:-1] < offsets[1:]) and np.all(letters[offsets[:-1]] > ord(" ")):
        return pa.repeat(pa.scalar(True), len(texts))
    return pc.match_substring_regex(texts, r"\S")


def _or_empty(texts: Any) -> Any:  # noqa: ANN401 - Arrow arrays
    return pc.fill_null(texts, "") if texts.null_count else texts


def _odd(texts: Any) -> Any:  # noqa: ANN401 - Arrow arrays
    # Most batches hold no such mark, and looking through all their bytes at once is quickest.
    _, letters = letters_of(texts)
    whole = letters.tobytes()
    found = pa.repeat(pa.scalar(False), len(texts))
    for mark in (b"{{", b"<image>", b"<audio>", b"<video>"):
        if mark[:1] in whole and mark in whole:
            found = pc.or_(found, pc.match_substring(texts, mark.decode()))
    return found


def _replanted(parts: Iterable[Chunk]) -> Iterator[Chunk]:
    """Return the trees of a file that holds a message a row, each at its root's place."""
    rows = ((number, part.row(at)) for part in parts for at, number in enumerate(part.numbers()))
    for number, row in planted(rows):
        yield Listed(number, [row])

"""Extract a dataset: detect its schema, then give its rows in batches while they are read."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.data.schema.records import Block, Document, Rows, Source, Verdict, content_id
from memoirist.data.store.exchanges import SCHEMA
from memoirist.data.text.language_detection import detect_language
from memoirist.extractors.blocks import Draft, blocks_of
from memoirist.extractors.dataset.dataset_schema import Schema, detect
from memoirist.extractors.dataset.json_values import BadRow
from memoirist.extractors.dataset.row_chunks import (
    BLANK,
    Chunk,
    Columnar,
    Listed,
    parse_line,
    read_chunks,
)
from memoirist.extractors.dataset.row_parser import (
    build_trees,
    canonical,
    parse_filled_row,
    parse_row,
)
from memoirist.extractors.detection.format_registry import Progress
from memoirist.extractors.settings import ExtractSettings

_SAMPLE_ROWS = 200


def extract_dataset(
    source: Source, settings: ExtractSettings, on_progress: Progress | None = None
) -> Rows:
    """Return one document and the exchanges of its rows, still to be read.

    Raw texts that are to be asked about come back as documents and paragraphs instead. Raise
    SourceUnreadable where no column makes sense; a fault of one row is a row of the batches.
    """
    chunks = _read(source)
    first = next((chunk for chunk in chunks if len(chunk.numbers())), None)
    if first is None:
        raise SourceUnreadable(
            f"the dataset {source.location!r} has no rows", "give a file with rows"
        )
    sample = [first.row(at) for at in range(min(_SAMPLE_ROWS, len(first.numbers())))]
    schema = detect(sample, settings.columns, source.location)
    schema = replace(schema, tools=settings.keep_tools)
    chunks = itertools.chain([first], chunks)
    values = {"name": settings.persona, **settings.fill}
    if settings.text_as == "interview":
        if schema.kind == "text":
            return _text_documents(source, replace(schema, others="none"), chunks, values)
        schema = replace(schema, others="asked")
    return Rows(
        documents=(_document(source, schema, sample),),
        exchanges=Batches(source, schema, values, chunks, on_progress),
        told=str(schema),
    )


def _read(source: Source) -> Iterator[Chunk]:
    if not source.location.startswith("hf://"):
        yield from read_chunks(Path(source.location))
        return
    from memoirist.extractors.dataset.hub_dataset import hub_tables

    first = 1
    for table in hub_tables(source.location):
        yield Columnar(first, table)
        first += table.num_rows


def _numbered(chunks: Iterable[Chunk]) -> Iterator[tuple[int, object]]:
    """Yield each row with its number."""
    for chunk in chunks:
        for at, number in enumerate(chunk.numbers()):
            yield number, chunk.row(at)


def _document(source: Source, schema: Schema, sample: Sequence[object]) -> Document:
    answers: list[str] = []
    for row in sample:
        try:
            answers += [answer for _, answer in parse_row(row, schema).exchanges]
        except BadRow:
            continue
    return Document(
        id=content_id(source.id, "rows"),
        source_id=source.id,
        title=source.title or Path(source.location).name,
        lang=detect_language("\n".join(answers)),
    )


def _text_documents(
    source: Source, schema: Schema, chunks: Iterable[Chunk], values: Mapping[str, str]
) -> Rows:
    """Return a document of paragraphs for each raw text, which is split and asked as prose."""
    documents: dict[str, Document] = {}
    blocks: list[Block] = []
    verdicts: list[Verdict] = []
    for number, row in _numbered(chunks):
        try:
            ((_, text),) = parse_filled_row(row, schema, values).exchanges
            document_id = content_id(source.id, "text", text)
        except BadRow as fault:
            verdicts.append(_refusal(source, number, fault))
            continue
        if document_id in documents:
            twin = BadRow("row_twin", "an earlier row has the same text")
            verdicts.append(_refusal(source, number, twin))
            continue
        documents[document_id] = Document(
            id=document_id, source_id=source.id, title=f"row {number}"
        )
        drafts = [Draft(kind="paragraph", text=line.strip()) for line in text.split("\n")]
        blocks += blocks_of(document_id, drafts)
    if not documents:
        reason = verdicts[0].reason if verdicts else "it has none"
        raise SourceUnreadable(
            f"no row of {source.location!r} can be used: {reason}", "correct the rows"
        )
    return Rows(
        documents=list(documents.values()), blocks=blocks, verdicts=verdicts, told=str(schema)
    )


def _refusal(source: Source, number: int, fault: BadRow) -> Verdict:
    by_column = fault.rule in ("row_shape", "row_empty")
    return Verdict(
        subject_id=content_id(source.id, "row", number),
        subject="rows",
        rule=fault.rule,
        keep=False,
        score=float(number),
        reason=f"row {number}: {fault}",
        next_step=f"correct that row{', or name the columns with --map' * by_column}",
        created_at=datetime.now(UTC),
    )


class Batches:
    """The rows of one source as Arrow batches: plain rows for the store, all others parsed here."""

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
        self.parts = _plain_parts(schema)
        if first.plain(self.parts) is None:
            self.parts = {}

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the batches: raw rows where `parts` names their columns, else exchanges."""
        chunks: Iterable[Chunk] = self.chunks
        if self.schema.kind == "branches":
            # A file with a message a row: each tree stands at the place of its root.
            trees = build_trees(_numbered(chunks))
            chunks = (Listed(number, [tree]) for number, tree in trees)
        n_done = 0
        for chunk in chunks:
            yield self._plain(chunk) if self.parts else self._parse(_numbered([chunk]))
            n_done += chunk.size
            if self.on_progress is not None:
                self.on_progress(n_done, 0)

    def reread(self, rows: Sequence[tuple[int, str]]) -> pa.RecordBatch:
        """Return the exchanges of some rows, each given by its number and as JSON."""
        return self._parse((number, parse_line(line)) for number, line in rows if line.strip(BLANK))

    def _plain(self, chunk: Chunk) -> pa.RecordBatch:
        batch = chunk.plain(self.parts)
        if batch is None:
            raise SourceUnreadable(
                f"the columns of {self.source.location!r} have other types from row"
                f" {chunk.first} on",
                "give all parts the same columns, or extract the parts one by one",
            )
        return batch

    def _parse(self, rows: Iterable[tuple[int, object]]) -> pa.RecordBatch:
        exchanges = [row for number, raw in rows for row in self._exchanges(raw, number)]
        return pa.RecordBatch.from_pylist(exchanges, schema=SCHEMA)

    def _exchanges(self, raw: object, number: int) -> list[dict[str, Any]]:
        try:
            row = parse_filled_row(raw, self.schema, self.values)
        except BadRow as fault:
            return [{"source_row": number, "ord": 0, "fault": fault.rule, "reason": str(fault)}]
        single = row.apart or len(row.exchanges) == 1
        thread = None if single else content_id(canonical(row))
        notes = " ".join(f"{rule}:{n}" for rule, n in row.notes.items()) or None
        return [
            {
                "source_row": number,
                "ord": 0 if row.apart else place,
                "thread": thread,
                "system": row.system,
                "question": question,
                "answer": answer,
                "notes": notes if place == 0 else None,
                "tool_turns": row.tool_turns,
            }
            for place, (question, answer) in enumerate(row.exchanges)
        ]


def _plain_parts(schema: Schema) -> dict[str, str]:
    """Return the column of each part of a plain row; nothing where the schema has no plain rows."""
    if schema.kind not in {"flat", "text"} or "history" in schema.columns:
        return {}
    parts = {part: name for part, name in schema.columns.items() if part != "text"}
    if schema.kind == "text":
        parts = {"answer": schema.columns["text"]}
    return {**parts, "label": "label"}

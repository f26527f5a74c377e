"""Extract a dataset: its schema, then its rows as batches of exchanges, read as they are asked."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.data.schema.records import Document, Rows, Source, content_id
from memoirist.data.text.language_detection import detect_language
from memoirist.extractors.blocks import Draft, blocks_of
from memoirist.extractors.dataset.batches import Batches, read_one
from memoirist.extractors.dataset.dataset_schema import Schema, detect
from memoirist.extractors.dataset.reading import chunks
from memoirist.extractors.dataset.row_chunks import BadRow, Chunk, Columnar
from memoirist.extractors.dataset.row_parser import read_row
from memoirist.extractors.detection.format_registry import Progress
from memoirist.extractors.settings import ExtractSettings

_SAMPLED_ROWS = 200


def extract_dataset(
    source: Source, settings: ExtractSettings, on_progress: Progress | None = None
) -> Rows:
    """Return one document and the exchanges of its rows, still to be read.

    Raw texts that are to be asked about come back as documents and paragraphs instead. Raise
    SourceUnreadable where no column makes sense; a fault of one row is a row of the batches.
    """
    parts = _opened(source)
    first = next((part for part in parts if len(part.numbers())), None)
    if first is None:
        raise SourceUnreadable(
            f"no row of {source.location!r} can be used: it has no rows", "point at the whole file"
        )
    sampled = [first.row(at) for at in range(min(_SAMPLED_ROWS, len(first.numbers())))]
    schema = detect(sampled, settings.columns, source.location)
    every = itertools.chain([first], parts)
    values = {"name": settings.persona, **settings.fill}
    if settings.text_as == "interview":
        if schema.kind == "text":
            return _documents(source, replace(schema, others="none"), every, values)
        schema = replace(schema, others="asked")
    return Rows(
        documents=(_document(source, schema, sampled, values),),
        exchanges=Batches(source, schema, values, every, on_progress),
        told=str(schema),
    )


def _opened(source: Source) -> Iterator[Chunk]:
    if source.location.startswith("hf://"):
        from memoirist.extractors.dataset.hub_dataset import hub_batches

        first = 1
        for batch in hub_batches(source.location):
            yield Columnar(first, batch)
            first += batch.num_rows
        return
    yield from chunks(Path(source.location))


def _document(
    source: Source, schema: Schema, sampled: Sequence[object], values: Mapping[str, str]
) -> Document:
    texts: list[str] = []
    for row in sampled:
        try:
            texts += [answer for _, answer in read_row(row, schema).exchanges]
        except BadRow:
            continue
    title = source.title or Path(source.location).name
    return Document(
        id=content_id(source.id, "rows"),
        source_id=source.id,
        title=title,
        lang=detect_language("\n".join(texts)),
    )


def _documents(
    source: Source, schema: Schema, parts: Iterable[Chunk], values: Mapping[str, str]
) -> Rows:
    """Return a document of paragraphs for each raw text, which is split and asked as prose."""
    from memoirist.data.schema.records import Block, Verdict

    documents: list[Document] = []
    blocks: list[Block] = []
    verdicts: list[Verdict] = []
    seen: set[str] = set()
    for part in parts:
        for at, number in enumerate(part.numbers()):
            try:
                ((_, text),) = read_one(part.row(at), schema, values).exchanges
                identity = content_id(source.id, "text", text)
            except BadRow as fault:
                verdicts.append(_refusal(source, number, fault))
                continue
            if identity in seen:
                twin = BadRow("row_twin", "the same text stands in an earlier row")
                verdicts.append(_refusal(source, number, twin))
                continue
            seen.add(identity)
            documents.append(Document(id=identity, source_id=source.id, title=f"row {number}"))
            drafts = [
                Draft(kind="paragraph", text=line.strip())
                for line in text.split("\n")
                if line.strip()
            ]
            blocks += blocks_of(identity, drafts)
    if not documents:
        why = verdicts[0].reason if verdicts else "it has no rows"
        raise SourceUnreadable(f"no row of {source.location!r} can be used: {why}", "mend the rows")
    return Rows(documents=documents, blocks=blocks, verdicts=verdicts, told=str(schema))


def _refusal(source: Source, number: int, fault: BadRow) -> Any:  # noqa: ANN401
    from datetime import UTC, datetime

    from memoirist.data.schema.records import Verdict

    return Verdict(
        subject_id=content_id(source.id, "row", number),
        subject="rows",
        rule=fault.rule,
        keep=False,
        score=float(number),
        reason=f"row {number}: {fault}",
        next_step="mend that row, or say which column is what with --map",
        created_at=datetime.now(UTC),
    )

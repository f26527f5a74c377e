"""Extract a dataset: its schema, then its rows as batches of exchanges, read as they are asked."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from data.errors import SourceUnreadable
from data.exchanges import arrow_schema
from data.nouns import Document, Rows, Source, content_id
from data.text import detect_language
from extractors.blocks import Draft, blocks_of
from extractors.dataset.conversation import Reading
from extractors.dataset.reading import BadRow, Chunk, Columnar, Listed, chunks
from extractors.dataset.rows import canonical, filled, read_row
from extractors.dataset.schemas import Schema, detect
from extractors.dataset.trees import planted
from extractors.formats import Progress
from extractors.settings import ExtractSettings

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
    if schema.kind == "text" and settings.text_as == "interview":
        return _documents(source, schema, every, values)
    batches = _Batches(source, schema, values, on_progress)
    return Rows(
        documents=(_document(source, schema, sampled, values),),
        exchanges=batches.read(every),
        told=str(schema),
    )


def _opened(source: Source) -> Iterator[Chunk]:
    if source.location.startswith("hf://"):
        from extractors.dataset.hub import hub_batches

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


def _read(row: object, schema: Schema, values: Mapping[str, str]) -> Reading:
    try:
        return filled(read_row(row, schema), values)
    except (TypeError, ValueError, KeyError, IndexError, RecursionError) as fault:
        if isinstance(fault, BadRow):
            raise
        # Rows come from anywhere: a shape that nobody foresaw is a fault of its row.
        raise BadRow("row_shape", f"it has an odd shape ({type(fault).__name__})") from fault


class _Batches:
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
            numbers = part.numbers() if not isinstance(part, Columnar) else ()
            done = numbers[-1] if len(numbers) else done
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
            good = pc.and_(good, pc.invert(_odd(pc.fill_null(system, ""))))
        label = _column(table, "label")
        if label is not None and label.null_count < len(label):
            good = pc.and_(good, pc.is_null(label))
        whole = pc.all(good).as_py()
        n = table.num_rows
        first = part.first if isinstance(part, (Columnar, Listed)) else None
        numbers = pa.array(
            range(first, first + n) if first is not None else part.numbers(), pa.int64()
        )
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
            reading = _read(row, self.schema, self.values)
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
    filled_in = pc.fill_null(texts, "")
    return pc.and_(pc.match_substring_regex(filled_in, r"\S"), pc.invert(_odd(filled_in)))


def _odd(texts: Any) -> Any:  # noqa: ANN401 - Arrow arrays
    # Most batches hold no such mark, and looking through all their bytes at once is quickest.
    letters = texts.buffers()[2]
    whole = letters.to_pybytes() if letters is not None else b""
    found = pa.repeat(pa.scalar(False), len(texts))
    for mark in ("{{", "<image>", "<audio>", "<video>"):
        if mark[0].encode() in whole and mark.encode() in whole:
            found = pc.or_(found, pc.match_substring(texts, mark))
    return found


def _replanted(parts: Iterable[Chunk]) -> Iterator[Chunk]:
    """Return the trees of a file that holds a message a row, each at its root's place."""
    rows = ((number, part.row(at)) for part in parts for at, number in enumerate(part.numbers()))
    for number, row in planted(rows):
        yield Listed(number, [row])


def _documents(
    source: Source, schema: Schema, parts: Iterable[Chunk], values: Mapping[str, str]
) -> Rows:
    """Return a document of paragraphs for each raw text, which is split and asked as prose."""
    from data.nouns import Block, Verdict

    documents: list[Document] = []
    blocks: list[Block] = []
    verdicts: list[Verdict] = []
    seen: set[str] = set()
    for part in parts:
        for at, number in enumerate(part.numbers()):
            try:
                ((_, text),) = _read(part.row(at), schema, values).exchanges
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

    from data.nouns import Verdict

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

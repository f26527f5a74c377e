"""The writing side of the store: rows of the schema's records, queries by name, Arrow batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import duckdb

from memoirist.data.schema import records

if TYPE_CHECKING:
    import pyarrow as pa

# A laptop has other things to do as well.
MEMORY_LIMIT = "1500MB"
# Batches are written once and not read again: more memory is only slower to come by.
_BATCH_MB = 700
# By place, or by the names that a statement gives them with a dollar sign.
Parameters: TypeAlias = "Sequence[object] | Mapping[str, object] | None"

KEYS: dict[type[Any], tuple[str, tuple[str, ...]]] = {
    records.Source: ("sources", ("id",)),
    records.Document: ("documents", ("id",)),
    records.Block: ("blocks", ("id",)),
    records.Cut: ("cuts", ("block_id", "first_char")),
    records.Passage: ("cut_passages", ("id",)),
    records.Question: ("asked_questions", ("id",)),
    records.Candidate: ("candidates", ("id",)),
    records.Pair: ("made_pairs", ("id",)),
    records.Verdict: ("verdicts", ("subject_id", "subject", "rule")),
    records.Conversation: ("conversations", ("id", "dataset_id")),
    records.Dataset: ("datasets", ("id",)),
    records.Request: ("requests", ("id",)),
    records.Batch: ("batches", ("key",)),
    records.Run: ("runs", ("id",)),
    records.Metric: ("metrics", ("run_id", "step", "name")),
    records.Model: ("models", ("run_id",)),
    records.Evaluation: ("evaluations", ("run_id", "model", "metric")),
    records.GivenAnswer: ("answers", ("run_id", "model", "kind", "question")),
    records.Judged: ("duels", ("id", "judge")),
    records.GroupSplit: ("splits", ("group_id",)),
    records.Done: ("done", ("subject_id", "step")),
    records.Sample: ("samples", ("run_id", "step", "prompt")),
}


def statement(name: str) -> str:
    """Return the text of one of the store's queries."""
    return (Path(__file__).parent / "queries" / f"{name}.sql").read_text("utf-8")


class Transaction:
    """The writing side of one open transaction."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection

    def upsert(self, rows: Sequence[Any]) -> int:
        """Write the records of one kind, replacing the rows of the same key; return their count."""
        if not rows:
            return 0
        table, key = KEYS[type(rows[0])]
        # The last row of a key wins within a batch, as a later batch would win over it.
        unique = list({tuple(getattr(row, k) for k in key): row for row in rows}.values())
        names = [field.name for field in fields(unique[0])]
        columns = {name: [_plain(getattr(row, name)) for row in unique] for name in names}
        match = " AND ".join(f"{table}.{k} = incoming.{k}" for k in key)
        empty = self.connection.sql(f"FROM {table} LIMIT 0")
        types = dict(zip(empty.columns, map(str, empty.types), strict=True))
        self._load("incoming", {name: types[name] for name in names}, columns)
        self.connection.execute(f"DELETE FROM {table} USING incoming WHERE {match}")
        self.connection.execute(f"INSERT INTO {table} BY NAME FROM incoming")
        self.connection.execute("DROP TABLE incoming")
        return len(unique)

    def temporary(self, name: str, columns: Mapping[str, Sequence[object]]) -> None:
        """Make a table of these columns of texts, that goes with the connection."""
        self._load(name, dict.fromkeys(columns, "VARCHAR"), columns)

    def _load(
        self, table: str, types: Mapping[str, str], columns: Mapping[str, Sequence[object]]
    ) -> None:
        # Lists need no library; Arrow takes 0.35 s to load, more than most commands' writing.
        wanted = ", ".join(
            f'unnest(${place}::{types[name]}[]) AS "{name}"'
            for place, name in enumerate(columns, start=1)
        )
        lists = [list(values) for values in columns.values()]
        self.connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT {wanted}", lists)

    def execute(self, sql: str, parameters: Parameters = None) -> None:
        """Run one statement of ours inside the transaction."""
        self.connection.execute(sql, parameters)

    def fetch(self, sql: str, parameters: Parameters = None) -> list[tuple[Any, ...]]:
        """Return the rows of one statement as it sees the transaction."""
        return self.connection.execute(sql, parameters).fetchall()

    def run(self, name: str, values: Mapping[str, object]) -> None:
        """Run the statements of one of the store's queries, each with the `values` it names."""
        for part in self.connection.extract_statements(statement(name)):
            self.connection.execute(part, {key: values[key] for key in part.named_parameters})

    def insert_arrow(
        self,
        batches: Iterable[pa.RecordBatch],
        schema: pa.Schema,
        sql: str,
        values: Mapping[str, object],
    ) -> None:
        """Run a statement that reads `incoming`, batches of one schema, as they are made.

        Raises what the making of a batch raises.
        """
        import pyarrow as pa

        error: BaseException | None = None

        def caught() -> Iterator[pa.RecordBatch]:
            # An error would lose its kind in DuckDB.
            nonlocal error
            try:
                yield from batches
            except BaseException as raised:  # noqa: BLE001 - raised again below
                error = raised

        reader = pa.RecordBatchReader.from_batches(schema, caught())
        chosen = {key: value for key, value in values.items() if f"${key}" in sql}
        with self.bounded():
            self.connection.register("incoming", reader)
            self.connection.execute(sql, chosen)
            self.connection.unregister("incoming")
        if error is not None:
            raise error

    @contextmanager
    def bounded(self, megabytes: int = _BATCH_MB) -> Iterator[None]:
        """Run bulk statements in so much memory and in no order of their own."""
        # In no order of its own, every thread writes what it has read; that takes a quarter less.
        self.connection.execute("SET preserve_insertion_order = false")
        self.connection.execute(f"SET memory_limit = '{megabytes}MB'")
        # A failure ends the transaction and its connection: nothing is to be set back then.
        yield
        self.connection.execute("RESET preserve_insertion_order")
        self.connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")


def _plain(value: object) -> object:
    if isinstance(value, str) and not value.isascii():
        # Half a character, as a server may send it in JSON, is no text that a file can hold.
        return value.encode("utf-8", "replace").decode("utf-8")
    return list(value) if isinstance(value, tuple) else value

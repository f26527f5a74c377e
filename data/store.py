"""The store: one DuckDB file per workspace, opened for one batch and closed again.

DuckDB lets no second process open a file that a writer holds, so nothing here stays open: a
writer holds the file for one transaction, a reader for one query, and each waits for the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import duckdb

from memoirist.data.attached import MEMORY_LIMIT, Attached, sealed
from memoirist.data.columns import are_plain, dictionaries, incoming
from memoirist.data.schema import records, training_records
from memoirist.data.schema.errors import DiskFull, NothingToDo, QueryError, StoreError, StoreLocked

FILE = "memoirist.duckdb"
SQL = Path(__file__).parent / "sql"
# Batches are written once and not read again: more memory is only slower to come by.
_BATCH_LIMIT = "700MB"
if TYPE_CHECKING:
    import pyarrow as pa

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
    training_records.Sample: ("samples", ("run_id", "step", "prompt")),
}
# The views that show these rows beside the exchanges of datasets, which are read where nothing else
# is asked for.
_VIEWS = {"cut_passages": "passages", "asked_questions": "questions", "made_pairs": "pairs"}
T = TypeVar("T")
Opened = TypeVar("Opened")
Take: TypeAlias = "Callable[[duckdb.DuckDBPyRelation | None], T]"
# By place, or by the names that a statement gives them with a dollar sign.
Parameters: TypeAlias = "Sequence[object] | Mapping[str, object] | None"
_NUMERIC = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UINTEGER", "UBIGINT"} | {
    "FLOAT",
    "DOUBLE",
    "DECIMAL",
}
_LOCK_WORDS = ("Could not set lock", "Conflicting lock", "being used by another process")
_FULL_WORDS = ("No space left", "Disk quota", "not enough disk space", "Out of disk")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """The rows of a query by position, since two columns may have one name."""

    columns: list[str]
    numeric: list[bool]
    rows: list[tuple[Any, ...]]


class Transaction:
    """The writing side of one open transaction."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection

    def upsert(self, rows: Sequence[Any]) -> int:
        """Write the nouns of one kind, replacing the rows of the same key; return their count."""
        if not rows:
            return 0
        table, key = KEYS[type(rows[0])]
        # The last row of a key wins within a batch, as a later batch would win over it.
        unique = list({tuple(getattr(row, k) for k in key): row for row in rows}.values())
        names = [field.name for field in fields(unique[0])]
        columns = {name: [_plain(getattr(row, name)) for row in unique] for name in names}
        match = " AND ".join(f"{table}.{k} = incoming.{k}" for k in key)
        empty = self.connection.sql(f"FROM {table} LIMIT 0")
        kinds = dict(zip(empty.columns, map(str, empty.types), strict=True))
        with incoming(self.connection, {name: kinds[name] for name in names}, columns):
            self.connection.execute(f"DELETE FROM {table} USING incoming WHERE {match}")
            self.connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM incoming")
        return len(unique)

    def temporary(self, name: str, columns: Mapping[str, Sequence[object]]) -> None:
        """Make a table of these columns of texts, that goes with the connection."""
        with incoming(self.connection, dict.fromkeys(columns, "VARCHAR"), columns):
            self.connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM incoming")

    def execute(self, sql: str, parameters: Parameters = None) -> None:
        """Run one statement of ours inside the transaction."""
        self.connection.execute(sql, parameters)

    def fetch(self, sql: str, parameters: Parameters = None) -> list[tuple[Any, ...]]:
        """Return the rows of one statement as it sees the transaction."""
        return self.connection.execute(sql, parameters).fetchall()

    def run(self, name: str, values: Mapping[str, object]) -> None:
        """Run the statements of one file of data/sql, each with the `values` that it names."""
        for each in self.connection.extract_statements(statement(name)):
            chosen = {key: values[key] for key in each.named_parameters}
            self.connection.execute(each, chosen)

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

        self.connection.register("incoming", pa.RecordBatchReader.from_batches(schema, caught()))
        # In no order of its own, every thread writes what it has read; that takes a quarter less.
        self.connection.execute("SET preserve_insertion_order = false")
        self.connection.execute(f"SET memory_limit = '{_BATCH_LIMIT}'")
        chosen = {key: value for key, value in values.items() if f"${key}" in sql}
        # A failure ends the transaction and its connection: nothing is to be set back then.
        self.connection.execute(sql, chosen)
        self.connection.execute("RESET preserve_insertion_order")
        self.connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
        self.connection.unregister("incoming")
        if error is not None:
            raise error


def statement(name: str) -> str:
    """Return the text of one file of data/sql."""
    return (SQL / f"{name}.sql").read_text("utf-8")


def _plain(value: object) -> object:
    if isinstance(value, str) and not value.isascii():
        # Half a character, as a server may send it in JSON, is no text that a file can hold.
        return value.encode("utf-8", "replace").decode("utf-8")
    return list(value) if isinstance(value, tuple) else value


class Store:
    """The tables of one workspace; holds a path and no connection."""

    def __init__(
        self,
        path: Path,
        wait_seconds: float = 3.0,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        """Remember where the file is; with `on_wait`, wait for the lock for ever and tell it."""
        self.path = path
        self.wait_seconds = wait_seconds
        self.on_wait = on_wait
        self._migrated = False

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """Open the file, run one transaction, close it; nothing is written if the body raises."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        attached = self._opened(lambda: Attached(self.path, read_only=False), read_only=False)
        failed = True
        try:
            with _translated(self.path):
                connection = attached.connection
                if not self._migrated:
                    migrate(connection)
                    self._migrated = True
                connection.execute("BEGIN")
                yield Transaction(connection)
                connection.execute("COMMIT")
                failed = False
        finally:
            # Closing without a COMMIT rolls back; a full disk may refuse even the checkpoint.
            with _translated(self.path):
                attached.close(failed=failed)

    def query(self, sql: str, parameters: Parameters = None) -> pa.Table:
        """Run one reading statement and return its rows as Arrow.

        Raises NothingToDo where there is no workspace yet, StoreLocked while a writer holds the
        file, QueryError for wrong SQL.
        """
        import pyarrow as pa

        # A statement without rows (SET, say) gives no relation.
        return self._read_sealed(
            sql, parameters, lambda found: pa.table({}) if found is None else found.to_arrow_table()
        )

    def fetch(self, sql: str, parameters: Parameters = None) -> Fetched:
        """Run one reading statement and return its rows as Python values, without loading Arrow.

        Raises what `query` raises.
        """

        def take(found: duckdb.DuckDBPyRelation | None) -> Fetched:
            if found is None:
                return Fetched(columns=[], numeric=[], rows=[])
            numeric = [str(kind).split("(")[0] in _NUMERIC for kind in found.types]
            return Fetched(columns=found.columns, numeric=numeric, rows=found.fetchall())

        return self._read_sealed(sql, parameters, take)

    def _read_sealed(self, sql: str, parameters: Parameters, take: Take[T]) -> T:
        """Run a statement that may be a user's: it reaches the tables and nothing else."""
        with sealed():
            connection = self._read_only(lambda: _connect_sealed(self.path))
            try:
                return _taken(connection, sql, parameters, take)
            finally:
                connection.close()

    def _read(self, sql: str, parameters: Parameters, take: Take[T]) -> T:
        attached = self._read_only(lambda: Attached(self.path, read_only=True))
        try:
            return _taken(attached.connection, sql, parameters, take)
        finally:
            attached.close()

    def rows(self, sql: str, parameters: Parameters = None) -> list[dict[str, Any]]:
        """Return the rows of one reading statement as dictionaries."""

        def take(found: duckdb.DuckDBPyRelation | None) -> list[dict[str, Any]]:
            if found is None:
                return []
            if are_plain(found.types):
                return dictionaries(found)
            return found.to_arrow_table().to_pylist()  # type: ignore[no-any-return]

        return self._read(sql, parameters, take)

    def nouns(
        self, noun: type[T], where: str = "true", *parameters: object, own: bool = False
    ) -> list[T]:
        """Return the rows of one noun's table under a condition, in the table's order.

        With `own`, without the exchanges of datasets, of which there may be millions.
        """
        names = ", ".join(f'"{field.name}"' for field in fields(noun))  # type: ignore[arg-type]
        table = KEYS[noun][0]
        table = table if own else _VIEWS.get(table, table)
        found = self.rows(f"SELECT {names} FROM {table} WHERE {where}", parameters)
        return [noun(**row) for row in found]

    def value(self, sql: str, *parameters: object) -> Any:  # noqa: ANN401 - whatever the column is
        """Return the first column of the first row, or None."""
        first = next(iter(self.rows(sql, parameters)), {})
        return next(iter(first.values()), None)

    def _opened(self, open_file: Callable[[], Opened], *, read_only: bool) -> Opened:
        """Open the file, waiting for whoever has it open now."""
        start = time.monotonic()
        said = start
        while True:
            try:
                return open_file()
            except duckdb.IOException as error:
                if not any(word in str(error) for word in _LOCK_WORDS):
                    raise _io_error(error, self.path) from error
                now = time.monotonic()
                if self.on_wait is None and now - start > self.wait_seconds:
                    raise _locked(self.path, read_only=read_only) from error
                if self.on_wait is not None and now - said > 1.0:
                    self.on_wait(f"waiting: another program has {self.path.name} open")
                    said = now + 29
                time.sleep(0.05)
            except duckdb.Error as error:
                raise _io_error(error, self.path) from error

    def _read_only(self, open_file: Callable[[], Opened]) -> Opened:
        """Open the file for reading, where there is one."""
        if not self.path.exists():
            raise NothingToDo(
                f"there is no workspace at {str(self.path.parent)!r}",
                "make one with `memoirist build SOURCE --persona NAME`, or name it with -w",
            )
        return self._opened(open_file, read_only=True)


def _connect_sealed(path: Path) -> duckdb.DuckDBPyConnection:
    # A user's SELECT reads the tables, not the machine's files, and writes none.
    return duckdb.connect(
        str(path),
        read_only=True,
        config={"memory_limit": MEMORY_LIMIT, "enable_external_access": "false"},
    )


def _taken(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Parameters, take: Take[T]
) -> T:
    try:
        return take(connection.sql(sql, params=parameters or None))
    except duckdb.Error as error:
        first = str(error).strip().splitlines()[0]
        raise QueryError(
            f"the query does not run: {first.rstrip('!.')}",
            "`memoirist look` lists the tables, and a query can only read them",
        ) from error


def migrate(connection: duckdb.DuckDBPyConnection) -> None:
    """Apply the numbered migrations that the file still lacks, each in its own transaction."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS migrations (name VARCHAR, applied_at TIMESTAMPTZ)"
    )
    applied = {name for (name,) in connection.execute("SELECT name FROM migrations").fetchall()}
    for path in sorted(SQL.glob("[0-9]*.sql")):
        if path.name not in applied:
            connection.execute("BEGIN")
            connection.execute(path.read_text("utf-8"))
            connection.execute("INSERT INTO migrations VALUES (?, now())", [path.name])
            connection.execute("COMMIT")


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise _io_error(error, path) from error
    except OSError as error:
        if error.errno == 28:
            raise _full(path) from error
        raise


def _locked(path: Path, *, read_only: bool) -> StoreLocked:
    if read_only:
        return StoreLocked(
            f"a build is running, or another program holds {str(path)!r}",
            "try again in a few seconds",
        )
    return StoreLocked(
        f"another program has {str(path)!r} open", "close it (a DuckDB client?) and run this again"
    )


def _full(path: Path) -> DiskFull:
    return DiskFull(
        f"the disk of {str(path.parent)!r} is full",
        "free some space and run the same command again: it goes on where it stopped",
    )


def _io_error(error: Exception, path: Path) -> StoreError:
    words = str(error)
    if any(word in words for word in _FULL_WORDS):
        return _full(path)
    first = words.strip().splitlines()[0]
    return StoreError(
        f"the workspace file {str(path)!r} cannot be used: {first}",
        "if it is damaged, move it away and build again",
    )

"""The store: one DuckDB file per workspace, opened for one batch and closed again.

DuckDB lets no second process open a file that a writer holds, so nothing here stays open: a
writer holds the file for one transaction, a reader for one query, and each waits for the other.
"""

from __future__ import annotations

import atexit
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from memoirist.data.schema.errors import DiskFull, NothingToDo, QueryError, StoreError, StoreLocked
from memoirist.data.store.transaction import KEYS, MEMORY_LIMIT, Parameters, Transaction

FILE = "memoirist.duckdb"
# What to do with a damaged file.
BACKUP = (
    "restore it from a backup, or move it away and build again (its paid replies are lost then)"
)
# The views that show these rows beside the exchanges of datasets, which are read where nothing else
# is asked for.
_VIEWS = {"cut_passages": "passages", "asked_questions": "questions", "made_pairs": "pairs"}
T = TypeVar("T")
Opened = TypeVar("Opened")
_NUMERIC = frozenset(
    "TINYINT SMALLINT INTEGER BIGINT HUGEINT UINTEGER UBIGINT FLOAT DOUBLE DECIMAL".split()
)
_LOCK_WORDS = ("Could not set lock", "Conflicting lock", "being used by another process")
_FULL_WORDS = ("No space left", "Disk quota", "not enough disk space", "Out of disk")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """The rows of a query by position, since two columns may have one name."""

    columns: list[str]
    numeric: list[bool]
    rows: list[tuple[Any, ...]]


class Store:
    """The tables of one workspace; holds a path and no connection."""

    def __init__(
        self,
        path: Path,
        wait_seconds: float = 3.0,
        on_wait: Callable[[str], None] | None = None,
        *,
        migrates: bool = True,
    ) -> None:
        """Remember where the file is; with `on_wait`, wait for the lock for ever and tell it.

        Unless it `migrates`, a file of an older release is left as it is.
        """
        self.path = path
        self.wait_seconds = wait_seconds
        self.on_wait = on_wait
        self._migrated = not migrates

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

    @contextmanager
    def trial(self) -> Iterator[Transaction]:
        """Open the file for reading; temporary tables may stand in for its own, by their names."""
        attached = self._read_only(lambda: Attached(self.path, read_only=True))
        try:
            with _translated(self.path):
                yield Transaction(attached.connection)
        finally:
            attached.close()

    def fetch(self, sql: str, parameters: Parameters = None) -> Fetched:
        """Run a statement that may be a user's: it reads the tables and reaches nothing else.

        Raises NothingToDo where there is no workspace yet, StoreLocked while a writer holds the
        file, QueryError for wrong SQL.
        """
        config: dict[str, Any] = {"memory_limit": MEMORY_LIMIT, "enable_external_access": "false"}
        with sealed():
            connection = self._read_only(
                lambda: duckdb.connect(self.path, read_only=True, config=config)
            )
            try:
                return _fetched(connection, sql, parameters)
            finally:
                connection.close()

    def rows(self, sql: str, parameters: Parameters = None) -> list[dict[str, Any]]:
        """Return the rows of one reading statement as dictionaries."""
        attached = self._read_only(lambda: Attached(self.path, read_only=True))
        try:
            fetched = _fetched(attached.connection, sql, parameters)
        finally:
            attached.close()
        return [dict(zip(fetched.columns, row, strict=True)) for row in fetched.rows]

    def nouns(
        self, noun: type[T], where: str = "true", *parameters: object, own: bool = False
    ) -> list[T]:
        """Return the rows of one noun's table under a condition, in the table's order.

        With `own`, without the exchanges of datasets, of which there may be millions.
        """
        names = ", ".join(f'"{field.name}"' for field in fields(noun))  # type: ignore[arg-type]
        table = KEYS[noun][0]
        table = table if own else _VIEWS.get(table, table)
        rows = self.rows(f"SELECT {names} FROM {table} WHERE {where}", parameters)
        return [noun(**row) for row in rows]

    def value(self, sql: str, *parameters: object) -> Any:  # noqa: ANN401 - whatever the column is
        """Return the first column of the first row, or None."""
        first = next(iter(self.rows(sql, parameters)), {})
        return next(iter(first.values()), None)

    def _opened(self, open_file: Callable[[], Opened], *, read_only: bool) -> Opened:
        """Open the file, waiting for whoever has it open now."""
        start = time.monotonic()
        reported = start
        while True:
            try:
                return open_file()
            except duckdb.IOException as error:
                if not any(word in str(error) for word in _LOCK_WORDS):
                    raise _io_error(error, self.path) from error
                now = time.monotonic()
                if self.on_wait is None and now - start > self.wait_seconds:
                    raise _locked(self.path, read_only=read_only) from error
                if self.on_wait is not None and now - reported > 1.0:
                    self.on_wait(f"waiting: another program has {self.path.name} open")
                    reported = now + 29
                time.sleep(0.05)
            except duckdb.Error as error:
                raise _io_error(error, self.path) from error

    def _read_only(self, open_file: Callable[[], Opened]) -> Opened:
        """Open the file for reading, where there is one; first migrate one of an older release."""
        if not self.path.exists():
            raise NothingToDo(
                f"there is no workspace at {str(self.path.parent)!r}",
                "create one with `memoirist build SOURCE --persona NAME`, or name another with -w",
            )
        if not self._migrated:
            self._migrate()
        return self._opened(open_file, read_only=True)

    def _migrate(self) -> None:
        """Apply what the file lacks; raises StoreError where it lacks something and is locked."""
        attached = self._opened(lambda: Attached(self.path, read_only=True), read_only=True)
        try:
            self._migrated = not _missing(attached.connection)
        finally:
            attached.close()
        if self._migrated:
            return
        try:
            with self.writing():
                pass
        except (StoreLocked, DiskFull):
            raise
        except StoreError as error:
            raise StoreError(
                f"the workspace is from an older release and must be updated, but {error.what}",
                "make the file and its folder writable, or name a copy of the workspace with -w",
            ) from error


def _fetched(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Parameters) -> Fetched:
    try:
        result = connection.sql(sql, params=parameters or None)
        # A statement without rows (SET, say) gives no relation; DuckDB's types do not know it.
        if result is None:
            return Fetched(columns=[], numeric=[], rows=[])  # type: ignore[unreachable]
        numeric = [str(kind).split("(")[0] in _NUMERIC for kind in result.types]
        return Fetched(columns=result.columns, numeric=numeric, rows=result.fetchall())
    except duckdb.Error as error:
        first = str(error).strip().splitlines()[0]
        raise QueryError(
            f"the query failed: {first.rstrip('!.')}",
            "`memoirist look` lists the tables; a query can only read them",
        ) from error


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
        f"another program has {str(path)!r} open",
        "close that program (a DuckDB client?) and run the command again",
    )


def _full(path: Path) -> DiskFull:
    return DiskFull(
        f"the disk of {str(path.parent)!r} is full",
        "free some space and run the same command again: it continues where it stopped",
    )


def _io_error(error: Exception, path: Path) -> StoreError:
    words = str(error)
    if any(word in words for word in _FULL_WORDS):
        return _full(path)
    first = words.strip().splitlines()[0]
    return StoreError(
        f"the workspace file {str(path)!r} cannot be used: {first}",
        f"if it is damaged, {BACKUP}",
    )


# One DuckDB instance for the process takes a workspace's file in and lets it go again: to start an
# instance takes 15 ms, to take a file into a running one 3, and a build opens its store hundreds of
# times.
_instance_lock = threading.RLock()
_instance: duckdb.DuckDBPyConnection | None = None
_beside: Path | None = None  # the file that the instance was started for


class Attached:
    """A connection whose file is attached; no other thread attaches one before it is closed."""

    def __init__(self, path: Path, *, read_only: bool) -> None:
        """Wait for other threads and attach; raises what DuckDB raises where it cannot."""
        _instance_lock.acquire()
        refused = False
        try:
            self.connection = _shared_instance(path).cursor()
            # By the name that the file has for whoever opens it with another client.
            self._name = '"' + path.stem.replace('"', '""') + '"'
            mode = "READ_ONLY" if read_only else "READ_WRITE"
            try:
                self.connection.execute(f"ATTACH {_quoted(path)} AS {self._name} ({mode})")
            except duckdb.Error:
                refused = True  # whatever else the instance holds is whole
                raise
            self.connection.execute(f"USE {self._name}")
        except BaseException:
            if not refused:
                _stop()
            _instance_lock.release()
            raise

    def close(self, *, failed: bool = False) -> None:
        """Let the file go; after a failure with the instance, whatever state that is in."""
        whole = False
        try:
            if not failed:
                self.connection.execute("USE memory")
                self.connection.execute(f"DETACH {self._name}")
                whole = True
        except duckdb.Error as error:
            # What was committed stands in the log beside the file; the next one to open it, with
            # room to write, puts it into its place.
            if "CHECKPOINT" not in str(error):
                raise
        finally:
            self.connection.close()
            if not whole:
                _stop()
            _instance_lock.release()


@contextmanager
def sealed() -> Iterator[None]:
    """Keep other threads from attaching while a file is opened by an instance of its own.

    Two instances of one process would not see each other's locks on a file.
    """
    with _instance_lock:
        yield


def _shared_instance(path: Path) -> duckdb.DuckDBPyConnection:
    global _instance, _beside
    if _instance is not None and _beside != path:
        _stop()
    if _instance is None:
        # What does not fit goes to disk beside the file, not to where the command was given.
        config: dict[str, Any] = {"memory_limit": MEMORY_LIMIT, "temp_directory": f"{path}.tmp"}
        _instance = duckdb.connect(":memory:", config=config)
        _beside = path
    return _instance


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


@atexit.register
def _stop() -> None:
    global _instance
    if _instance is not None:
        _instance.close()
        _instance = None


MIGRATIONS = Path(__file__).parent / "migrations"
VIEWS = Path(__file__).parent / "views.sql"
MACROS = Path(__file__).parent / "macros.sql"


def migrate(connection: duckdb.DuckDBPyConnection) -> None:
    """Apply in order what the file still lacks, each in its own transaction.

    A migration changes tables, once. The macros and views stand in two files that are applied after
    any migration, and again when they have changed: they are recorded under their digest.
    """
    connection.execute(
        "CREATE TABLE IF NOT EXISTS migrations (name VARCHAR, applied_at TIMESTAMPTZ)"
    )
    for name, script in _missing(connection).items():
        connection.execute("BEGIN")
        connection.execute(script)
        if name.startswith(VIEWS.name):
            # One digest at a time: an older version of the program brings its own views.
            former = "DELETE FROM migrations WHERE starts_with(name, ?)"
            connection.execute(former, [VIEWS.name])
        connection.execute("INSERT INTO migrations VALUES (?, now())", [name])
        connection.execute("COMMIT")


def _missing(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Return the scripts by name that a file still lacks."""
    applied: set[str] = set()
    if connection.execute("FROM duckdb_tables() WHERE table_name = 'migrations'").fetchall():
        applied |= {n for (n,) in connection.execute("SELECT name FROM migrations").fetchall()}
    return {name: script for name, script in _scripts().items() if name not in applied}


@cache
def _scripts() -> Mapping[str, str]:
    scripts = {path.name: path.read_text("utf-8") for path in sorted(MIGRATIONS.glob("*.sql"))}
    views = MACROS.read_text("utf-8") + VIEWS.read_text("utf-8")
    digest = hashlib.sha256("".join([*scripts, views]).encode()).hexdigest()[:16]
    return {**scripts, f"{VIEWS.name} {digest}": views}

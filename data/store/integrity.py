"""Check a store for reading: version of its tables, every row, rows without a parent, its log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import duckdb

from memoirist.data.schema.errors import MemoiristError
from memoirist.data.store.store import BACKUP, MIGRATIONS, VIEWS, Store
from memoirist.data.store.transaction import statement

_TABLES = "SELECT table_name FROM duckdb_tables() WHERE NOT internal AND NOT temporary ORDER BY 1"


class Check(NamedTuple):
    """What was found, and the next step where something is wrong."""

    finding: str
    next_step: str = ""


def check_store(store: Store) -> Iterator[Check]:
    """Yield what is found, one line each; nothing is written.

    A file that cannot be opened gives one line and nothing more.
    """
    try:
        applied = {row["name"] for row in store.rows("SELECT name FROM migrations")}
        tables = [row["table_name"] for row in store.rows(_TABLES)]
    except MemoiristError as error:
        # A build holds the file for a moment, or it is damaged.
        yield Check(error.what, error.next_step)
        return
    yield _version(applied)
    faults = list(_unreadable(store, tables))
    if faults:
        yield from faults
    else:
        n_rows = sum(store.value(f'SELECT count(*) FROM "{table}"') for table in tables)
        yield Check(f"all {n_rows:,} rows in {len(tables)} tables can be read")
        if not _missing(applied):
            yield from _orphans(store)
    log = store.path.with_name(f"{store.path.name}.wal")
    if log.exists() and log.stat().st_size:
        yield Check(
            f"{log.name} contains {log.stat().st_size:,} bytes of an interrupted command",
            "the next command that writes takes them over; copy or move both files together",
        )


def _version(applied: set[str]) -> Check:
    missing = _missing(applied)
    known = {path.name for path in MIGRATIONS.glob("*.sql")}
    newer = sorted(name for name in applied - known if not name.startswith(VIEWS.name))
    if newer:
        return Check(
            f"its tables are from a newer version of Memoirist ({newer[-1]})", "update Memoirist"
        )
    if missing:
        return Check(
            f"its tables are from an older version, without {missing[0]}",
            "the next command updates them: copy the file first if in doubt",
        )
    return Check(f"its tables have version {max(known).partition('_')[0]}")


def _missing(applied: set[str]) -> list[str]:
    return sorted({path.name for path in MIGRATIONS.glob("*.sql")} - applied)


def _unreadable(store: Store, tables: list[str]) -> Iterator[Check]:
    """Read every row of every table; yield those that cannot be read."""
    for table in tables:
        try:
            store.rows(f'SELECT bit_xor(hash(t)) FROM "{table}" t')
        except (MemoiristError, duckdb.Error) as error:
            reason = str(error).strip().splitlines()[0]
            yield Check(f"the table {table} cannot be read: {reason[:200]}", BACKUP)


def _orphans(store: Store) -> Iterator[Check]:
    for row in store.rows(statement("orphans")):
        yield Check(
            f"{row['n']:,} rows of {row['table']} refer to a {row['column']} that does not exist",
            "run `memoirist build` again; if this remains, report it",
        )

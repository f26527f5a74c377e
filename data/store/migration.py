"""Bring a workspace's file to the newest schema: numbered migrations, then macros and views."""

from __future__ import annotations

import hashlib
from pathlib import Path

import duckdb

_FOLDER = Path(__file__).parent
MIGRATIONS = _FOLDER / "migrations"
VIEWS = _FOLDER / "views.sql"


def migrate(connection: duckdb.DuckDBPyConnection) -> None:
    """Apply in order what the file still lacks, each in its own transaction.

    A migration changes tables, once. The macros and views stand in one file that is applied after
    any migration, and again when it has changed: it is recorded under its digest.
    """
    connection.execute(
        "CREATE TABLE IF NOT EXISTS migrations (name VARCHAR, applied_at TIMESTAMPTZ)"
    )
    applied = {name for (name,) in connection.execute("SELECT name FROM migrations").fetchall()}
    scripts = {path.name: path.read_text("utf-8") for path in sorted(MIGRATIONS.glob("*.sql"))}
    views = VIEWS.read_text("utf-8")
    digest = hashlib.sha256("".join([*scripts, views]).encode()).hexdigest()[:16]
    scripts[f"{VIEWS.name} {digest}"] = views
    for name, script in scripts.items():
        if name not in applied:
            connection.execute("BEGIN")
            connection.execute(script)
            if script is views:
                # One digest at a time: an older version of the program brings its own views.
                former = "DELETE FROM migrations WHERE starts_with(name, ?)"
                connection.execute(former, [VIEWS.name])
            connection.execute("INSERT INTO migrations VALUES (?, now())", [name])
            connection.execute("COMMIT")

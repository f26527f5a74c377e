"""What `look` shows of the store, and what `export` writes of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from memoirist.data.schema.errors import NothingToDo, QueryError
from memoirist.data.schema.records import Conversation
from memoirist.data.store.store import Fetched, Store
from memoirist.data.store.transaction import statement
from memoirist.flows.table_printer import print_rows

if TYPE_CHECKING:
    from memoirist.data.composition.export_formats import Format
    from memoirist.flows.runtime.context import Context


_ORDER = {
    "dropped": "SELECT subject, rule, count(*) AS n, any_value(reason) AS reason,"
    " any_value(next_step) AS next_step FROM dropped GROUP BY subject, rule ORDER BY n DESC",
    "coverage": "SELECT source, subject, found, kept, dropped, by_rule, flags FROM coverage",
    "kept": "SELECT id, source, origin, score, page_first AS page, thread_id AS thread,"
    " ord AS turn, question, answer FROM kept",
}


def show(store: Store, what: str, subject: str | None, limit: int | None, form: str) -> None:
    """Print what `look` was asked for; QueryError for a name that is no table or view."""
    listed = "SELECT table_name AS name FROM information_schema.tables ORDER BY table_type, name"
    names = [name for (name,) in store.fetch(listed).rows]
    if what == "tables":
        parts = [f"SELECT '{name}' AS \"table\", count(*) AS rows FROM {name}" for name in names]
        print_rows(store.fetch(" UNION ALL ".join(parts)), form)
    elif what == "why":
        print_rows(_lineage(store, subject), form)
    elif what == "outline" and what in names:
        print_rows(_outline(store, subject, limit), form)
    elif what in names:
        sql = _ORDER.get(what, f"SELECT * FROM {what}")
        _some(store, sql, limit or (2_000 if what == "coverage" else 20), form)
    else:
        raise QueryError(
            f"there is nothing to look at by the name {what!r}",
            f"choose tables, why ID, or one of {', '.join(names)}",
        )


def _some(store: Store, sql: str, limit: int, form: str) -> None:
    """Print the first rows, and say on stderr when there are more."""
    print_rows(store.fetch(f"SELECT * FROM ({sql}) LIMIT {limit}"), form)
    total = store.fetch(f"SELECT count(*) FROM ({sql})").rows[0][0]
    if total > limit:
        sys.stderr.write(f"{limit:,} of {total:,} rows; `-n {total}` shows all\n")


def _outline(store: Store, named: str | None, limit: int | None) -> Fetched:
    """Return the chapters in reading order, of every source or of the one that is named.

    A source is named by a part of its title or its place, or by its id's beginning.
    """
    wanted = f"%{(named or '').casefold()}%"
    rows = store.fetch(statement("look_outline"), [wanted, limit or 2_000])
    if rows.rows or not named:
        return rows
    known = store.fetch("SELECT title FROM sources WHERE withdrawn_at IS NULL ORDER BY title")
    raise QueryError(
        f"no source that has been split is called {named!r}",
        f"choose one of {', '.join(repr(title) for (title,) in known.rows) or 'none'}",
    )


def _lineage(store: Store, subject: str | None) -> Fetched:
    """Return the facts about a thing, by its id's beginning, as the query `why` tells them."""
    if not subject:
        raise QueryError("`look why` needs an id", "take one from `memoirist look kept`")
    rows = store.fetch(statement("why"), [subject + "%"])
    if not rows.rows:
        raise QueryError(
            f"nothing has the id {subject!r}",
            "take one from `memoirist look kept`, `dropped` or `sources`",
        )
    return rows


def export_dataset(context: Context, output: Path, form: str, split: str | None) -> str:
    """Write the newest dataset, or one split of it, and tell how much that was."""
    from memoirist.data.composition.export_formats import export
    from memoirist.flows.steps.compose import latest_dataset, refuse_withdrawn

    dataset = latest_dataset(context)
    if dataset is None:
        raise NothingToDo("there is no dataset to export", "make one with `memoirist compose`")
    where = "dataset_id = ? AND (? IS NULL OR split = ?) ORDER BY split, id"
    rows: Sequence[Conversation] = context.workspace.store.nouns(
        Conversation, where, dataset.id, split, split
    )
    if not rows:
        raise NothingToDo(f"no conversation has the split {split!r}", "use train or test")
    refuse_withdrawn(context, dataset.id)
    lines = export(rows, cast("Format", form), output)
    return f"{lines:,} lines of dataset {dataset.id} written to {output}"

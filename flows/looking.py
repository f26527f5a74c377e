"""What `look`, `sql` and `export` print: rows for people, or JSON and CSV for programs."""

from __future__ import annotations

import csv
import json
import math
import shutil
import sys
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rich.console import Console
from rich.table import Table

from data.errors import NothingToDo, QueryError
from data.nouns import Conversation
from data.store.store import Fetched, Store
from data.store.transaction import statement

if TYPE_CHECKING:
    from data.export import Format
    from flows.context import Context

_ORDER = {
    "dropped": "SELECT subject, rule, count(*) AS n, any_value(reason) AS reason,"
    " any_value(next_step) AS next_step FROM dropped GROUP BY subject, rule ORDER BY n DESC",
    "coverage": "SELECT source, subject, found, kept, dropped, by_rule, flags FROM coverage",
    "kept": "SELECT id, source, origin, score, page_first AS page, thread_id AS thread,"
    " ord AS turn, question, answer FROM kept",
}


def print_rows(found: Fetched, form: str) -> None:
    """Print rows to stdout as a table that fits the terminal, as a JSON list, or as CSV."""
    if form == "json":
        named = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
        json.dump(_finite(named), sys.stdout, ensure_ascii=False, default=_json, indent=1)
        sys.stdout.write("\n")
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(found.columns)
        writer.writerows([[_cell(value) for value in row] for row in found.rows])
    else:
        _table(found)


def _json(value: object) -> object:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if isinstance(value, date | datetime) else str(value)


def _finite(value: object) -> object:
    """Turn NaN and infinity into null, as JSON knows neither."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list) else value


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=_json)
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return str(value)


def _table(found: Fetched) -> None:
    # A pipe has no width; what a person reads later should still hold the whole row.
    width = shutil.get_terminal_size((160, 40)).columns if sys.stdout.isatty() else 200
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name, number in zip(found.columns, found.numeric, strict=True):
        shown.add_column(
            name, justify="right" if number else "left", no_wrap=number, overflow="fold"
        )
    for row in found.rows:
        cells = (f"{v:.6g}" if isinstance(v, float) else _cell(v) for v in row)
        shown.add_row(*map(_short, cells))
    console.print(shown)
    if not found.rows:
        console.print("(no rows)")


def _short(text: str, limit: int = 240) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


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
    found = store.fetch(statement("look_outline"), [wanted, limit or 2_000])
    if found.rows or not named:
        return found
    known = store.fetch("SELECT title FROM sources WHERE withdrawn_at IS NULL ORDER BY title")
    raise QueryError(
        f"no source that has been split is called {named!r}",
        f"choose one of {', '.join(repr(title) for (title,) in known.rows) or 'none'}",
    )


def _lineage(store: Store, subject: str | None) -> Fetched:
    """Return the facts about a thing, by its id's beginning, as the query `why` tells them."""
    if not subject:
        raise QueryError("`look why` needs an id", "take one from `memoirist look kept`")
    found = store.fetch(statement("why"), [subject + "%"])
    if not found.rows:
        raise QueryError(
            f"nothing has the id {subject!r}",
            "take one from `memoirist look kept`, `dropped` or `sources`",
        )
    return found


def export_dataset(context: Context, output: Path, form: str, split: str | None) -> str:
    """Write the newest dataset, or one split of it, and tell how much that was."""
    from data.export import export
    from flows.curating import latest_dataset, refuse_withdrawn

    if output.is_dir():
        raise QueryError(f"{str(output)!r} is a folder", "name a file, such as -o train.jsonl")
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

"""Print tables, rows and lineage for `look` and others; `export` the dataset; `validate` a file."""

from __future__ import annotations

import csv
import difflib
import io
import json
import math
import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, cast

from memoirist.data.schema.errors import NothingToDo, QueryError, RecipeError, SourceMissing
from memoirist.data.schema.records import Conversation
from memoirist.data.store.store import Fetched, Store
from memoirist.data.store.transaction import statement
from memoirist.data.text.sanitizer import visible

if TYPE_CHECKING:
    from memoirist.data.composition.export_formats import Format
    from memoirist.data.composition.messages_file import CheckSettings
    from memoirist.flows.runtime.context import Context


_QUERIES = {
    "dropped": "SELECT subject, rule, count(*) AS n, any_value(reason) AS reason,"
    " any_value(next_step) AS next_step FROM dropped GROUP BY subject, rule ORDER BY n DESC",
    "coverage": "SELECT source, subject, found, kept, dropped, by_rule, flags FROM coverage",
    "kept": "SELECT id, source, origin, score, page_first AS page, thread_id AS thread,"
    " ord AS turn, question, answer FROM kept",
}


def show(store: Store, what: str, subject: str | None, limit: int | None, form: str) -> None:
    """Print the table, view or lineage that `look` names; QueryError for an unknown name."""
    tables = "SELECT table_name AS name FROM information_schema.tables ORDER BY table_type, name"
    names = [name for (name,) in store.fetch(tables).rows]
    if what == "tables":
        counts = [f"SELECT '{name}' AS \"table\", count(*) AS rows FROM {name}" for name in names]
        print_rows(store.fetch(" UNION ALL ".join(counts)), form)
    elif what == "why":
        print_rows(_lineage(store, subject), form)
    elif what == "outline" and what in names:
        print_rows(_outline(store, subject, limit), form)
    elif what in names:
        sql = _QUERIES.get(what, f"SELECT * FROM {what}")
        _print_first(store, sql, limit or (2_000 if what == "coverage" else 20), form)
    else:
        raise QueryError(
            f"there is no table or view {what!r}",
            f"choose tables, why ID, or one of {', '.join(names)}",
        )


def _print_first(store: Store, sql: str, limit: int, form: str) -> None:
    """Print the first rows, and tell on stderr if there are more."""
    print_rows(store.fetch(f"SELECT * FROM ({sql}) LIMIT {limit}"), form)
    total = store.fetch(f"SELECT count(*) FROM ({sql})").rows[0][0]
    if total > limit:
        sys.stderr.write(f"{limit:,} of {total:,} rows; `-n {total}` shows all\n")


def _outline(store: Store, source: str | None, limit: int | None) -> Fetched:
    """Return the chapters in reading order, of all sources or of one.

    `source` is a part of its title or location, or of its id.
    """
    pattern = f"%{(source or '').casefold()}%"
    rows = store.fetch(statement("look_outline"), [pattern, limit or 2_000])
    if rows.rows or not source:
        return rows
    titles = store.fetch("SELECT title FROM sources WHERE withdrawn_at IS NULL ORDER BY title")
    raise QueryError(
        f"no source with passages is called {source!r}",
        f"choose one of {', '.join(repr(title) for (title,) in titles.rows) or 'none'}",
    )


def _lineage(store: Store, subject: str | None) -> Fetched:
    """Return the rows of the query `why` on all rows whose id has the given prefix."""
    if not subject:
        raise QueryError("`look why` needs an id", "take one from `memoirist look kept`")
    rows = store.fetch(statement("why"), [subject + "%"])
    if not rows.rows:
        raise QueryError(
            f"nothing has the id {subject!r}",
            "take one from `memoirist look kept`, `dropped` or `sources`",
        )
    return rows


def show_what_if(context: Context, keys: Sequence[str], form: str) -> None:
    """Print what would come and go by the context's thresholds; nothing is changed.

    `keys` are the recipe keys that differ; raise RecipeError for one that no rule reads, and
    NothingToDo where no pair has been judged yet.
    """
    from memoirist.data.curation import rules

    store, settings = context.workspace.store, context.recipe.curate
    # The judge's grades are not read again here.
    names = [key for key in rules.thresholds(settings, "en") if not key.startswith("judge")]
    for key in keys:
        name = key.removeprefix("curate.")
        if name not in names:
            near = difflib.get_close_matches(name, names, n=2)
            raise RecipeError(
                f"--what-if {key!r} is not a threshold of the gates, the rejects or the score",
                f"did you mean {' or '.join(near)}?" if near else f"take one of {', '.join(names)}",
            )
    stored = store.value("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'thresholds'")
    if not stored or not store.value("SELECT count(*) FROM pair_scores"):
        raise NothingToDo("no pair has been judged yet", "run `memoirist curate` first")
    lang = str(store.value("SELECT any_value(lang) FROM thresholds"))
    with store.trial() as tx:
        columns, rows = rules.what_if(tx, settings, lang)
        ((n_beaten,),) = tx.fetch(statement("what_if_winners"))
    if not rows:
        context.report.note("no passage or pair would change")
    comes = any(row[0] == "comes" for row in rows)
    if comes or n_beaten:
        judge = " and the LLM judge" if comes and settings.judge else ""
        context.report.note(
            f"not applied here: the rules on near duplicates{judge}; they may drop some rows that"
            " come, and may bring back rows whose near duplicate goes"
        )
    print_rows(Fetched(columns=columns, numeric=[c == "n" for c in columns], rows=rows), form)


def export_dataset(
    context: Context, output: Path, form: str, split: str | None, version: str = "latest"
) -> str:
    """Write a dataset version, or one split of it; return a line with the number of rows."""
    from memoirist.data.composition.export_formats import export
    from memoirist.flows.runtime.report import counted
    from memoirist.flows.steps.compose import refuse_withdrawn
    from memoirist.flows.versions import find_version, tools_note

    dataset = find_version(context.workspace.store, version)
    left_out = "" if form == "messages" else tools_note(context.workspace.store, dataset.id, split)
    if form == "hf":
        from memoirist.flows.models.dataset_folder import write_dataset

        refuse_withdrawn(context, dataset.id)
        n_rows = write_dataset(context, dataset, output, split)
        return f"{counted(n_rows, 'row')} of dataset {dataset.id} written to {output}{left_out}"
    where = "dataset_id = ? AND (? IS NULL OR split = ?) ORDER BY split, id"
    rows: Sequence[Conversation] = context.workspace.store.nouns(
        Conversation, where, dataset.id, split, split
    )
    if not rows:
        raise NothingToDo(
            f"no conversation has the split {split!r}", "use train, validation or test"
        )
    refuse_withdrawn(context, dataset.id)
    lines = export(rows, cast("Format", form), output)
    return f"{counted(lines, 'line')} of dataset {dataset.id} written to {output}{left_out}"


def check_file(name: str, settings: CheckSettings, output: Path | None) -> tuple[Fetched, str]:
    """Check a file of messages, `-` for standard input; return its faults and a line on its rows.

    With `output` the mended rows are written there, all or nothing.
    """
    from memoirist.data.atomic_write import replacing
    from memoirist.data.composition.messages_file import check_messages, fault_rows
    from memoirist.flows.runtime.report import counted

    with ExitStack() as stack:
        file, target = stack.enter_context(_opened(name)), None
        if output is not None:
            target = stack.enter_context(stack.enter_context(replacing(output)).open("wb"))
        report = check_messages(file, settings, target)
        if output is not None and not report.written:
            raise NothingToDo(
                f"no row of {name!r} could be mended", "run it without --fix to see its faults"
            )
    summary = f"{counted(report.rows, 'row')}, {report.faulty:,} of them with faults"
    if output is not None:
        summary += (
            f"; {report.written:,} written to {output}: {report.mended:,} mended,"
            f" {report.repeated:,} repeated and {report.left_out:,} others left out"
        )
    summary = "; ".join([summary, *report.notes])
    columns = ["fault", "rows", "lines", "reason", "fix"]
    numeric = [False, True, False, False, False]
    return Fetched(columns=columns, numeric=numeric, rows=fault_rows(report)), summary


def _opened(name: str) -> io.BufferedReader:
    if name == "-":
        # A copy of the descriptor, so that closing it leaves standard input open.
        return io.BufferedReader(io.FileIO(os.dup(sys.stdin.fileno())))
    path = Path(name).expanduser()
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise SourceMissing(
            f"the file {name!r} {what}", "name a file of messages, or - to pipe one"
        )
    return path.open("rb")


def print_rows(rows: Fetched, form: str) -> None:
    """Print rows to stdout as a table that fits the terminal, as a JSON list, or as CSV."""
    if form == "json":
        records = [dict(zip(rows.columns, row, strict=True)) for row in rows.rows]
        json.dump(_finite(records), sys.stdout, ensure_ascii=False, default=_json, indent=1)
        sys.stdout.write("\n")
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(rows.columns)
        writer.writerows([[_cell(value) for value in row] for row in rows.rows])
    else:
        _print_table(rows)


def _json(value: object) -> object:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if isinstance(value, date | datetime) else str(value)


def _finite(value: object) -> object:
    """Replace NaN and infinity by null, because JSON has neither."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=_json)
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return str(value)


def _print_table(rows: Fetched) -> None:
    from rich.console import Console
    from rich.table import Table

    # A pipe has no width; a person who reads the output later needs the complete row.
    width = shutil.get_terminal_size((160, 40)).columns if sys.stdout.isatty() else 200
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, number in zip(rows.columns, rows.numeric, strict=True):
        table.add_column(
            name, justify="right" if number else "left", no_wrap=number, overflow="fold"
        )
    for row in rows.rows:
        cells = (f"{v:.6g}" if isinstance(v, float) else _cell(v) for v in row)
        table.add_row(*map(_short, cells))
    console.print(table)
    if not rows.rows:
        console.print("(no rows)")


def _short(text: str, limit: int = 240) -> str:
    flat = " ".join(visible(text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"

"""Print rows as a table for people, or as JSON and CSV for programs."""

from __future__ import annotations

import csv
import json
import math
import shutil
import sys
from datetime import date, datetime
from decimal import Decimal

from rich.console import Console
from rich.table import Table

from memoirist.data.store.store import Fetched


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
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"

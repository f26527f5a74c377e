"""Rows to and from DuckDB as Python values, for the small ones: Arrow takes longer to load.

Arrow brings pandas with it, a third of a second, which a command of a second feels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

# A list costs about a microsecond a value, four times Arrow's price, and its memory.
MOST_ROWS = 2_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOMENT = "TIMESTAMP WITH TIME ZONE"
_ALIKE = {"VARCHAR", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "DOUBLE", "FLOAT", "BOOLEAN"} | {
    "VARCHAR[]",
    "DATE",
}


def are_plain(types: Sequence[object]) -> bool:
    """Tell whether Python and Arrow give the same values for columns of these types."""
    return all(str(kind) == _MOMENT or str(kind) in _ALIKE for kind in types)


def unnested(columns: Mapping[str, str]) -> str:
    """Return a SELECT of columns, by name and type, each from a list that is its parameter."""
    return "SELECT " + ", ".join(
        f'unnest(${place}::{kind}[]) AS "{name}"'
        for place, (name, kind) in enumerate(columns.items(), start=1)
    )


def dictionaries(found: duckdb.DuckDBPyRelation) -> list[dict[str, Any]]:
    """Return the rows of a relation whose columns are plain; moments are in local time."""
    names, kinds = found.columns, [str(kind) for kind in found.types]
    moments = [place for place, kind in enumerate(kinds) if kind == _MOMENT]
    if not moments:
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    # DuckDB makes a moment with a library that it does not bring; a number needs none.
    asked = (
        f'epoch_us("{name}") AS "{name}"' if kind == _MOMENT else f'"{name}"'
        for name, kind in zip(names, kinds, strict=True)
    )
    rows = []
    for row in found.project(", ".join(asked)).fetchall():
        values = list(row)
        for place in moments:
            if values[place] is not None:
                moment = _EPOCH + timedelta(microseconds=values[place])
                values[place] = moment.astimezone()
        rows.append(dict(zip(names, values, strict=True)))
    return rows

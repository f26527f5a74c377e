"""Rows to and from DuckDB as Python values, for the small ones: Arrow takes longer to load.

Arrow brings pandas with it, a third of a second, which a command of a second feels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

# A list costs about half a microsecond a value, some times Arrow's price, and its memory; Arrow
# costs 0.35 s to load.
_MOST_VALUES = 200_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOMENT = "TIMESTAMP WITH TIME ZONE"
_ALIKE = {"VARCHAR", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "DOUBLE", "FLOAT", "BOOLEAN"} | {
    "VARCHAR[]",
    "DATE",
}


def are_plain(types: Iterable[object]) -> bool:
    """Tell whether Python and Arrow give the same values for columns of these types."""
    return all(str(kind) == _MOMENT or str(kind) in _ALIKE for kind in types)


@contextmanager
def incoming(
    connection: duckdb.DuckDBPyConnection,
    kinds: Mapping[str, str],
    columns: Mapping[str, Sequence[object]],
) -> Iterator[None]:
    """Hold columns of these types as the table `incoming` of a connection."""
    n_values = sum(len(each) for each in columns.values())
    if n_values <= _MOST_VALUES and are_plain(kinds.values()):
        wanted = ", ".join(
            f'unnest(${place}::{kinds[name]}[]) AS "{name}"'
            for place, name in enumerate(columns, start=1)
        )
        lists = [list(each) for each in columns.values()]
        connection.execute(f"CREATE OR REPLACE TEMP TABLE incoming AS SELECT {wanted}", lists)
        yield
        connection.execute("DROP TABLE incoming")
        return
    import pyarrow as pa

    empty = ", ".join(f'NULL::{kind} AS "{name}"' for name, kind in kinds.items())
    schema = connection.sql(f"SELECT {empty} LIMIT 0").to_arrow_table().schema
    arrays = {
        name: pa.array(values, type=schema.field(name).type) for name, values in columns.items()
    }
    connection.register("incoming", pa.table(arrays))
    yield
    connection.unregister("incoming")


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

"""Find a dataset version by its name, and compare two of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memoirist.data.schema.errors import NothingToDo, QueryError
from memoirist.data.schema.records import Dataset
from memoirist.data.store.store import Fetched
from memoirist.data.store.transaction import statement

if TYPE_CHECKING:
    from memoirist.data.store.store import Store

_NAMES = ("latest", "previous")
_CHANGES = {
    "came": "came",
    "went": "went",
    "moved": "changed their split",
    "verdict": "left out by another rule",
}


def find_version(store: Store, name: str = "latest") -> Dataset:
    """Return the version that `name` means: the beginning of an id, `latest` or `previous`.

    Raises NothingToDo without such a version, and QueryError for a beginning that several ids have.
    """
    versions = store.nouns(Dataset, "true ORDER BY used_at DESC, id")
    if not versions:
        raise NothingToDo("there is no dataset yet", "make one with `memoirist compose`")
    if name in _NAMES:
        found = versions[_NAMES.index(name) :][:1]
    else:
        found = [version for version in versions if name and version.id.startswith(name)]
    if not found:
        raise NothingToDo(
            f"there is no dataset version {name!r}",
            "`memoirist look versions` lists them; `latest` and `previous` name the newest two",
        )
    if len(found) > 1:
        ids = ", ".join(version.id for version in found)
        raise QueryError(f"several dataset versions begin with {name!r}", f"choose one of {ids}")
    return found[0]


def compare_versions(store: Store, names: tuple[str, str], n_examples: int) -> tuple[Fetched, str]:
    """Return what differs between two versions, and a summary of it in one line."""
    first, second = (find_version(store, name) for name in names)
    values = {"a": first.id, "b": second.id, "examples": n_examples}
    rows = store.fetch(statement("version_diff"), values)
    counts = dict.fromkeys(_CHANGES, 0)
    for change, _, n in {(row[0], row[1], row[2]) for row in rows.rows}:
        counts[change] += n
    parts = [f"{n:,} {_CHANGES[change]}" for change, n in counts.items() if n]
    recipe = store.value(statement("version_recipes"), first.id, second.id)
    return rows, (
        f"pairs from {first.id} to {second.id}: {', '.join(parts) or 'no difference'}"
        + (f"; recipe: {recipe}" if recipe else "")
    )

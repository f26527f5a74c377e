"""Empty stores, copied: the migrations of a new one take longer than most tests that need it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from memoirist.data.store.store import FILE, Store


def empty_store(path: Path) -> Store:
    """Put a store with all tables and no row at `path` and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_empty())
    return Store(path)


@cache
def _empty() -> bytes:
    with TemporaryDirectory() as folder:
        store = Store(Path(folder) / FILE)
        with store.writing():
            pass
        return store.path.read_bytes()

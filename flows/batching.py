"""The batches of a workspace, as the client of the Batch API writes them down."""

from __future__ import annotations

from collections.abc import Sequence

from memoirist.data.schema.records import Batch
from memoirist.data.store.store import Store


class Book:
    """The table `batches`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def batches(self, base_url: str) -> Sequence[Batch]:
        """Return the ones at one address, the oldest first."""
        return self._store.nouns(Batch, "base_url = ? ORDER BY created_at, key", base_url)

    def note(self, batch: Batch) -> None:
        """Write one down, before anything else happens."""
        with self._store.writing() as tx:
            tx.upsert([batch])

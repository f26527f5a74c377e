"""What the client of the Batch API wants of a workspace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from memoirist.data.schema.records import Batch


class BatchBook(Protocol):
    """Where the batches of a workspace are written down."""

    def batches(self, base_url: str) -> Sequence[Batch]:
        """Return the ones at one address, the oldest first."""

    def note(self, batch: Batch) -> None:
        """Write one down, before anything else happens."""

"""The stored state of LLM servers: probed endpoints, and batches in progress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from memoirist.data.schema.records import Batch, content_id
from memoirist.data.store.store import Store
from memoirist.flows.runtime.context import Context

if TYPE_CHECKING:
    from memoirist.generators.client.client import Endpoint
    from memoirist.generators.settings import InterviewSettings

# A newer server with the same address and name may support more.
_MAX_AGE_DAYS = 30


def known_endpoints(context: Context, settings: InterviewSettings) -> list[Endpoint]:
    """Return the stored endpoints of the settings' server, one for each of its models."""
    from memoirist.generators.client.client import Endpoint, base_url_of

    store, base_url = context.workspace.store, base_url_of(settings)
    if not store.path.exists():
        return []
    rows = store.rows(
        "SELECT model, structured, token_limit_name, takes_temperature FROM endpoints"
        f" WHERE id = ? AND probed_at > now() - INTERVAL {_MAX_AGE_DAYS} DAY",
        [content_id("endpoint", base_url)],
    )
    return [Endpoint(base_url=base_url, **row) for row in rows]


async def find_endpoint(context: Context, settings: InterviewSettings) -> Endpoint:
    """Return the stored endpoint of the settings, else probe the server and store the result."""
    from memoirist.generators.client.client import probe

    known = known_endpoints(context, settings)
    endpoint = await probe(settings, known)
    if endpoint not in known:
        delete_endpoint(context, endpoint)
        row = asdict(endpoint)
        row["id"] = content_id("endpoint", row.pop("base_url"))
        with context.workspace.store.writing() as tx:
            tx.execute(
                "INSERT INTO endpoints BY NAME SELECT now() AS probed_at,"
                f" {', '.join(f'? AS {name}' for name in row)}",
                list(row.values()),
            )
    return endpoint


def delete_endpoint(context: Context, endpoint: Endpoint) -> None:
    """Delete a stored endpoint, so that the next run probes the server again."""
    with context.workspace.store.writing() as tx:
        tx.execute(
            "DELETE FROM endpoints WHERE id = ? AND model = ?",
            [content_id("endpoint", endpoint.base_url), endpoint.model],
        )


class BatchTable:
    """The table `batches` of a workspace, for the client of the Batch API."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def batches(self, base_url: str) -> Sequence[Batch]:
        """Return the batches at one address, the oldest first."""
        return self._store.nouns(Batch, "base_url = ? ORDER BY created_at, key", base_url)

    def save(self, batch: Batch) -> None:
        """Store a batch."""
        with self._store.writing() as tx:
            tx.upsert([batch])

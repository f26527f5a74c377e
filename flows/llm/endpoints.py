"""What is stored about LLM servers: endpoints that were probed, and batches that are under way."""

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

# A server may be replaced by a newer one that can do more, under the same address and name.
_DAYS = 30


def known_endpoints(context: Context, settings: InterviewSettings) -> list[Endpoint]:
    """Return what is known of the settings' server, one endpoint for each of its models."""
    from memoirist.generators.client.client import Endpoint, base_url_of

    store, base_url = context.workspace.store, base_url_of(settings)
    if not store.path.exists():
        return []
    rows = store.rows(
        "SELECT model, structured, token_limit_name, takes_temperature FROM endpoints"
        f" WHERE id = ? AND probed_at > now() - INTERVAL {_DAYS} DAY",
        [content_id("endpoint", base_url)],
    )
    return [Endpoint(base_url=base_url, **row) for row in rows]


async def find_endpoint(context: Context, settings: InterviewSettings) -> Endpoint:
    """Return the endpoint of the settings: a known one, else what a probe finds, which is kept."""
    from memoirist.generators.client.probe import probe

    known = known_endpoints(context, settings)
    endpoint = await probe(settings, known)
    if endpoint not in known:
        forget_endpoint(context, endpoint)
        row = asdict(endpoint)
        row["id"] = content_id("endpoint", row.pop("base_url"))
        with context.workspace.store.writing() as tx:
            tx.execute(
                "INSERT INTO endpoints BY NAME SELECT now() AS probed_at,"
                f" {', '.join(f'? AS {name}' for name in row)}",
                list(row.values()),
            )
    return endpoint


def forget_endpoint(context: Context, endpoint: Endpoint) -> None:
    """Have the endpoint probed again by the next run: it no longer does as it did."""
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
        """Return the ones at one address, the oldest first."""
        return self._store.nouns(Batch, "base_url = ? ORDER BY created_at, key", base_url)

    def save(self, batch: Batch) -> None:
        """Keep one, before anything else happens."""
        with self._store.writing() as tx:
            tx.upsert([batch])

"""Remember what was found out about an LLM endpoint, so that it is probed once."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from memoirist.data.schema.records import content_id
from memoirist.flows.runtime.context import Context

if TYPE_CHECKING:
    from memoirist.generators.client import Endpoint
    from memoirist.generators.settings import InterviewSettings


# A server may be replaced by a newer one that can do more, under the same address and name.
_DAYS = 30


def remembered(context: Context, settings: InterviewSettings) -> list[Endpoint]:
    """Return what is known of the settings' server, one endpoint for each of its models."""
    from memoirist.generators.client import Endpoint, base_url_of

    store, base_url = context.workspace.store, base_url_of(settings)
    if not store.path.exists():
        return []
    rows = store.rows(
        "SELECT model, structured, token_limit_name, takes_temperature FROM endpoints"
        f" WHERE id = ? AND probed_at > now() - INTERVAL {_DAYS} DAY",
        [content_id("endpoint", base_url)],
    )
    return [Endpoint(base_url=base_url, **row) for row in rows]


def remember(context: Context, endpoint: Endpoint) -> None:
    """Keep what a probe has found."""
    found = asdict(endpoint)
    key = content_id("endpoint", found.pop("base_url"))
    with context.workspace.store.writing() as tx:
        tx.execute("DELETE FROM endpoints WHERE id = ? AND model = ?", [key, endpoint.model])
        tx.execute(
            f"INSERT INTO endpoints BY NAME SELECT ? AS id, now() AS probed_at,"
            f" {', '.join(f'? AS {name}' for name in found)}",
            [key, *found.values()],
        )


def forget(context: Context, endpoint: Endpoint) -> None:
    """Have the endpoint probed again by the next run: it no longer does as it did."""
    with context.workspace.store.writing() as tx:
        tx.execute(
            "DELETE FROM endpoints WHERE id = ? AND model = ?",
            [content_id("endpoint", endpoint.base_url), endpoint.model],
        )

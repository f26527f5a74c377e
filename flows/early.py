"""The probe of an LLM endpoint, begun before the rest of `ask` is even loaded.

A round trip to a server and the loading of our own code and passages take about as long as each
other, and neither needs the other.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeAlias

from memoirist.flows.endpoints import remembered
from memoirist.flows.runtime.context import Context

if TYPE_CHECKING:
    from memoirist.generators.client import Endpoint
    from memoirist.generators.settings import InterviewSettings

Probing: TypeAlias = "Future[Endpoint]"

# A source row is an exchange that an earlier dataset holds; it has its question.
ELIGIBLE = (
    "source_row IS NULL AND id NOT IN"
    " (SELECT subject_id FROM verdicts WHERE subject = 'passages' AND NOT keep"
    " AND step IN ('gate', 'dedupe'))"
    " AND id NOT IN (SELECT passage_id FROM asked_questions WHERE origin IN {origins})"
)
REAL = "('spoken', 'given', 'curated', 'disclosure')"
_FIRST_ASKED = (
    f"SELECT 1 FROM cut_passages WHERE {ELIGIBLE.format(origins=REAL)}"
    " AND NOT EXISTS (FROM requests WHERE purpose = 'interview') LIMIT 1"
)


def begin_probe(context: Context) -> Probing | None:
    """Probe the endpoint in a thread where this is the first interview of the workspace.

    Later ones may be finished, and need no server then: None is returned, as where no endpoint is
    named. Whatever the probe meets is raised by the future's `result`.
    """
    from memoirist.generators.client import endpoint_configured

    settings, store = context.recipe.interview, context.workspace.store
    if not endpoint_configured(settings) or not store.path.exists():
        return None
    if not store.value(_FIRST_ASKED):
        return None
    known = remembered(context, settings)
    future: Probing = Future()
    # A daemon: who presses Ctrl-C does not wait for the server.
    threading.Thread(target=_probe, args=(settings, known, future), daemon=True).start()
    return future


def _probe(settings: InterviewSettings, known: list[Endpoint], future: Probing) -> None:
    import asyncio

    try:
        from memoirist.generators.probe import probe

        future.set_result(asyncio.run(probe(settings, known)))
    except BaseException as error:  # noqa: BLE001 - whoever waits for the future raises it
        future.set_exception(error)

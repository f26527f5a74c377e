"""How the flows meet Prefect: its quiet settings, and a step as a task."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

    from memoirist.flows.recipe.tables import FlowSettings
    from memoirist.flows.runtime.context import Call


R = TypeVar("R")

# Read by Prefect when it is imported, so `quiet` runs before that.
_QUIET = {
    # The console belongs to our own report; what is logged still reaches Prefect's UI.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_HANDLERS_DEBUG_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    # A laptop under load needs longer than the default 20 s to start the ephemeral server.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}


def silence_prefect() -> None:
    """Keep Prefect's own lines off the terminal; what the user has set stays."""
    for key, value in _QUIET.items():
        os.environ.setdefault(key, value)


def as_tasks(settings: FlowSettings) -> Call:
    """Return a way to call a step as a Prefect task named by its verb.

    The step's rows travel in the closure, not as task parameters, so that neither texts nor keys
    are stored by Prefect; its result cache stays off, for the store is the one memory. Only
    `extract` is run again by Prefect: the others resume by themselves.
    """
    from prefect import task
    from prefect.cache_policies import NO_CACHE

    def call(verb: str, label: str, step: Callable[[], R]) -> R:
        name = f"{verb} {label}".replace("{", "(").replace("}", ")")
        named = task(
            name=verb,
            task_run_name=name,
            cache_policy=NO_CACHE,
            persist_result=False,
            retries=settings.retries if verb == "extract" else 0,
            retry_delay_seconds=settings.retry_delay_seconds,
            retry_condition_fn=_worth_retrying,
        )
        return named(lambda: step())()  # Prefect cannot name a partial

    return call


def _worth_retrying(_task: object, _run: object, state: State[object]) -> bool:
    """Tell a passing fault from a source that is refused for good."""
    from memoirist.data.schema.errors import MemoiristError

    try:
        state.result()
    except MemoiristError:
        return False
    except Exception:  # noqa: BLE001 - whatever it is, it is no verdict of ours
        return True
    return False

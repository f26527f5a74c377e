"""Silence Prefect on the terminal and call steps as Prefect tasks."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

    from memoirist.flows.recipe import FlowSettings
    from memoirist.flows.runtime.context import Call


R = TypeVar("R")

# Prefect reads these when it is imported, so `silence_prefect` must run before that.
_QUIET = {
    # The console belongs to our report; log lines still reach Prefect's UI.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_HANDLERS_DEBUG_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    # A laptop under load needs longer than the default 20 s to start the ephemeral server.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}


def silence_prefect() -> None:
    """Keep Prefect's lines off the terminal; variables that the user has set win."""
    for key, value in _QUIET.items():
        os.environ.setdefault(key, value)


def as_tasks(settings: FlowSettings) -> Call:
    """Return a way to call a step as a Prefect task named by its verb.

    The closure carries the step's rows, not the task's parameters, so that Prefect stores neither
    texts nor keys. The result cache is off: the store holds what is done. Prefect retries only
    `extract`; the other steps resume by themselves.
    """
    from prefect import task
    from prefect.cache_policies import NO_CACHE

    def call(verb: str, label: str, step: Callable[[], R]) -> R:
        name = f"{verb} {label}".replace("{", "(").replace("}", ")")
        as_task = task(
            name=verb,
            task_run_name=name,
            cache_policy=NO_CACHE,
            persist_result=False,
            retries=settings.retries if verb == "extract" else 0,
            retry_delay_seconds=settings.retry_delay_seconds,
            retry_condition_fn=_worth_retrying,
        )
        return as_task(lambda: step())()  # Prefect cannot name a partial

    return call


def _worth_retrying(_task: object, _run: object, state: State[object]) -> bool:
    """Tell whether a failure may be temporary: our own errors are final."""
    from memoirist.data.schema.errors import MemoiristError

    try:
        state.result()
    except MemoiristError:
        return False
    except Exception:  # noqa: BLE001 - any other error may be temporary
        return True
    return False

"""How a single command runs its step."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from memoirist.flows.runtime.detach import ignore_hangup

if TYPE_CHECKING:
    from memoirist.flows.runtime.context import Context


def run(context: Context, step: Callable[[Context], object]) -> None:
    """Run one step alone, under the workspace's lock, and say when nothing was due."""
    with ignore_hangup(), context.workspace.held():
        step(context)
    if not context.changed:
        context.report.note("nothing to do: this step is up to date")

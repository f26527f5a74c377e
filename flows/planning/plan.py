"""Plan a build: new sources, due LLM calls with their cost, and the training."""

from __future__ import annotations

from collections.abc import Sequence

from memoirist.data.schema.errors import NothingToDo
from memoirist.data.schema.records import Conversation
from memoirist.data.store.store import Fetched
from memoirist.extractors import discover
from memoirist.extractors.detection.discover import is_url
from memoirist.flows.planning.training_estimate import training_lines
from memoirist.flows.runtime.context import Context
from memoirist.flows.steps.compose import latest_dataset

PILOT_CALLS = 20


def plan_rows(context: Context, pointers: Sequence[str]) -> Fetched:
    """Return the plan as rows of a step and a text; nothing is written and nothing is sent."""
    rows = [
        *(("sources", line) for line in _sources(context, pointers)),
        *_calls(context),
        *(("train", line) for line in _training(context)),
    ]
    return Fetched(columns=["step", "plan"], numeric=[False, False], rows=rows)


def send_pilot(context: Context) -> None:
    """Ask about a few passages; the replies are kept and measured for the plan.

    Raise NothingToDo if no endpoint is set or no passage exists.
    """
    from memoirist.flows.steps.ask import ask_pilot
    from memoirist.generators.client.client import endpoint_configured

    if not endpoint_configured(context.recipe.interview):
        raise NothingToDo("a pilot needs an LLM endpoint", "give --base-url, or set OPENAI_API_KEY")
    if not context.workspace.store.path.exists():
        raise NothingToDo(
            "a pilot asks about passages, and none are cut", "run `memoirist extract SOURCE` first"
        )
    with context.workspace.held():
        ask_pilot(context, PILOT_CALLS)


def _sources(context: Context, pointers: Sequence[str]) -> list[str]:
    if not pointers:
        return ["none named"]
    locations = {source.location for source in context.workspace.sources()}
    sources = discover(pointers)
    new = [source for source in sources if source.location not in locations]
    lines = [f"{len(sources)}, {len(new)} of them not taken in yet"]
    lines += [f"new: {s.pointer or s.path} ({s.format})" for s in new[:10]]
    if new and context.workspace.store.path.exists():
        lines.append("they are not counted below: `memoirist extract` reads them, free")
    return lines + [f"feed, looked at by a build: {p}" for p in pointers if is_url(p)]


def _calls(context: Context) -> list[tuple[str, str]]:
    from memoirist.flows.steps.ask import due_offline
    from memoirist.generators.client.client import endpoint_configured

    if not context.workspace.store.path.exists():
        return [
            ("ask", "the passages are not cut yet: `memoirist extract` does it, free of charge")
        ]
    if not endpoint_configured(context.recipe.interview):
        n_due = len(due_offline(context))
        return [("ask", f"{n_due:,} passages by the offline interviewer, free of charge")]
    from memoirist.flows.planning.cost import cost_rows

    return cost_rows(context)


def _training(context: Context) -> list[str]:
    settings = context.recipe.train.resolved()
    preset = f", preset {settings.preset}" if settings.preset else ""
    first = f"base {settings.base_model!r}, rank {settings.rank}, seed {settings.seed}"
    dataset = latest_dataset(context) if context.workspace.store.path.exists() else None
    if dataset is None:
        return [f"{first}{preset}; its tokens are counted once a dataset is composed"]
    rows = context.workspace.store.nouns(Conversation, "dataset_id = ?", dataset.id)
    return [f"{first}{preset}", *training_lines(context, rows)]

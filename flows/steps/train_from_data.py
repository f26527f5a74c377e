"""Train by itself: from any dataset of conversations to a run, without a persona's sources."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memoirist.data.schema.errors import SourceError
from memoirist.data.schema.records import Dataset, Source
from memoirist.extractors import discover
from memoirist.flows.recipe.io import as_saved
from memoirist.flows.runtime.context import Context
from memoirist.flows.steps.curate import compose_dataset, curate_pairs
from memoirist.flows.steps.extract import extract_sources

# What a persona's build does to keep its test honest would empty a dataset whose answers follow a
# pattern: here a train row goes only when it is a held-out one but for a few words.
_CONTAINMENT, _SHARED_RUN, _EVERY_PAIR = 0.9, 100_000, 10**9


def settings_for(data: Sequence[str], persona: str | None) -> dict[str, Any]:
    """Return the recipe's keys for a training on datasets: all rows as they stand.

    Without a persona nobody is disclosed as an AI by our system prompt: the rows' own ones hold.
    """
    named = persona or Path(data[0].rstrip("/")).name.split(".")[0]
    return {
        "sources.include": as_saved(data),
        "sources.text_as": "completion",
        "persona.name": named,
        **({} if persona else {"persona.system": "", "compose.disclosure_share": 0.0}),
        "compose.max_pairs": _EVERY_PAIR,
        "compose.max_group_pairs": _EVERY_PAIR,
        "compose.max_containment": _CONTAINMENT,
        "compose.max_shared_run": _SHARED_RUN,
        "compose.max_question_overlap": 2.0,
    }


def dataset_of(context: Context) -> Dataset:
    """Take the recipe's datasets in and compose all their rows, a share of them held out.

    Raises SourceError for a source that is no dataset, and where the workspace holds others.
    """
    include = context.recipe.sources.include
    _refuse_others(context, include)
    extract_sources(context, include, include)
    _take_system_prompt(context)
    curate_pairs(context)
    return compose_dataset(context)


def _refuse_others(context: Context, include: Sequence[str]) -> None:
    found = discover(include)
    for each in found:
        if each.format != "dataset":
            raise SourceError(
                f"--data takes datasets of conversations, and {each.location!r} is {each.format}",
                "make a persona of it: `memoirist build SOURCE --persona NAME`",
            )
    store = context.workspace.store
    if not store.path.exists():
        return
    known = {each.location for each in found}
    others = [s for s in store.nouns(Source, "withdrawn_at IS NULL") if s.location not in known]
    if others:
        raise SourceError(
            f"the workspace {str(context.workspace.root)!r} holds other sources, such as"
            f" {others[0].location!r}",
            "give the training a folder of its own: -o FOLDER",
        )


def _take_system_prompt(context: Context) -> None:
    """Let chat and answers open as the rows do, where all rows have one system prompt."""
    if context.recipe.persona.system != "":
        return
    prompts = context.workspace.store.rows("SELECT DISTINCT system FROM pairs LIMIT 2")
    if len(prompts) == 1 and prompts[0]["system"]:
        context.recipe.persona.system = str(prompts[0]["system"])

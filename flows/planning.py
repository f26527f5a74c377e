"""What `plan` tells: which sources are new, what is still to be asked, what it would cost."""

from __future__ import annotations

from collections.abc import Sequence

from data.compose import estimate_tokens
from data.nouns import Passage, Source
from extractors import discover
from extractors.discover import is_url
from flows.context import Context

# One call carries the instructions and one paragraph of context beside the passage, and its
# reply holds three short questions as JSON; both measured on the shipped prompt.
_PROMPT_TOKENS = 900
_REPLY_TOKENS = 150


def tell_plan(context: Context, pointers: Sequence[str]) -> list[str]:
    """Return the plan as lines; nothing is written and nothing is sent."""
    lines = _sources(context, pointers) if pointers else ["sources   none named"]
    return [*lines, *_questions(context), *_training(context)]


def _sources(context: Context, pointers: Sequence[str]) -> list[str]:
    store = context.workspace.store
    known = {s.location for s in store.nouns(Source)} if store.path.exists() else set()
    found = discover(pointers)
    new = [each for each in found if each.location not in known]
    lines = [f"sources   {len(found)}, {len(new)} of them not taken in yet"]
    lines += [f"          new: {each.pointer or each.path} ({each.format})" for each in new[:10]]
    return lines + [f"          feed, looked at by a build: {p}" for p in pointers if is_url(p)]


def _questions(context: Context) -> list[str]:
    from generators.client import endpoint_configured

    store = context.workspace.store
    if not store.path.exists():
        return [
            "ask       the passages are not cut yet: `memoirist extract` does it, free of charge"
        ]
    real = endpoint_configured(context.recipe.interview)
    due = store.nouns(
        Passage,
        "id NOT IN (SELECT passage_id FROM questions WHERE list_contains(?, origin))"
        " AND id NOT IN (SELECT subject_id FROM verdicts WHERE subject = 'passages' AND NOT keep)",
        ["spoken", "given", "curated", "generated", *([] if real else ["template"])],
    )
    if not real:
        return [f"ask       {len(due):,} passages by the offline interviewer, free of charge"]
    text = sum(estimate_tokens([{"content": passage.text}]) for passage in due)
    tokens_in = text + len(due) * _PROMPT_TOKENS
    return [
        f"ask       {len(due):,} calls, about {tokens_in:,} tokens in and"
        f" {len(due) * _REPLY_TOKENS:,} out"
    ]


def _training(context: Context) -> list[str]:
    settings = context.recipe.train
    return [f"train     base {settings.base_model!r}, rank {settings.rank}, seed {settings.seed}"]

"""Podcast feeds: their new transcripts become files of the workspace, and sources."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from memoirist.data.schema.records import Source
from memoirist.extractors import SourceRef
from memoirist.extractors.detection.discover import ref_of
from memoirist.flows.runtime.context import Context
from memoirist.flows.steps.base import Step


def take_feed(context: Context, url: str) -> list[SourceRef]:
    """Return the transcripts of a feed, old and new; an episode without one is a verdict.

    A feed that is down is a warning where it gave something before, else its SourceError.
    """
    from memoirist.extractors.transcript.feeds import feed_update

    store = context.workspace.store
    before = store.nouns(Source, "location = ?", url) if store.path.exists() else []
    if before and before[0].withdrawn_at is not None:
        context.report.note(
            f"{url} is withdrawn; `memoirist withdraw --undo {before[0].id}` takes it back in"
        )
        return []
    step = Step(context, "extract")
    with context.report.progress("extract", "episodes") as advance:
        limit = context.recipe.sources.limit
        function = partial(feed_update.update_feed, url, context.workspace.feeds, limit, advance)
        result = step.call("feed", function)
    files = [ref_of(path) for path in result.files]
    if result.fault is not None:
        context.report.warn(f"{result.fault}; the episodes that it gave before stay")
        return files
    source = replace(before[0], title=result.source.title) if before else result.source
    with step.writing() as tx:
        tx.upsert([source])
        step.replace_verdicts(tx, result.verdicts, source.id)
    if result.n_new or result.n_changed or not before:
        missing = f"; episodes without one: {len(result.verdicts):,}" if result.verdicts else ""
        changed = f" ({result.n_changed:,} of them changed)" if result.n_changed else ""
        n_before = len(files) - result.n_new
        counts = f"{result.n_new:,} new transcripts, {n_before:,} before{changed}{missing}"
        step.report(f"{source.title}: {counts}")
    return files

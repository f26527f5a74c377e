"""Look at a podcast's feed: its new transcripts become files of the workspace, and sources."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from data.nouns import Source
from extractors import SourceRef
from extractors.detection.discover import ref_of
from flows.context import Context, replace_verdicts


def take_feed(context: Context, url: str) -> list[SourceRef]:
    """Return the transcripts of a feed, old and new; an episode without one is a verdict.

    A feed that is down is a warning where it gave something before, else its SourceError.
    """
    from extractors.transcript.feeds import feed_update

    store = context.workspace.store
    before = store.nouns(Source, "location = ?", url) if store.path.exists() else []
    if before and before[0].withdrawn_at is not None:
        context.report.note(
            f"{url} is withdrawn; `memoirist withdraw --undo {before[0].id}` takes it back in"
        )
        return []
    with context.timed() as seconds, context.report.progress("extract", "episodes") as advance:
        step = partial(
            feed_update.update_feed,
            url,
            context.workspace.feeds,
            context.recipe.sources.limit,
            advance,
        )
        taken = context.call("extract", "feed", step)
    if taken.fault is not None:
        context.report.warn(f"{taken.fault}; the episodes that it gave before stay")
        return [ref_of(path) for path in taken.files]
    source = replace(before[0], title=taken.source.title) if before else taken.source
    with store.writing() as tx:
        tx.upsert([source])
        replace_verdicts(tx, taken.verdicts, "extract", [source.id], lambda _: source.id)
    if taken.n_new or taken.n_changed or not before:
        lost = f"; episodes without one: {len(taken.verdicts):,}" if taken.verdicts else ""
        changed = f" ({taken.n_changed:,} of them changed)" if taken.n_changed else ""
        n_before = len(taken.files) - taken.n_new
        told = f"{taken.n_new:,} new transcripts, {n_before:,} before{changed}{lost}"
        context.report.step("extract", f"{source.title}: {told}", seconds())
    return [ref_of(path) for path in taken.files]

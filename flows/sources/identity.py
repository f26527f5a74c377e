"""The identity of sources: find the row of a known source, also after a move; refuse a bad one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from memoirist.data.schema.errors import SourceError
from memoirist.data.schema.records import Source, Verdict, content_id
from memoirist.data.store.transaction import Transaction
from memoirist.extractors import SourceRef
from memoirist.extractors.detection.discover import printable, ref_of
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


def identified(context: Context, source: Source) -> Source | None:
    """Return the source under the id that the store knows it by; None for a second copy.

    A source keeps its id when its content changes in place or when it moves unchanged, so that
    what does not change keeps its rows, its questions and its split.
    """
    store = context.workspace.store
    if not store.path.exists():
        return source
    known = store.nouns(
        Source,
        "location = ? OR sha256 = ? OR id = ?",
        source.location,
        source.sha256,
        source.id,
    )
    here = next((k for k in known if k.location == source.location), None)
    same = next((k for k in known if k.sha256 == source.sha256), None)
    if same is not None and same != here:
        if Path(same.location).exists() and Path(same.location).resolve() != Path(source.location):
            return None
        # It has moved: the content identifies it, even when another file was here before.
        return _as_known(source, same)
    if here is not None:
        return _as_known(source, here)
    if known:
        return replace(source, id=content_id(source.id, source.location))
    return source


def _as_known(source: Source, known: Source) -> Source:
    """Return the source as it is now, with the id and the rights of the known one."""
    return replace(
        known,
        kind=source.kind,
        format=source.format,
        location=source.location,
        sha256=source.sha256,
        title=known.title if known.sha256 else source.title,  # a refused one has its file's name
    )


def known_at(context: Context, place: str) -> Source | None:
    """Return the source that an earlier build took from a place."""
    store = context.workspace.store
    location = _location(place)
    rows = store.nouns(Source, "location = ?", location) if store.path.exists() else []
    return rows[0] if rows else None


def _location(place: str) -> str:
    return place if "://" in place else printable(Path(place).expanduser().resolve())


def refuse(context: Context, place: str, error: SourceError) -> None:
    """Write the verdict of a refused file; what an earlier build took from it stays as it is."""
    store = context.workspace.store
    location = _location(place)
    path = Path(location)
    source = known_at(context, place) or (
        Source(
            id=content_id("refused", location),
            kind="text",
            format=path.suffix.lstrip("."),
            location=location,
            sha256="",
            added_at=context.now,
            title=printable(Path(path.name)),
        )
    )
    verdict = Verdict(
        subject_id=source.id,
        subject="sources",
        rule=error.rule,
        keep=False,
        reason=error.what,
        created_at=context.now,
        next_step=error.next_step,
        step="extract",
        source_id=source.id,
    )
    with store.writing() as tx:
        tx.upsert([source])
        tx.upsert([verdict])


def clear_refusal(tx: Transaction, source_id: str) -> None:
    """Forget that a source was refused."""
    tx.execute("DELETE FROM verdicts WHERE subject = 'sources' AND subject_id = ?", [source_id])

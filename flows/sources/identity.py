"""Identify sources: find the row of a known source, also after a move, and refuse a bad one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from memoirist.data.schema.errors import SourceError
from memoirist.data.schema.records import Fault, Source, content_id
from memoirist.data.store.transaction import Transaction
from memoirist.extractors import SourceRef
from memoirist.extractors.detection.discover import printable, ref_of
from memoirist.flows.runtime.context import Context
from memoirist.flows.steps.base import Step


def take_feed(context: Context, url: str) -> list[SourceRef]:
    """Return the old and new transcripts of a feed; an episode without one gets a verdict.

    An unreachable feed is a warning if it has given transcripts before, else its SourceError.
    """
    from memoirist.extractors.transcript.feeds import feed_update

    known = known_source(context, url)
    if known is not None and known.withdrawn_at is not None:
        note_withdrawn(context, known, url)
        return []
    step = Step(context, "extract")
    with context.report.progress("extract", "episodes") as advance:
        limit = context.recipe.sources.limit
        function = partial(feed_update.update_feed, url, context.workspace.feeds, limit, advance)
        result = step.call("feed", function)
    files = [ref_of(path) for path in result.files]
    if result.fault is not None:
        context.report.warn(f"{result.fault}; its earlier episodes stay")
        return files
    source = replace(known, title=result.source.title) if known else result.source
    with step.writing() as tx:
        tx.upsert([source])
        step.replace_verdicts(tx, result.verdicts, source.id)
    if result.n_new or result.n_changed or not known:
        missing = f"; episodes without one: {len(result.verdicts):,}" if result.verdicts else ""
        changed = f" ({result.n_changed:,} of them changed)" if result.n_changed else ""
        n_old = len(files) - result.n_new
        counts = f"{result.n_new:,} new transcripts, {n_old:,} before{changed}{missing}"
        step.report(f"{source.title}: {counts}")
    return files


def note_withdrawn(context: Context, source: Source, name: str) -> None:
    """Report that a source stays out because it is withdrawn."""
    context.report.note(
        f"{name} is withdrawn; `memoirist withdraw --undo {source.id}` takes it back in"
    )


def with_known_id(context: Context, source: Source) -> Source | None:
    """Return the source with its id in the store; None for a second copy of a file.

    A source keeps its id when its content changes in place or when it moves unchanged, so that
    unchanged rows keep their questions and their split.
    """
    known = context.workspace.sources(
        "location = ? OR sha256 = ? OR id = ?", source.location, source.sha256, source.id
    )
    same_place = next((k for k in known if k.location == source.location), None)
    same_bytes = next((k for k in known if k.sha256 == source.sha256), same_place)
    if same_bytes is None:
        return replace(source, id=content_id(source.id, source.location)) if known else source
    path = Path(same_bytes.location)
    if same_bytes != same_place and path.exists() and path.resolve() != Path(source.location):
        return None
    # The content identifies a file that has moved, even to the place of another known file.
    return replace(
        same_bytes,
        kind=source.kind,
        format=source.format,
        location=source.location,
        sha256=source.sha256,
        # A refused source has its file's name as title.
        title=same_bytes.title if same_bytes.sha256 else source.title,
    )


def known_source(context: Context, pointer: str) -> Source | None:
    """Return the source that an earlier build took from a path or an address."""
    return next(iter(context.workspace.sources("location = ?", _location(pointer))), None)


def _location(pointer: str) -> str:
    return pointer if "://" in pointer else printable(Path(pointer).expanduser().resolve())


def refuse(context: Context, pointer: str, error: SourceError) -> None:
    """Write the verdict on a refused file; the rows of an earlier build stay."""
    path = Path(location := _location(pointer))
    source = known_source(context, pointer) or Source(
        id=content_id("refused", location),
        kind="text",
        format=path.suffix.lstrip("."),
        location=location,
        sha256="",
        added_at=context.now,
        title=printable(Path(path.name)),
    )
    fault = Fault(error.rule, error.what, error.next_step)
    verdict = fault.verdict("sources", source.id, context.now)
    with context.workspace.store.writing() as tx:
        tx.upsert([source])
        tx.upsert([replace(verdict, step="extract", source_id=source.id)])


def clear_refusal(tx: Transaction, source_id: str) -> None:
    """Delete the verdict that refused a source."""
    tx.execute("DELETE FROM verdicts WHERE subject = 'sources' AND subject_id = ?", [source_id])

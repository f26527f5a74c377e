"""The identity of sources: find the row of a known source, also after a move; refuse a bad one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from memoirist.data.schema.errors import SourceError
from memoirist.data.schema.records import Source, Verdict, content_id
from memoirist.data.store.transaction import Transaction
from memoirist.extractors.detection.discover import printable
from memoirist.flows.runtime.context import Context


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

"""The sources' ledger: their rights, who lives and agreed, and what has been withdrawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from memoirist.data.provenance.rights import checked, obstacles, said_in
from memoirist.data.samples import SOURCES
from memoirist.data.schema.errors import SourceMissing
from memoirist.data.schema.records import Block, Source, Verdict
from memoirist.data.store.store import Fetched, Store
from memoirist.flows.recipe.tables import LedgerEntry
from memoirist.flows.runtime.context import Context

# Every row that came of a source, by table: what a withdrawal speaks against.
_ROWS = {
    "documents": "SELECT id FROM documents WHERE source_id = $1",
    "pages": "SELECT id FROM pages WHERE source_id = $1",
    "blocks": "SELECT id FROM blocks WHERE document_id IN"
    " (SELECT id FROM documents WHERE source_id = $1)",
    "passages": "SELECT id FROM passages WHERE source_id = $1",
    "pairs": "SELECT id FROM pairs WHERE source_id = $1",
}
_LEDGER = (
    "SELECT id, title, author, kind, coalesce(rights, 'unknown') AS rights,"
    " rights_basis AS told_by, living, consent, location, withdrawn_at FROM sources"
    " ORDER BY added_at, id"
)
# What ships with the program was written for it.
_BUNDLED = LedgerEntry(
    source=str(SOURCES[0].parent / "*"), rights="licence:Apache-2.0", living=False
)


def find_source(store: Store, pointer: str) -> Source:
    """Return the one source that a path, file name, title or beginning of an id names.

    Raise SourceMissing, naming what there is, where none or several fit.
    """
    known = store.nouns(Source, "true ORDER BY added_at, id")
    here = str(Path(pointer).expanduser().resolve())
    tests: Sequence[Callable[[Source], bool]] = (
        lambda s: s.location in {here, pointer},
        lambda s: s.id == pointer,
        lambda s: Path(s.location).name == pointer,
        lambda s: (s.title or "").casefold() == pointer.casefold(),
        lambda s: len(pointer) >= 4 and s.id.startswith(pointer),
    )
    for test in tests:
        found = [source for source in known if test(source)]
        if len(found) == 1:
            return found[0]
        if found:
            matches = ", ".join(f"{s.id} ({s.location})" for s in found)
            raise SourceMissing(f"{pointer!r} names {len(found)} sources: {matches}", "give the id")
    names = ", ".join(Path(s.location).name for s in known[:8]) or "none"
    raise SourceMissing(
        f"no source of this workspace is called {pointer!r} (there are: {names})",
        "`memoirist rights` lists them with their ids",
    )


def _named_sources(context: Context, pointers: Sequence[str]) -> list[Source]:
    """Return the sources that are named; a feed stands for its episodes as well."""
    store = context.workspace.store
    named: dict[str, Source] = {}
    for source in (find_source(store, pointer) for pointer in pointers):
        named[source.id] = source
        if source.format == "feed":
            from memoirist.extractors.transcript.feeds.feed_update import feed_folder

            shelf = feed_folder(context.workspace.feeds, source.location).resolve()
            named |= {
                episode.id: episode
                for episode in store.nouns(Source, "true ORDER BY added_at, id")
                if Path(episode.location).parent == shelf
            }
    return list(named.values())


def withdraw(context: Context, pointers: Sequence[str]) -> None:
    """Take sources out of everything that is composed from now on; their verdicts stay."""
    store = context.workspace.store
    for source in _named_sources(context, pointers):
        if source.withdrawn_at is not None:
            context.report.note(f"{source.title} was withdrawn on {source.withdrawn_at:%Y-%m-%d}")
            continue
        now = context.now
        n_pairs = store.value(
            "SELECT count(*) FROM kept WHERE source_id = ?",
            source.id,
        )
        with store.writing() as tx:
            tx.upsert([replace(source, withdrawn_at=now)])
            tx.upsert([_withdrawal(source, now)])
            for table, ids in _ROWS.items():
                tx.execute(
                    "INSERT INTO verdicts BY NAME SELECT id AS subject_id, $2 AS subject,"
                    " 'withdrawn' AS rule, false AS keep, 'its source was withdrawn' AS reason,"
                    " $3::TIMESTAMPTZ AS created_at, 'memoirist withdraw --undo' AS next_step,"
                    f" 'withdraw' AS step, $1 AS source_id FROM ({ids})",
                    [source.id, table, now],
                )
        context.count("withdraw", 1)
        context.report.step(
            "withdraw",
            f"{source.title}: {n_pairs:,} kept pairs are in no dataset from now on;"
            " `memoirist build` or `refresh` composes and trains without them",
        )


def _withdrawal(source: Source, now: datetime) -> Verdict:
    return Verdict(
        subject_id=source.id,
        subject="sources",
        rule="withdrawn",
        keep=False,
        reason="withdrawn by the user",
        created_at=now,
        next_step=f"`memoirist withdraw --undo {source.id}` takes it back in",
        step="withdraw",
        source_id=source.id,
    )


def restore(context: Context, pointers: Sequence[str]) -> None:
    """Take withdrawn sources back in."""
    store = context.workspace.store
    for source in _named_sources(context, pointers):
        if source.withdrawn_at is None:
            context.report.note(f"{source.title} is not withdrawn")
            continue
        with store.writing() as tx:
            tx.upsert([replace(source, withdrawn_at=None)])
            tx.execute(
                "DELETE FROM verdicts WHERE step = 'withdraw' AND source_id = ?", [source.id]
            )
        context.count("withdraw", 1)
        context.report.step("withdraw", f"{source.title} is taken back in")


def note_rights(context: Context, pointer: str, entry: Mapping[str, Any]) -> None:
    """Write what the user says of a source into the ledger; raise RecipeError for odd rights."""
    store = context.workspace.store
    source = find_source(store, pointer)
    with store.writing() as tx:
        tx.upsert([_noted(source, dict(entry))])
    context.count("rights", 1)


def ledger(store: Store) -> Fetched:
    """Return the ledger of all sources."""
    return store.fetch(_LEDGER)


def with_rights(source: Source, blocks: Sequence[Block], entries: Sequence[LedgerEntry]) -> Source:
    """Return the source with what the recipe says of it, else with what its blocks say of it."""
    if blocks and source.rights in {None, "unknown"}:
        said = said_in(_told_by(blocks))
        basis = "the source itself" if said else None
        source = replace(source, rights=said or "unknown", rights_basis=basis)
    for entry in (_BUNDLED, *entries):
        if _fits(entry.source, source.location):
            source = _noted(source, entry.model_dump(exclude_none=True, exclude={"source"}))
    return source


def _told_by(blocks: Sequence[Block]) -> str:
    """Return the blocks in which a source tells its licence: matter around the author's prose."""
    outer = [*blocks[:40], *blocks[-120:]] if len(blocks) > 160 else blocks
    texts = [b.text for b in outer if b.kind in {"boilerplate", "paragraph", "quote", "heading"}]
    return "\n".join(texts)


def _fits(pattern: str, location: str) -> bool:
    name = Path(location).name
    return pattern in {location, name} or fnmatch(location, pattern) or fnmatch(name, pattern)


def _noted(source: Source, entry: dict[str, Any]) -> Source:
    if "rights" in entry:
        entry |= {"rights": checked(entry["rights"]), "rights_basis": "the user"}
    return replace(source, **entry)


def warn_of_obstacles(context: Context) -> None:
    """Say in a line for each reason which sources keep a model from being shared."""
    against = obstacles(context.workspace.store.nouns(Source, "true ORDER BY added_at, id"))
    for reason in dict.fromkeys(obstacle.reason for obstacle in against):
        titles = list(dict.fromkeys(o.title for o in against if o.reason == reason))
        more = f" and {len(titles) - 3} more" if len(titles) > 3 else ""
        context.report.warn(
            f"{', '.join(titles[:3])}{more}: {reason}, so nothing made of it may be"
            " pushed to a hub; `memoirist rights` shows the ledger and takes your word"
        )

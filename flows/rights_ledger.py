"""Keep the ledger of sources: rights, living persons, consent and withdrawals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from memoirist.data.provenance.rights import OTHERS_WORDS, checked, obstacles, said_in
from memoirist.data.samples import SOURCES
from memoirist.data.schema.errors import SourceMissing
from memoirist.data.schema.records import Block, Fault, Source
from memoirist.data.store.store import Fetched, Store
from memoirist.data.store.transaction import statement
from memoirist.extractors.detection.unpack import archive_of
from memoirist.flows.recipe import LedgerEntry
from memoirist.flows.runtime.context import Context

# The bundled samples were written for this program.
_BUNDLED = LedgerEntry(
    source=str(SOURCES[0].parent / "*"), rights="licence:Apache-2.0", living=False
)


def find_source(store: Store, pointer: str) -> Source:
    """Return the one source that a path, file name, title or prefix of an id names.

    Raise SourceMissing, which lists the sources, if none or several match.
    """
    sources = store.nouns(Source, "true ORDER BY added_at, id")
    path = str(Path(pointer).expanduser().resolve())
    tests: Sequence[Callable[[Source], bool]] = (
        lambda s: s.location in {path, pointer},
        lambda s: s.id == pointer,
        lambda s: Path(s.location).name == pointer,
        lambda s: (s.title or "").casefold() == pointer.casefold(),
        lambda s: len(pointer) >= 4 and s.id.startswith(pointer),
    )
    for test in tests:
        matches = [source for source in sources if test(source)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            names = ", ".join(f"{s.id} ({s.location})" for s in matches)
            raise SourceMissing(f"{pointer!r} names {len(matches)} sources: {names}", "give the id")
    names = ", ".join(Path(s.location).name for s in sources[:8]) or "none"
    raise SourceMissing(
        f"no source of this workspace is called {pointer!r} (its sources: {names})",
        "`memoirist rights` lists them with their ids",
    )


def _named_sources(context: Context, pointers: Sequence[str]) -> list[Source]:
    """Return the named sources; a feed includes its episodes."""
    sources: dict[str, Source] = {}
    for pointer in pointers:
        source = find_source(context.workspace.store, pointer)
        sources[source.id] = source
        if source.format == "feed":
            from memoirist.extractors.transcript.feeds.feed_update import feed_folder

            folder = feed_folder(context.workspace.feeds, source.location).resolve()
            episodes = context.workspace.sources()
            sources |= {s.id: s for s in episodes if Path(s.location).parent == folder}
    return list(sources.values())


def withdraw(context: Context, pointers: Sequence[str]) -> None:
    """Exclude sources from all datasets composed from now on; their verdicts stay."""
    store = context.workspace.store
    for source in _named_sources(context, pointers):
        if source.withdrawn_at is not None:
            context.report.note(f"{source.title} was withdrawn on {source.withdrawn_at:%Y-%m-%d}")
            continue
        now = context.now
        n_pairs = store.value("SELECT count(*) FROM kept WHERE source_id = ?", source.id)
        with store.writing() as tx:
            tx.upsert([replace(source, withdrawn_at=now)])
            undo = f"`memoirist withdraw --undo {source.id}` brings it back"
            fault = Fault("withdrawn", "withdrawn by the user", undo)
            verdict = fault.verdict("sources", source.id, now)
            tx.upsert([replace(verdict, step="withdraw", source_id=source.id)])
            tx.execute(statement("withdraw"), [source.id, now])
        context.count("withdraw", 1)
        context.report.step(
            "withdraw",
            f"{source.title}: {n_pairs:,} kept pairs will be in no further dataset;"
            " `memoirist build` or `refresh` composes and trains without them",
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
        context.report.step("withdraw", f"{source.title} is back in use")


def note_rights(context: Context, pointer: str, entry: Mapping[str, Any]) -> None:
    """Write the user's facts about a source into the ledger; raise RecipeError for bad rights."""
    store = context.workspace.store
    source = find_source(store, pointer)
    with store.writing() as tx:
        tx.upsert([_with_entry(source, dict(entry))])
    context.count("rights", 1)


def ledger(store: Store) -> Fetched:
    """Return the ledger of all sources."""
    return store.fetch(statement("rights_ledger"))


def with_rights(source: Source, blocks: Sequence[Block], entries: Sequence[LedgerEntry]) -> Source:
    """Return the source with its facts from the recipe, or with the rights that its text states."""
    if blocks and source.rights in {None, "unknown"}:
        rights = said_in(_outer_text(blocks))
        basis = "the source itself" if rights else None
        source = replace(source, rights=rights or "unknown", rights_basis=basis)
    for entry in (_BUNDLED, *entries):
        if _matches(entry.source, source.location):
            source = _with_entry(source, entry.model_dump(exclude_none=True, exclude={"source"}))
    return source


def _outer_text(blocks: Sequence[Block]) -> str:
    """Return the text before and after the author's prose, which may state a licence."""
    outer = [*blocks[:40], *blocks[-120:]] if len(blocks) > 160 else blocks
    texts = [b.text for b in outer if b.kind in {"boilerplate", "paragraph", "quote", "heading"}]
    return "\n".join(texts)


def _matches(pattern: str, location: str) -> bool:
    name = Path(location).name
    if fnmatch(location, pattern) or pattern == archive_of(location):
        return True
    return pattern in {location, name} or fnmatch(name, pattern)


def _with_entry(source: Source, entry: dict[str, Any]) -> Source:
    if "rights" in entry:
        entry |= {"rights": checked(entry["rights"]), "rights_basis": "the user"}
    return replace(source, **entry)


def warn_of_obstacles(context: Context) -> None:
    """Warn in a line for each reason of the sources that prevent sharing a model."""
    all_obstacles = obstacles(context.workspace.sources())
    for reason in dict.fromkeys(obstacle.reason for obstacle in all_obstacles):
        same = [obstacle for obstacle in all_obstacles if obstacle.reason == reason]
        titles = list(dict.fromkeys(obstacle.title for obstacle in same))
        more = f" and {len(titles) - 3} more" if len(titles) > 3 else ""
        step = "see and complete the ledger with `memoirist rights`"
        context.report.warn(
            f"{', '.join(titles[:3])}{more}: {reason}, so nothing made from it may be"
            f" pushed to a hub; {same[0].next_step if reason == OTHERS_WORDS else step}"
        )

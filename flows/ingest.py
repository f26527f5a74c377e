"""Take sources in: extract their blocks, split them into passages, judge the passages."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from data import personal
from data.errors import SourceError, SourceMissing
from data.nouns import Block, Document, Done, Rows, Source
from data.store import exchanges
from data.store.transaction import Transaction
from data.text import detect_language
from extractors import Found, discover, extract, left_out, read_source
from extractors.discover import is_url, missing, printable
from extractors.extract import BY_CONTENT
from flows.context import Context, fingerprint, replace_verdicts
from flows.extract_settings import dataset_mark, settings_of
from flows.feeds import take_feed
from flows.known_sources import clear_refusal, identified, known_at, refuse
from flows.ledger import warn_of_obstacles, with_rights
from flows.short_names import short_names


def extract_sources(
    context: Context, pointers: Sequence[str], named: Sequence[str] | None = None
) -> None:
    """Extract every source that is new or has changed; a refused one is a verdict and a warning.

    `named` are the pointers that the user gave just now. When all of these fail, the first one's
    error is raised; a source that has gone since an earlier build is no reason to stop.
    """
    shares = {each.source: each.share for each in context.recipe.sources.mix}
    pointers = list(dict.fromkeys([*pointers, *shares]))
    found, failures = _discovered(context, pointers)
    share_of = {each: shares.get(pointer) for pointer, them in found.items() for each in them}
    files = list(dict.fromkeys(each for several in found.values() for each in several))
    labels = short_names([each.location for each in files])
    refused: dict[Found, SourceError] = {}
    for each in files:
        try:
            _extract_one(context, each, share_of[each], labels[each.location])
        except SourceError as error:
            refused[each] = error
            refuse(context, each.location, error)
    for pointer, several in found.items():
        faults = [refused[each] for each in several if each in refused]
        if several and len(faults) == len(several):
            failures[pointer] = faults[0]
    asked = list(pointers if named is None else named)
    if asked and all(pointer in failures for pointer in asked):
        raise failures[asked[0]]
    for told in dict.fromkeys(map(str, [*failures.values(), *refused.values()])):
        context.report.warn(told)
    left = [printable(path) for path in left_out(pointers)]
    if names := sorted(short_names(left).values()):
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        context.report.note(
            f"{', '.join(names[:8])}{more} in the folders given are left out: about the files"
            " there, or of no known format; name one to take it in"
        )
    warn_of_obstacles(context)
    if "extract" not in context.changed:
        context.report.step("extract", f"nothing new in {_count(len(files), 'source')}")


def _discovered(
    context: Context, pointers: Sequence[str]
) -> tuple[dict[str, list[Found]], dict[str, SourceError]]:
    """Return what each pointer leads to, or its error; a source that has gone gets a verdict."""
    found: dict[str, list[Found]] = {}
    failures: dict[str, SourceError] = {}
    for pointer in pointers:
        try:
            found[pointer] = take_feed(context, pointer) if is_url(pointer) else discover([pointer])
        except SourceError as error:
            failures[pointer] = error
            if not is_url(pointer) and known_at(context, pointer) is not None:
                refuse(context, pointer, error)
    for gone in _gone(context, list(found)):
        failures[gone.location] = SourceMissing(
            missing(gone.location).what,
            f"put it back, or take its rows out: `memoirist withdraw {gone.id}`",
        )
        refuse(context, gone.location, failures[gone.location])
    return found, failures


def _gone(context: Context, pointers: Sequence[str]) -> list[Source]:
    """Return the sources that an earlier build took from a folder where they no longer lie."""
    store = context.workspace.store
    folders = [Path(each).expanduser().resolve() for each in pointers if "://" not in each]
    if not store.path.exists():
        return []
    return [
        source
        for source in store.nouns(Source, "withdrawn_at IS NULL AND sha256 <> ''")
        if any(folder in Path(source.location).parents for folder in folders)
        and not Path(source.location).exists()
    ]


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def _extract_one(context: Context, found: Found, share: float | None, label: str) -> None:
    store = context.workspace.store
    source = read_source(found, context.now)
    known = identified(context, source)
    if known is None:
        context.report.warn(
            f"{source.location} has the same bytes as a source already taken in; it is skipped"
        )
        return
    if known.withdrawn_at is not None:
        context.report.note(
            f"{label} is withdrawn; `memoirist withdraw --undo {known.id}` takes it back in"
        )
        return
    known = replace(known, mix_share=share)
    settings = settings_of(context, mixed=share is not None)
    mark = fingerprint(
        known.sha256,
        settings.model_dump_json(exclude={"workers"}),
        found.format,
        *([dataset_mark(context, settings)] if known.kind == "dataset" else []),
    )
    if context.is_done(known.id, "extract", mark):
        known = with_rights(known, (), context.recipe.sources.ledger)
        refused = "SELECT count(*) FROM verdicts WHERE subject = 'sources' AND subject_id = ?"
        if known not in store.nouns(Source, "id = ?", known.id) or store.value(refused, known.id):
            # It has moved, or it is whole again: its row says where it lies now.
            with store.writing() as tx:
                tx.upsert([known])
                clear_refusal(tx, known.id)
        return
    with context.timed() as seconds, context.report.progress("extract", "pages") as advance:
        # A title that the user noted is no part of any id.
        step = partial(
            extract,
            replace(known, title=source.title),
            settings,
            lambda done, total: advance(done, total, label),
        )
        rows = context.call("extract", label, step)
    for verdict in rows.verdicts:
        if verdict.rule == BY_CONTENT:
            context.report.note(f"{label} is {verdict.reason}")
    if rows.exchanges is not None:
        _take_exchanges(context, known, rows, mark, label)
        return
    rows = replace(rows, documents=_with_languages(rows.documents, rows.blocks))
    known = with_rights(known, rows.blocks, context.recipe.sources.ledger)
    with store.writing() as tx:
        _forget_extracted(tx, known.id)
        tx.upsert([known])
        tx.upsert(rows.documents)
        tx.upsert(rows.blocks)
        replace_verdicts(tx, rows.verdicts, "extract", [known.id], lambda _: known.id)
        tx.upsert([Done(subject_id=known.id, step="extract", fingerprint=mark)])
    context.count("extract", len(rows.blocks))
    context.report.step("extract", f"{label}: {_describe(rows)}", seconds())


def _take_exchanges(context: Context, source: Source, rows: Rows, mark: str, label: str) -> None:
    """Read a dataset's rows into the store as they come: a million of them fit no list."""
    (document,) = rows.documents
    masking = None
    if context.recipe.passages.mask_personal:
        lang = document.lang or "en"
        masking = exchanges.Masking(
            lambda text: personal.mask(text, lang), personal.candidate(lang)
        )
    source = with_rights(source, (), context.recipe.sources.ledger)
    store = context.workspace.store
    with context.timed() as seconds:
        with store.writing() as tx:
            _forget_extracted(tx, source.id)
            replace_verdicts(tx, rows.verdicts, "extract", [source.id], lambda _: source.id)
            exchanges.take(tx, source, rows, masking, context.now)
            tx.upsert([source])
            tx.upsert([document])
        with store.writing() as tx:
            taken = exchanges.sweep(tx, source.id)
            tx.upsert([Done(subject_id=source.id, step="extract", fingerprint=mark)])
    context.count("extract", taken.exchanges)
    told = f"{rows.told}; {_count(taken.rows, 'row')}, {_count(taken.exchanges, 'exchange')}"
    if taken.refused:
        rules = ", ".join(f"{n:,} {rule}" for rule, n, _ in taken.faults)
        told += f"; {_count(taken.refused, 'row')} refused ({rules})"
    context.report.step("extract", f"{label}: {told}", seconds())
    if taken.faults:
        context.report.note(taken.faults[0][2])


def _describe(rows: Rows) -> str:
    kinds = Counter(block.kind for block in rows.blocks)
    told = ", ".join(f"{n:,} {kind}" for kind, n in kinds.most_common(6))
    pages = max((block.page_last or block.page or 0 for block in rows.blocks), default=0)
    unit = f"{pages} pages" if pages else _count(len(rows.documents), "document")
    n_lost = sum(not verdict.keep for verdict in rows.verdicts)
    lost = f"; {_count(n_lost, 'page' if pages else 'row')} set aside" if n_lost else ""
    schema = f"{rows.told}; " if rows.told else ""
    return f"{schema}{unit}, {_count(len(rows.blocks), 'block')} ({told}){lost}"


def _with_languages(documents: Sequence[Document], blocks: Sequence[Block]) -> list[Document]:
    text: dict[str, str] = defaultdict(str)
    for block in blocks:
        if block.kind in {"paragraph", "turn"} and len(text[block.document_id]) < 20_000:
            text[block.document_id] += block.text + "\n"
    return [replace(d, lang=d.lang or detect_language(text[d.id])) for d in documents]


def _forget_extracted(tx: Transaction, source_id: str) -> None:
    tx.execute(
        "DELETE FROM blocks WHERE document_id IN (SELECT id FROM documents WHERE source_id = ?)",
        [source_id],
    )
    tx.execute("DELETE FROM documents WHERE source_id = ?", [source_id])
    exchanges.forget(tx, source_id)
    clear_refusal(tx, source_id)

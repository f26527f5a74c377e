"""Take sources in: extract their blocks, split them into passages, judge the passages."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from data import gates, passages, turns
from data.errors import MemoiristError, NothingToDo, SourceError
from data.nouns import Block, Document, Done, Passage, Rows, Source, Verdict, content_id
from data.store import Transaction
from data.text import detect_language
from extractors import Found, discover, extract, read_source
from flows.context import Context, fingerprint, replace_verdicts


def extract_sources(context: Context, pointers: Sequence[str]) -> None:
    """Extract every source that is new or has changed; a refused one is a verdict and a warning.

    Raises the source's own error when it was the only one.
    """
    found = discover(pointers)
    failures: list[SourceError] = []
    for each in found:
        try:
            _extract_one(context, each)
        except SourceError as error:
            failures.append(error)
            _refuse(context, each, error)
            if len(found) > 1:
                context.report.warn(str(error))
    if failures and len(failures) == len(found):
        if len(found) == 1:
            raise failures[0]
        raise SourceError(
            f"none of the {len(found)} sources could be read",
            "the warnings above say why; `memoirist look dropped` lists them again",
        )
    if "extract" not in context.changed:
        context.report.step("extract", f"nothing new in {_count(len(found), 'source')}")


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def _extract_one(context: Context, found: Found) -> None:
    store = context.workspace.store
    source = read_source(found, context.now)
    known = _identify(context, source)
    if known is None:
        context.report.warn(
            f"{source.location} has the same bytes as a source already taken in; it is skipped"
        )
        return
    settings = context.recipe.sources.extract
    mark = fingerprint(known.sha256, settings.model_dump_json(exclude={"workers"}), found.format)
    if context.is_done(known.id, "extract", mark):
        return
    label = Path(known.location).name
    with context.timed() as seconds, context.report.progress("extract", "pages") as advance:
        step = partial(extract, known, settings, lambda done, total: advance(done, total, label))
        rows = context.call("extract", label, step)
    rows = replace(rows, documents=_with_languages(rows.documents, rows.blocks))
    with store.writing() as tx:
        _forget_extracted(tx, known.id)
        tx.upsert([known])
        tx.upsert(rows.documents)
        tx.upsert(rows.blocks)
        replace_verdicts(tx, rows.verdicts, "extract", [known.id], lambda _: known.id)
        tx.upsert([Done(subject_id=known.id, step="extract", fingerprint=mark)])
    context.count("extract", len(rows.blocks))
    context.report.step("extract", f"{label}: {_describe(rows)}", seconds())


def _describe(rows: Rows) -> str:
    kinds = Counter(block.kind for block in rows.blocks)
    told = ", ".join(f"{n:,} {kind}" for kind, n in kinds.most_common(6))
    pages = max((block.page_last or block.page or 0 for block in rows.blocks), default=0)
    unit = f"{pages} pages" if pages else _count(len(rows.documents), "document")
    lost = f"; {_count(len(rows.verdicts), 'row')} refused" if rows.verdicts else ""
    return f"{unit}, {_count(len(rows.blocks), 'block')} ({told}){lost}"


def _identify(context: Context, source: Source) -> Source | None:
    """Return the source under the id that the store knows it by; None for a second copy.

    A source keeps its id when its content changes in place or when it moves unchanged, so that
    what does not change keeps its rows, its questions and its split.
    """
    store = context.workspace.store
    if not store.path.exists():
        return source
    known = store.nouns(
        Source, "location = ? OR sha256 = ? OR id = ?", source.location, source.sha256, source.id
    )
    here = next((k for k in known if k.location == source.location), None)
    if here is not None:
        return replace(source, id=here.id, added_at=here.added_at)
    same = next((k for k in known if k.sha256 == source.sha256), None)
    if same is not None:
        if Path(same.location).exists():
            return None
        return replace(source, id=same.id, added_at=same.added_at)
    if known:
        return replace(source, id=content_id(source.id, source.location))
    return source


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
    tx.execute("DELETE FROM verdicts WHERE subject = 'sources' AND subject_id = ?", [source_id])


def _refuse(context: Context, found: Found, error: SourceError) -> None:
    location = str(found.path.resolve())
    try:
        source = _identify(context, read_source(found, context.now))
    except MemoiristError:
        # A file that cannot even be hashed still gets its row, so that the sums show it.
        source = Source(
            id=content_id("refused", location),
            kind="text",
            format=found.format,
            location=location,
            sha256="",
            added_at=context.now,
            title=found.path.name,
        )
    if source is None:
        return
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
    with context.workspace.store.writing() as tx:
        tx.upsert([source])
        tx.upsert([verdict])


def split_documents(context: Context) -> None:
    """Split every document whose blocks or settings have changed, and judge the passages."""
    store = context.workspace.store
    sources = store.nouns(Source, "withdrawn_at IS NULL ORDER BY added_at, id")
    lang = persona_language(context)
    split = 0
    with context.timed() as seconds:
        for source in sources:
            split += _split_source(context, source)
            _gate_source(context, source, lang)
        _drop_duplicates(context)
    if split:
        told = store.rows(
            "SELECT count(*) AS n, count(*) FILTER (NOT EXISTS (SELECT 1 FROM verdicts v WHERE"
            " v.subject = 'passages' AND v.subject_id = p.id AND NOT v.keep)) AS kept"
            " FROM passages p"
        )[0]
        context.report.step(
            "split", f"{told['n']:,} passages, {told['kept']:,} pass the gates ({lang})", seconds()
        )
    elif not store.value("SELECT count(*) FROM passages"):
        raise NothingToDo(
            "the sources hold no passage that could be an answer",
            "`memoirist look dropped` tells why; for a transcript, check --persona and --alias",
        )


def persona_language(context: Context) -> str:
    """Return the recipe's language, or the one that most of the extracted text is in."""
    if context.recipe.persona.lang != "auto":
        return context.recipe.persona.lang
    found = context.workspace.store.value(
        "SELECT d.lang FROM documents d JOIN blocks b ON b.document_id = d.id"
        " WHERE d.lang <> 'und' GROUP BY d.lang ORDER BY sum(length(b.text)) DESC, d.lang LIMIT 1"
    )
    return str(found or "en")


def _split_source(context: Context, source: Source) -> int:
    store = context.workspace.store
    names = [context.recipe.persona.name, *context.recipe.persona.aliases]
    content = store.value(
        "SELECT md5(string_agg(b.id, ',' ORDER BY d.id, b.ord)) FROM blocks b"
        " JOIN documents d ON d.id = b.document_id WHERE d.source_id = ?",
        source.id,
    )
    mark = fingerprint(
        content,
        context.recipe.passages.model_dump_json(),
        source.kind,
        names if source.kind == "podcast" else "",
    )
    if content is None or context.is_done(source.id, "split", mark):
        return 0
    documents = store.nouns(Document, "source_id = ? ORDER BY id", source.id)
    blocks: dict[str, list[Block]] = defaultdict(list)
    for block in store.nouns(
        Block,
        "document_id IN (SELECT id FROM documents WHERE source_id = ?) ORDER BY document_id, ord",
        source.id,
    ):
        blocks[block.document_id].append(block)
    step = partial(_split_all, context, source, documents, blocks)
    parts = context.call("split", source.title or source.id, step)
    rows = [passage for part in parts for passage in part.passages]
    with store.writing() as tx:
        tx.execute("DELETE FROM passages WHERE source_id = ?", [source.id])
        # What was really asked follows its passage; what was paid for is kept.
        tx.execute(
            "DELETE FROM questions WHERE origin IN ('spoken', 'given')"
            " AND passage_id NOT IN (SELECT id FROM passages)"
        )
        tx.upsert(rows)
        tx.upsert([question for part in parts for question in part.questions])
        verdicts = [verdict for part in parts for verdict in part.verdicts]
        replace_verdicts(tx, verdicts, "split", [source.id], lambda _: source.id)
        tx.upsert([Done(subject_id=source.id, step="split", fingerprint=mark)])
    context.count("split", len(rows))
    return 1


def _split_all(
    context: Context,
    source: Source,
    documents: Sequence[Document],
    blocks: dict[str, list[Block]],
) -> list[Rows]:
    settings = context.recipe.passages
    now = context.now
    parts: list[Rows] = []
    for document in documents:
        mine = blocks[document.id]
        if source.kind == "dataset":
            parts.append(turns.split_conversation(document, mine, now))
        elif source.kind == "podcast":
            parts.append(_split_episode(context, document, mine))
        else:
            parts.append(passages.split_prose(document, mine, settings, now))
    return parts


def _split_episode(context: Context, document: Document, blocks: Sequence[Block]) -> Rows:
    persona = context.recipe.persona
    speaker = turns.find_persona(blocks, [persona.name, *persona.aliases])
    if speaker is not None:
        return turns.split_turns(document, blocks, speaker, context.recipe.passages, context.now)
    shares = turns.speaker_shares(blocks)
    context.report.warn(
        f"{document.title!r}: no speaker is {persona.name!r}; there are {shares};"
        " name the right one with --alias"
    )
    refusals = [
        Verdict(
            subject_id=block.id,
            subject="blocks",
            rule="no_persona",
            keep=False,
            reason=f"no speaker is {persona.name!r}: {shares}",
            created_at=context.now,
            next_step="name the persona's label with --alias and run it again",
        )
        for block in blocks
    ]
    return Rows(verdicts=refusals)


def _gate_source(context: Context, source: Source, lang: str) -> None:
    store = context.workspace.store
    settings = context.recipe.curate.gates
    mark = _passages_mark(context, source.id, settings.model_dump_json(), lang)
    if context.is_done(source.id, "gate", mark):
        return
    mine = store.nouns(Passage, "source_id = ? ORDER BY document_id, ord", source.id)
    step = partial(gates.gate, mine, source.kind, lang, settings, context.now)
    verdicts = context.call("gate", source.title or source.id, step)
    with store.writing() as tx:
        replace_verdicts(tx, verdicts, "gate", [source.id], lambda _: source.id)
        tx.upsert([Done(subject_id=source.id, step="gate", fingerprint=mark)])


def _drop_duplicates(context: Context) -> None:
    """Drop passages that another source, or the same one, has before; datasets keep their rows."""
    store = context.workspace.store
    mark = _passages_mark(context, None)
    if context.is_done("*", "dedupe", mark):
        return
    mine = store.nouns(
        Passage,
        "source_id IN (SELECT id FROM sources WHERE kind <> 'dataset') AND id NOT IN"
        " (SELECT subject_id FROM verdicts WHERE step = 'gate' AND NOT keep)"
        " ORDER BY (SELECT (added_at, id) FROM sources s WHERE s.id = source_id), document_id, ord",
    )
    source_of = {passage.id: passage.source_id for passage in mine}
    verdicts = context.call("dedupe", "passages", partial(gates.duplicates, mine, context.now))
    with store.writing() as tx:
        tx.execute("DELETE FROM verdicts WHERE step = 'dedupe'")
        tx.upsert([replace(v, step="dedupe", source_id=source_of[v.subject_id]) for v in verdicts])
        tx.upsert([Done(subject_id="*", step="dedupe", fingerprint=mark)])


def _passages_mark(context: Context, source_id: str | None, *settings: str) -> str:
    content = context.workspace.store.value(
        "SELECT md5(string_agg(id, ',' ORDER BY id)) FROM passages WHERE ? IS NULL"
        " OR source_id = ?",
        source_id,
        source_id,
    )
    return fingerprint(content, *settings)

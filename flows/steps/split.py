"""Split documents into passages, and judge the passages: gates, then duplicates."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from memoirist.data.authorship import attribution
from memoirist.data.composition.saved_exchanges import BY_HAND
from memoirist.data.passages import quality_filters, segmentation
from memoirist.data.passages.drop_reasons import FURNITURE
from memoirist.data.schema.errors import NothingToDo
from memoirist.data.schema.records import Block, Document, Done, Passage, Rows, Source, Verdict
from memoirist.data.text import personal_data
from memoirist.flows.runtime.context import Context, fingerprint, replace_verdicts
from memoirist.flows.runtime.persona_language import persona_language as persona_language
from memoirist.flows.steps.chapters import warn_unmatched
from memoirist.flows.steps.cutting import find_cuts
from memoirist.flows.steps.split_transcript import casting, split_episode, tell_absent

_OF_FILES = f"format NOT IN {BY_HAND}"


def split_documents(context: Context) -> None:
    """Split every document whose blocks or settings have changed, and judge the passages."""
    store = context.workspace.store
    sources = store.nouns(Source, "withdrawn_at IS NULL ORDER BY added_at, id")
    with context.timed() as seconds:
        find_cuts(context)
        for source in sources:
            _split_source(context, source)
        lang = persona_language(context)
        for source in sources:
            _gate_source(context, source, lang)
            _warn_all_dropped(context, source, lang)
        _drop_duplicates(context)
    warn_unmatched(context, sources)
    if "split" in context.changed:
        tell_absent(context)
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


def _split_source(context: Context, source: Source) -> None:
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
        "" if source.kind == "dataset" else names,
        casting(context, source) if source.kind == "podcast" else "",
        "" if source.kind in {"podcast", "dataset"} else _voice_mark(context),
    )
    if content is None or context.is_done(source.id, "split", mark):
        return
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
        tx.execute("DELETE FROM cut_passages WHERE source_id = ?", [source.id])
        tx.execute(
            "DELETE FROM verdicts WHERE subject = 'passages' AND source_id = ? AND"
            " NOT list_contains(?, subject_id)",
            [source.id, [passage.id for passage in rows]],
        )
        # What was really asked follows its passage; what was paid for is kept.
        tx.execute(
            "DELETE FROM asked_questions WHERE origin IN ('spoken', 'given')"
            " AND passage_id NOT IN (SELECT id FROM cut_passages)"
        )
        tx.upsert(rows)
        tx.upsert([question for part in parts for question in part.questions])
        verdicts = [verdict for part in parts for verdict in part.verdicts]
        replace_verdicts(tx, verdicts, "split", [source.id], lambda _: source.id)
        tx.upsert([Done(subject_id=source.id, step="split", fingerprint=mark)])
    context.count("split", len(rows))
    if not rows:
        _warn_empty(context, source, verdicts)


def _warn_empty(context: Context, source: Source, verdicts: Sequence[Verdict]) -> None:
    """Say why a source has given no passage at all, and what can be done."""
    lost = [v for v in verdicts if not v.keep and v.subject == "blocks"]
    if not lost or any(v.rule == "no_persona" for v in lost):
        return  # without blocks it was refused, and the speakers have been told
    rules = Counter(v.rule for v in lost)
    prose = {rule: n for rule, n in rules.items() if rule not in FURNITURE}
    most = max(prose or rules, key=lambda rule: rules[rule])
    first = next(v for v in lost if v.rule == most)
    context.report.warn(
        f"{source.title or source.location!r} gives no passage: of {len(lost):,} blocks"
        f" {rules[most]:,} are {most!r}, {first.reason}; {first.next_step}"
    )


def _split_all(
    context: Context,
    source: Source,
    documents: Sequence[Document],
    blocks: dict[str, list[Block]],
) -> list[Rows]:
    now = context.now
    parts: list[Rows] = []
    for document in documents:
        mine = blocks[document.id]
        if source.kind == "podcast":
            part = split_episode(context, source, document, mine)
        else:
            part = _split_book(context, source, document, mine)
        if context.recipe.passages.mask_personal:
            part = personal_data.mask_rows(part, document.lang or "und", now)
        parts.append(part)
    return parts


def _voice_mark(context: Context) -> str:
    return f"voice {attribution.VERSION} {context.recipe.sources.chapters.model_dump_json()}"


def _split_book(
    context: Context, source: Source, document: Document, blocks: Sequence[Block]
) -> Rows:
    """Set aside what is not in the persona's voice, and split the rest."""
    persona = context.recipe.persona
    named = tuple(name for name in (persona.name, *persona.aliases) if name)
    listener = attribution.Listener(
        source=source,
        names=named or ((source.author,) if source.author else ()),
        chapters=context.recipe.sources.chapters,
        automatic=context.recipe.passages.voice,
        now=context.now,
    )
    heard = attribution.listen(document, blocks, listener)
    rows = segmentation.split_prose(
        document, heard.blocks, context.recipe.passages, context.now, heard.aside
    )
    return replace(rows, verdicts=[*heard.verdicts, *rows.verdicts])


def _gate_source(context: Context, source: Source, lang: str) -> None:
    if source.format in BY_HAND:
        return
    store = context.workspace.store
    settings = context.recipe.curate.gates
    mark = _passages_mark(context, source.id, settings.model_dump_json(), lang)
    if context.is_done(source.id, "gate", mark):
        return
    mine = store.nouns(Passage, "source_id = ? ORDER BY document_id, ord", source.id, own=True)
    # What is cut from a dataset is raw text, and judged as such.
    kind = "text" if source.kind == "dataset" else source.kind
    step = partial(quality_filters.gate, mine, kind, lang, settings, context.now)
    verdicts = context.call("gate", source.title or source.id, step)
    with store.writing() as tx:
        replace_verdicts(tx, verdicts, "gate", [source.id], lambda _: source.id)
        tx.upsert([Done(subject_id=source.id, step="gate", fingerprint=mark)])
    context.count("split", len(mine))


def _warn_all_dropped(context: Context, source: Source, lang: str) -> None:
    """Say that the gates have left nothing of a source, by which rule, and what can be done."""
    if "split" not in context.changed or source.kind == "dataset":
        return
    found = context.workspace.store.rows(
        "SELECT v.rule, count(*) AS n, any_value(v.next_step) AS next_step FROM cut_passages p"
        " LEFT JOIN verdicts v ON v.subject = 'passages' AND v.subject_id = p.id AND NOT v.keep"
        " WHERE p.source_id = ? GROUP BY v.rule ORDER BY n DESC",
        [source.id],
    )
    if found and all(row["rule"] for row in found):
        rule, step = found[0]["rule"], found[0]["next_step"]
        if rule == "language":
            step = f"the persona's language was found to be {lang!r}: name another with --lang"
        context.report.warn(
            f"{source.title or source.location!r}: none of its"
            f" {sum(row['n'] for row in found):,} passages passes the gates,"
            f" {found[0]['n']:,} by {rule!r}; {step}"
        )


def _drop_duplicates(context: Context) -> None:
    """Drop passages that another source, or the same one, has before; datasets keep their rows."""
    store = context.workspace.store
    gated = store.value(
        "SELECT md5(string_agg(subject_id, ',' ORDER BY subject_id)) FROM verdicts"
        " WHERE step = 'gate' AND NOT keep"
    )
    withdrawn = store.value("SELECT count(*) FROM verdicts WHERE step = 'withdraw'")
    mark = _passages_mark(context, None, str(gated), str(withdrawn))
    if context.is_done("*", "dedupe", mark):
        return
    mine = store.nouns(
        Passage,
        f"source_id IN (SELECT id FROM sources WHERE withdrawn_at IS NULL AND {_OF_FILES})"
        " AND source_row IS NULL AND id NOT IN"
        " (SELECT subject_id FROM verdicts WHERE step = 'gate' AND NOT keep)"
        " ORDER BY (SELECT (added_at, id) FROM sources s WHERE s.id = source_id), document_id, ord",
        own=True,
    )
    source_of = {passage.id: passage.source_id for passage in mine}
    verdicts = context.call(
        "dedupe", "passages", partial(quality_filters.duplicates, mine, context.now)
    )
    with store.writing() as tx:
        tx.execute("DELETE FROM verdicts WHERE step = 'dedupe'")
        tx.upsert([replace(v, step="dedupe", source_id=source_of[v.subject_id]) for v in verdicts])
        tx.upsert([Done(subject_id="*", step="dedupe", fingerprint=mark)])


def _passages_mark(context: Context, source_id: str | None, *settings: str) -> str:
    content = context.workspace.store.value(
        "SELECT md5(string_agg(id, ',' ORDER BY id)) FROM cut_passages WHERE source_id = ? OR"
        f" (? IS NULL AND source_id IN (SELECT id FROM sources WHERE {_OF_FILES}))",
        source_id,
        source_id,
    )
    return fingerprint(content, *settings)

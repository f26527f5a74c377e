"""Split: cut documents into passages, apply the gates to them and drop duplicates."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from memoirist.data.authorship import attribution
from memoirist.data.composition.saved_exchanges import BY_HAND
from memoirist.data.passages import quality_filters, segmentation
from memoirist.data.passages.chapters import UNTITLED, matches, nearest, source_names
from memoirist.data.passages.segmentation import FURNITURE
from memoirist.data.schema.errors import NothingToDo
from memoirist.data.schema.records import Block, Document, Passage, Rows, Source, Verdict
from memoirist.data.text import personal_data
from memoirist.flows.runtime.context import Context, persona_language
from memoirist.flows.steps.base import Step, fingerprint
from memoirist.flows.steps.split_transcript import (
    find_cuts,
    split_episode,
    transcript_inputs,
    warn_absent_persona,
)

_FROM_FILES = f"format NOT IN {BY_HAND}"
_CHAPTER_TITLES = """
SELECT DISTINCT d.source_id, coalesce(b.chapter, ?) AS title
FROM blocks b JOIN documents d ON d.id = b.document_id
UNION
SELECT DISTINCT d.source_id, b.text
FROM blocks b JOIN documents d ON d.id = b.document_id WHERE b.kind = 'heading'
ORDER BY ALL
"""


def split_documents(context: Context) -> None:
    """Split every document whose blocks or settings have changed, and judge the passages."""
    store = context.workspace.store
    sources = store.nouns(Source, "withdrawn_at IS NULL ORDER BY added_at, id")
    step = Step(context, "split")
    find_cuts(context)
    for source in sources:
        _split_source(context, source)
    lang = persona_language(context)
    for source in sources:
        _gate_source(context, source, lang)
        _warn_all_dropped(context, source, lang)
    _drop_duplicates(context)
    _warn_unmatched_chapters(context, sources)
    if "split" in context.changed:
        warn_absent_persona(context)
        (counts,) = store.rows(
            "SELECT count(*) AS n, count(*) FILTER (NOT EXISTS (SELECT 1 FROM verdicts v WHERE"
            " v.subject = 'passages' AND v.subject_id = p.id AND NOT v.keep)) AS kept"
            " FROM passages p"
        )
        step.report(f"{counts['n']:,} passages, {counts['kept']:,} pass the gates ({lang})")
    elif not store.value("SELECT count(*) FROM passages"):
        raise NothingToDo(
            "the sources hold no passage that could be an answer",
            "`memoirist look dropped` tells why; for a transcript, check --persona and --alias",
        )


def _split_source(context: Context, source: Source) -> None:
    store = context.workspace.store
    content = store.value(
        "SELECT md5(string_agg(b.id, ',' ORDER BY d.id, b.ord)) FROM blocks b"
        " JOIN documents d ON d.id = b.document_id WHERE d.source_id = ?",
        source.id,
    )
    names = [context.recipe.persona.name, *context.recipe.persona.aliases]
    voice_inputs = (
        f"voice {attribution.VERSION} {context.recipe.sources.chapters.model_dump_json()}"
    )
    state = fingerprint(
        content,
        context.recipe.passages.model_dump_json(),
        source.kind,
        "" if source.kind == "dataset" else names,
        transcript_inputs(context, source) if source.kind == "podcast" else "",
        "" if source.kind in {"podcast", "dataset"} else voice_inputs,
    )
    step = Step(context, "split", source.id, state)
    if content is None or step.is_done:
        return
    documents = store.nouns(Document, "source_id = ? ORDER BY id", source.id)
    blocks: dict[str, list[Block]] = defaultdict(list)
    of_source = "document_id IN (SELECT id FROM documents WHERE source_id = ?)"
    for block in store.nouns(Block, f"{of_source} ORDER BY document_id, ord", source.id):
        blocks[block.document_id].append(block)
    parts = step.call(
        source.title or source.id,
        lambda: [_split_document(context, source, d, blocks[d.id]) for d in documents],
    )
    rows = [passage for part in parts for passage in part.passages]
    verdicts = [verdict for part in parts for verdict in part.verdicts]
    with step.writing() as tx:
        tx.execute("DELETE FROM cut_passages WHERE source_id = ?", [source.id])
        tx.execute(
            "DELETE FROM verdicts WHERE subject = 'passages' AND source_id = ? AND"
            " NOT list_contains(?, subject_id)",
            [source.id, [passage.id for passage in rows]],
        )
        # A question of the source goes with its passage; a generated one was paid for and stays.
        tx.execute(
            "DELETE FROM asked_questions WHERE origin IN ('spoken', 'given')"
            " AND passage_id NOT IN (SELECT id FROM cut_passages)"
        )
        tx.upsert(rows)
        tx.upsert([question for part in parts for question in part.questions])
        step.replace_verdicts(tx, verdicts, source.id)
    context.count("split", len(rows))
    if not rows:
        _warn_empty(context, source, verdicts)


def _warn_empty(context: Context, source: Source, verdicts: Sequence[Verdict]) -> None:
    """Say why a source has given no passage at all, and what can be done."""
    dropped = [v for v in verdicts if not v.keep and v.subject == "blocks"]
    if not dropped or any(v.rule == "no_persona" for v in dropped):
        return  # a source without blocks is refused, and an absent persona has its own warning
    rules = Counter(v.rule for v in dropped)
    prose = {rule: n for rule, n in rules.items() if rule not in FURNITURE}
    rule = max(prose or rules, key=lambda rule: rules[rule])
    first = next(v for v in dropped if v.rule == rule)
    context.report.warn(
        f"{source.title or source.location!r} gives no passage: of {len(dropped):,} blocks"
        f" {rules[rule]:,} are {rule!r}, {first.reason}; {first.next_step}"
    )


def _split_document(
    context: Context, source: Source, document: Document, blocks: Sequence[Block]
) -> Rows:
    if source.kind == "podcast":
        rows = split_episode(context, source, document, blocks)
    else:
        rows = _split_book(context, source, document, blocks)
    if context.recipe.passages.mask_personal:
        rows = personal_data.mask_rows(rows, document.lang or "und", context.now)
    return rows


def _split_book(
    context: Context, source: Source, document: Document, blocks: Sequence[Block]
) -> Rows:
    """Set aside what is not in the persona's voice, and split the rest."""
    persona = context.recipe.persona
    names = tuple(name for name in (persona.name, *persona.aliases) if name)
    settings = attribution.AttributionSettings(
        source=source,
        names=names or ((source.author,) if source.author else ()),
        chapters=context.recipe.sources.chapters,
        automatic=context.recipe.passages.voice,
        now=context.now,
    )
    result = attribution.attribute_sections(document, blocks, settings)
    rows = segmentation.split_prose(
        document, result.blocks, context.recipe.passages, context.now, result.excluded
    )
    return replace(rows, verdicts=[*result.verdicts, *rows.verdicts])


def _gate_source(context: Context, source: Source, lang: str) -> None:
    if source.format in BY_HAND:
        return
    settings = context.recipe.curate.gates
    content = _passages_hash(context, "source_id = ?", source.id)
    state = fingerprint(content, settings.model_dump_json(), lang)
    step = Step(context, "gate", source.id, state, verb="split")
    if step.is_done:
        return
    rows = context.workspace.store.nouns(
        Passage, "source_id = ? ORDER BY document_id, ord", source.id, own=True
    )
    # What is cut from a dataset is raw text, and judged as such.
    kind = "text" if source.kind == "dataset" else source.kind
    function = partial(quality_filters.gate, rows, kind, lang, settings, context.now)
    verdicts = step.call(f"gates of {source.title or source.id}", function)
    with step.writing() as tx:
        step.replace_verdicts(tx, verdicts, source.id)
    context.count("split", len(rows))


def _warn_all_dropped(context: Context, source: Source, lang: str) -> None:
    """Say that the gates have dropped all passages of a source, by which rule, and what to do."""
    if "split" not in context.changed or source.kind == "dataset":
        return
    rows = context.workspace.store.rows(
        "SELECT v.rule, count(*) AS n, any_value(v.next_step) AS next_step FROM cut_passages p"
        " LEFT JOIN verdicts v ON v.subject = 'passages' AND v.subject_id = p.id AND NOT v.keep"
        " WHERE p.source_id = ? GROUP BY v.rule ORDER BY n DESC",
        [source.id],
    )
    if rows and all(row["rule"] for row in rows):
        rule, next_step = rows[0]["rule"], rows[0]["next_step"]
        if rule == "language":
            next_step = f"the persona's language was found to be {lang!r}: name another with --lang"
        context.report.warn(
            f"{source.title or source.location!r}: none of its"
            f" {sum(row['n'] for row in rows):,} passages passes the gates,"
            f" {rows[0]['n']:,} by {rule!r}; {next_step}"
        )


def _drop_duplicates(context: Context) -> None:
    """Drop passages that another source, or the same one, has before; datasets keep their rows."""
    store = context.workspace.store
    gated = store.value(
        "SELECT md5(string_agg(subject_id, ',' ORDER BY subject_id)) FROM verdicts"
        " WHERE step = 'gate' AND NOT keep"
    )
    withdrawn = store.value("SELECT count(*) FROM verdicts WHERE step = 'withdraw'")
    content = _passages_hash(context, f"source_id IN (SELECT id FROM sources WHERE {_FROM_FILES})")
    step = Step(context, "dedupe", fingerprint=fingerprint(content, gated, withdrawn), verb="split")
    if step.is_done:
        return
    rows = store.nouns(
        Passage,
        f"source_id IN (SELECT id FROM sources WHERE withdrawn_at IS NULL AND {_FROM_FILES})"
        " AND source_row IS NULL AND id NOT IN"
        " (SELECT subject_id FROM verdicts WHERE step = 'gate' AND NOT keep)"
        " ORDER BY (SELECT (added_at, id) FROM sources s WHERE s.id = source_id), document_id, ord",
        own=True,
    )
    verdicts = step.call("duplicates", partial(quality_filters.duplicates, rows, context.now))
    with step.writing() as tx:
        step.replace_verdicts(tx, verdicts, {row.id: row.source_id for row in rows})


def _passages_hash(context: Context, where: str, *parameters: object) -> str | None:
    content: str | None = context.workspace.store.value(
        f"SELECT md5(string_agg(id, ',' ORDER BY id)) FROM cut_passages WHERE {where}", *parameters
    )
    return content


def _warn_unmatched_chapters(context: Context, sources: Sequence[Source]) -> None:
    """Warn of every chapter pattern that no chapter of any source has, and name the nearest."""
    chapters = context.recipe.sources.chapters
    patterns = [("include", pattern) for pattern in chapters.include]
    patterns += [("exclude", pattern) for pattern in chapters.exclude]
    if not patterns:
        return
    titles: dict[str, list[str]] = {source.id: [] for source in sources}
    for row in context.workspace.store.rows(_CHAPTER_TITLES, [UNTITLED]):
        titles.setdefault(row["source_id"], []).append(row["title"])
    for key, pattern in patterns:
        if any(matches(pattern, source, titles[source.id]) for source in sources):
            continue
        prefix = pattern.partition(": ")[0].casefold()
        candidates = [s for s in sources if prefix in source_names(s)] or sources
        near = nearest(pattern, [title for s in candidates for title in titles[s.id]])
        names = ", ".join(repr(title) for title in near) or "there are none"
        context.report.warn(
            f"sources.chapters.{key} {pattern!r} fits no chapter; the nearest: {names};"
            " `memoirist look outline` shows them all"
        )

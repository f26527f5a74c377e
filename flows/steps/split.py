"""Split documents into passages, filter the passages and drop duplicates.

In an episode the speakers are found and stock text and ads are cut first; then questions are paired
with answers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby

from memoirist.data.authorship import attribution
from memoirist.data.composition.saved_exchanges import BY_HAND
from memoirist.data.curation import duplicates, rules
from memoirist.data.curation.rules import RULES_VERSION
from memoirist.data.passages import segmentation
from memoirist.data.passages.segmentation import FURNITURE, UNTITLED, matches, nearest, source_names
from memoirist.data.schema.errors import NothingToDo
from memoirist.data.schema.records import (
    Block,
    Cut,
    Document,
    Fault,
    Rows,
    Source,
    Verdict,
)
from memoirist.data.text import personal_data
from memoirist.data.text.masking import mask_text
from memoirist.data.transcripts import question_answer, removed_spans, speakers
from memoirist.data.transcripts.removed_spans import VERSION, find_ads, find_breaks, find_stock
from memoirist.data.transcripts.speakers import ME
from memoirist.flows.runtime.context import Context, persona_language
from memoirist.flows.runtime.report import counted
from memoirist.flows.steps.base import Step, fingerprint, ids_hash

_FROM_FILES = f"source_id IN (SELECT id FROM sources WHERE format NOT IN {BY_HAND})"
_WITHDRAWN = "SELECT id FROM sources WHERE withdrawn_at IS NOT NULL"
# The kinds of sources whose words are turns of named speakers.
_SPOKEN = {"podcast", "chat"}
_CHAPTER_TITLES = (
    "SELECT DISTINCT source_id, title FROM (SELECT d.source_id, unnest([coalesce(b.chapter, ?),"
    " CASE b.kind WHEN 'heading' THEN b.text END]) AS title FROM blocks b JOIN documents d"
    " ON d.id = b.document_id) WHERE title IS NOT NULL ORDER BY ALL"
)


def split_documents(context: Context) -> None:
    """Split every document whose blocks or settings have changed, and filter the passages."""
    store = context.workspace.store
    sources = context.workspace.sources("withdrawn_at IS NULL")
    step = Step(context, "split")
    find_cuts(context)
    for source in sources:
        _split_source(context, source)
    lang = persona_language(context)
    _filter_passages(context, lang)
    for source in sources:
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
        step.report(
            f"{counted(counts['n'], 'passage')}, {counts['kept']:,} pass the gates ({lang})"
        )
    elif not store.value("SELECT count(*) FROM passages"):
        raise NothingToDo(
            "the sources contain no passage that could be an answer",
            "`memoirist look dropped` tells why; for a transcript, check --persona and --alias",
        )


def _split_source(context: Context, source: Source) -> None:
    store = context.workspace.store
    content = store.value(
        "SELECT md5(string_agg(b.id, ',' ORDER BY d.id, b.ord)) FROM blocks b"
        " JOIN documents d ON d.id = b.document_id WHERE d.source_id = ?",
        source.id,
    )
    step = Step(context, "split", source.id, _split_inputs(context, source, content))
    if content is None or step.is_done:
        return
    documents = store.nouns(Document, "source_id = ? ORDER BY id", source.id)
    blocks: dict[str, list[Block]] = defaultdict(list)
    of_source = "document_id IN (SELECT id FROM documents WHERE source_id = ?)"
    for block in store.nouns(Block, f"{of_source} ORDER BY document_id, ord", source.id):
        blocks[block.document_id].append(block)
    results = step.call(
        source.title or source.id, lambda: _split_all(context, source, documents, blocks)
    )
    rows = [passage for result in results for passage in result.passages]
    verdicts = [verdict for result in results for verdict in result.verdicts]
    with step.writing() as tx:
        tx.execute("DELETE FROM cut_passages WHERE source_id = ?", [source.id])
        tx.execute(
            "DELETE FROM verdicts WHERE subject = 'passages' AND source_id = ? AND"
            " NOT list_contains(?, subject_id)",
            [source.id, [passage.id for passage in rows]],
        )
        # A question from the source is deleted with its passage; a generated one is paid and stays.
        tx.execute(
            "DELETE FROM asked_questions WHERE origin IN ('spoken', 'given')"
            " AND passage_id NOT IN (SELECT id FROM cut_passages)"
        )
        tx.upsert(rows)
        tx.upsert([question for result in results for question in result.questions])
        step.replace_verdicts(tx, verdicts, source.id)
    context.count("split", len(rows))
    if not rows:
        _warn_empty(context, source, verdicts)


def _split_inputs(context: Context, source: Source, content: str | None) -> str:
    """Return the fingerprint of the inputs that the passages of a source depend on."""
    persona, chapters = context.recipe.persona, context.recipe.sources.chapters
    voice = f"voice {attribution.VERSION} {chapters.model_dump_json()}"
    return fingerprint(
        content,
        context.recipe.passages.model_dump_json(),
        source.kind,
        "" if source.kind == "dataset" else [persona.name, *persona.aliases],
        transcript_inputs(context, source) if source.kind in _SPOKEN else "",
        "" if source.kind in {*_SPOKEN, "dataset"} else voice,
    )


def _warn_empty(context: Context, source: Source, verdicts: Sequence[Verdict]) -> None:
    """Warn that a source gives no passage, by which rule, and what to do."""
    dropped = [v for v in verdicts if not v.keep and v.subject == "blocks"]
    if not dropped or any(v.rule == "no_persona" for v in dropped):
        return  # a source without blocks is refused, and an absent persona has its own warning
    rules = Counter(v.rule for v in dropped)
    rule = max(rules, key=lambda rule: (rule not in FURNITURE, rules[rule]))
    first = next(v for v in dropped if v.rule == rule)
    context.report.warn(
        f"{source.title or source.location!r} gives no passage: {rules[rule]:,} of"
        f" {counted(len(dropped), 'block')} dropped by {rule!r} ({first.reason}); {first.next_step}"
    )


def _split_all(
    context: Context,
    source: Source,
    documents: Sequence[Document],
    blocks: Mapping[str, Sequence[Block]],
) -> list[Rows]:
    """Return the rows of each document, personal data masked as the recipe says."""
    if source.kind == "chat":
        every = [block for document in documents for block in blocks[document.id]]
        results = _split_chats(context, source, documents, every)
    else:
        split = split_episode if source.kind == "podcast" else _split_book
        results = [split(context, source, d, blocks[d.id]) for d in documents]
    settings = context.recipe.passages
    mask = partial(mask_text, personal=settings.mask_personal, secrets=settings.mask_secrets)
    return [
        personal_data.mask_rows(rows, document.lang or "und", context.now, mask)
        for document, rows in zip(documents, results, strict=True)
    ]


def _split_book(
    context: Context, source: Source, document: Document, blocks: Sequence[Block]
) -> Rows:
    """Exclude text that is not in the persona's voice, and split the rest."""
    persona = context.recipe.persona
    names = tuple(filter(None, (persona.name, *persona.aliases)))
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


def _filter_passages(context: Context, lang: str) -> None:
    """Measure new passages, and write the verdicts of the gates on all that are not by hand."""
    settings = context.recipe.curate
    state = fingerprint(
        RULES_VERSION,
        ids_hash(context, f"SELECT id FROM cut_passages WHERE {_FROM_FILES}"),
        settings.gates.model_dump_json(),
        lang,
        ids_hash(context, _WITHDRAWN),
    )
    step = Step(context, "gate", fingerprint=state, verb="split")
    if step.is_done:
        return

    def gate() -> int:
        with step.writing() as tx:
            rules.set_thresholds(tx, settings, lang)
            return rules.measure_passages(tx, lang) + rules.gate_passages(tx)

    context.count("split", step.call("gates", gate))


def _warn_all_dropped(context: Context, source: Source, lang: str) -> None:
    """Warn that the filters drop all passages of a source, by which rule, and what to do."""
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
            next_step = f"the persona's language was detected as {lang!r}: name another with --lang"
        context.report.warn(
            f"{source.title or source.location!r}: none of its passages passes the gates,"
            f" {rows[0]['n']:,} of {sum(row['n'] for row in rows):,} dropped by {rule!r};"
            f" {next_step}"
        )


def _drop_duplicates(context: Context) -> None:
    """Drop passages that repeat better ones of any source; datasets keep their rows."""
    filtered = "SELECT subject_id AS id FROM verdicts WHERE step = 'gate' AND NOT keep"
    settings = context.recipe.curate.duplicates
    state = fingerprint(
        ids_hash(context, f"SELECT id FROM cut_passages WHERE {_FROM_FILES}"),
        ids_hash(context, filtered),
        ids_hash(context, _WITHDRAWN),
        duplicates.VERSION,
        settings.model_dump_json(),
    )
    step = Step(context, "dedupe", fingerprint=state, verb="split")
    if step.is_done:
        return
    with step.writing() as tx:
        duplicates.drop_passages(tx, settings, context.now)


def _warn_unmatched_chapters(context: Context, sources: Sequence[Source]) -> None:
    """Warn of every chapter pattern that matches no chapter, and name the nearest titles."""
    chapters = context.recipe.sources.chapters
    patterns = [("include", pattern) for pattern in chapters.include]
    patterns += [("exclude", pattern) for pattern in chapters.exclude]
    if not patterns:
        return
    titles: dict[str, list[str]] = defaultdict(list)
    for row in context.workspace.store.rows(_CHAPTER_TITLES, [UNTITLED]):
        titles[row["source_id"]].append(row["title"])
    for key, pattern in patterns:
        if any(matches(pattern, source, titles[source.id]) for source in sources):
            continue
        prefix = pattern.partition(": ")[0].casefold()
        candidates = [s for s in sources if prefix in source_names(s)] or sources
        near = nearest(pattern, [title for s in candidates for title in titles[s.id]])
        names = ", ".join(repr(title) for title in near) or "none"
        context.report.warn(
            f"sources.chapters.{key} {pattern!r} matches no chapter; the nearest: {names};"
            " `memoirist look outline` shows them all"
        )


_SHOWN_EPISODES = 5
_SILENT = Fault(
    "persona_silent",
    "a conversation in which the persona writes nothing",
    "nothing; if one of the names is the persona's, give it with --alias",
)
_PODCAST_TURNS = (
    "SELECT b.id FROM blocks b JOIN documents d ON d.id = b.document_id JOIN sources s"
    " ON s.id = d.source_id WHERE s.kind = 'podcast' AND s.withdrawn_at IS NULL"
    " AND b.kind = 'turn'"
)


def find_cuts(context: Context) -> None:
    """Find stock text and ads again after an episode was added, changed or removed.

    An episode is split again only if its own cuts have changed.
    """
    store = context.workspace.store
    settings = context.recipe.passages
    content = ids_hash(context, _PODCAST_TURNS)
    state = fingerprint(
        content, settings.stock_min_words, settings.stock_min_episodes, settings.cut_ads, VERSION
    )
    step = Step(context, "cut", fingerprint=state, verb="split")
    if step.is_done:
        return
    rows = step.call("stock text and ads", lambda: _find_cuts(context)) if content else []
    with step.writing() as tx:
        tx.execute("DELETE FROM cuts")
        tx.upsert(rows)
    if rows:
        words = store.value(
            "SELECT sum(len(string_split(substr(b.text, first_char + 1, last_char - first_char),"
            " ' '))) FROM cuts c JOIN blocks b ON b.id = c.block_id"
        )
        blocks = len({cut.block_id for cut in rows})
        context.report.note(
            f"stock text and ads: {words:,} words in {blocks:,} turns are cut"
            " (`memoirist look dropped` shows whole turns; the table `cuts` has all)"
        )


def _find_cuts(context: Context) -> list[Cut]:
    settings = context.recipe.passages
    cuts_of: dict[str, list[Cut]] = defaultdict(list)
    for block_id, stock in find_stock(lambda: _episodes(context), settings).items():
        cuts_of[block_id] += stock
    rows: list[Cut] = []
    for _, blocks in _episodes(context):
        for cut in find_breaks(blocks) if settings.cut_ads else ():
            cuts_of[cut.block_id].append(cut)
        for block in blocks:
            ads = find_ads(block) if settings.cut_ads else ()
            rows += removed_spans.merge_cuts(
                block.id, [*cuts_of.get(block.id, ()), *ads], block.text
            )
    return rows


def _episodes(context: Context) -> Iterator[tuple[str, Sequence[Block]]]:
    """Yield (document id, turns) by source, so that the text of one source is in memory."""
    sources = context.workspace.sources("kind = 'podcast' AND withdrawn_at IS NULL")
    for source in sorted(sources, key=lambda source: source.id):
        turns = context.workspace.store.nouns(
            Block,
            "kind = 'turn' AND document_id IN (SELECT id FROM documents WHERE source_id = ?)"
            " ORDER BY document_id, ord",
            source.id,
        )
        for document_id, blocks in groupby(turns, lambda block: block.document_id):
            yield document_id, list(blocks)


def transcript_inputs(context: Context, source: Source) -> str:
    """Return a fingerprint of the cuts and speakers that the split of a podcast depends on."""
    cuts = context.workspace.store.value(
        "SELECT md5(string_agg(c::VARCHAR, ',' ORDER BY block_id, first_char)) FROM cuts c"
        " WHERE block_id IN (SELECT b.id FROM blocks b JOIN documents d ON d.id = b.document_id"
        " WHERE d.source_id = ?)",
        source.id,
    )
    mapping = speakers.mapping_of(context.recipe.sources.speakers, source.location)
    return fingerprint(sorted(mapping.items()), cuts)


def split_episode(
    context: Context, source: Source, document: Document, blocks: Sequence[Block]
) -> Rows:
    """Return an episode's rows after the cuts; without the persona, a verdict for each block."""
    turns, speaker = _cast(context, source, blocks)
    if speaker is None:
        fault = _no_persona(context, turns)
        return Rows(verdicts=[fault.verdict("blocks", block.id, context.now) for block in blocks])
    cuts = context.workspace.store.nouns(
        Cut, "block_id IN (SELECT id FROM blocks WHERE document_id = ?)", document.id
    )
    kept, verdicts = removed_spans.apply_cuts(turns, cuts, context.now)
    rows = question_answer.split_turns(
        document, kept, speaker, context.recipe.passages, context.now
    )
    return replace(rows, verdicts=[*verdicts, *rows.verdicts])


def _split_chats(
    context: Context, source: Source, documents: Sequence[Document], blocks: Sequence[Block]
) -> list[Rows]:
    """Return the rows of each conversation of an export.

    Who the persona is must be found among the senders of all of them. What is no turn has its
    verdict since it was extracted.
    """
    renamed, speaker = _cast(context, source, blocks)
    fault = _no_persona(context, renamed) if speaker is None else _SILENT
    by_document: dict[str, list[Block]] = defaultdict(list)
    for block in renamed:
        by_document[block.document_id].append(block)
    results: list[Rows] = []
    for document in documents:
        own, settings = by_document[document.id], context.recipe.passages
        turns = [block for block in own if block.kind == "turn"]
        if speaker is None or all(turn.speaker != speaker for turn in turns):
            verdicts = [fault.verdict("blocks", turn.id, context.now) for turn in turns]
            results.append(Rows(verdicts=verdicts))
        else:
            rows = question_answer.split_chat(document, own, speaker, settings, context.now)
            results.append(rows)
    return results


def _cast(
    context: Context, source: Source, blocks: Sequence[Block]
) -> tuple[list[Block], str | None]:
    """Return the blocks with the names that the user gives the speakers, and who is the persona."""
    persona = context.recipe.persona
    names = [persona.name, *persona.aliases]
    mapping = speakers.mapping_of(context.recipe.sources.speakers, source.location)
    turns = speakers.renamed(blocks, mapping, names)
    return turns, speakers.find_persona(turns, names)


def _no_persona(context: Context, turns: Sequence[Block]) -> Fault:
    name = context.recipe.persona.name
    shares = speakers.speaker_shares(turns)
    subject = f"no speaker is called {name!r}" if name else "no persona is named"
    return Fault("no_persona", f"{subject}: {shares}", _speaker_hint(name, shares))


def _speaker_hint(persona: str, reason: str) -> str:
    """Return how to name the label that is the persona.

    Dashes and ">>" mark a change of speaker, not the speaker. In real captions of two people the
    turns soon stop alternating, so turns are not counted.
    """
    if not persona:
        return "name one of them with --persona and run it again"
    # The owner of some exports has no name in them.
    label = ME if f"{ME} " in reason else "LABEL"
    hint = f"name the speakers with --alias or --speaker '{label}={persona}'"
    if speakers.UNNAMED in reason:
        hint += (
            f"; --speaker '{speakers.UNNAMED}={persona}' counts all unnamed speech as the"
            " persona's; if several people speak, a transcript with names is needed, such as"
            " WhisperX makes"
        )
    return hint


def warn_absent_persona(context: Context) -> None:
    """Warn of the episodes without the persona, and name their speakers."""
    episodes = context.workspace.store.rows(
        "SELECT title, any_value(reason) AS reason FROM ("
        "   SELECT v.reason, CASE s.kind WHEN 'chat' THEN s.id ELSE d.id END AS id,"
        "     CASE s.kind WHEN 'chat' THEN s.title ELSE d.title END AS title"
        "   FROM verdicts v JOIN blocks b ON b.id = v.subject_id"
        "   JOIN documents d ON d.id = b.document_id JOIN sources s ON s.id = d.source_id"
        "   WHERE v.rule = 'no_persona' AND v.subject = 'blocks'"
        " ) GROUP BY id, title ORDER BY ALL"
    )
    for row in episodes[:_SHOWN_EPISODES]:
        hint = _speaker_hint(context.recipe.persona.name, row["reason"])
        context.report.warn(f"{row['title']!r}: {row['reason']}; {hint}")
    if len(episodes) > _SHOWN_EPISODES:
        more = len(episodes) - _SHOWN_EPISODES
        context.report.warn(
            f"and {more:,} more episodes without the persona; `memoirist look dropped` lists them"
        )

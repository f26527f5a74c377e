"""Split an episode: find the speakers, cut stock text and ads, pair questions with answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from memoirist.data.schema.records import Block, Cut, Document, Fault, Rows, Source
from memoirist.data.transcripts import question_answer, removed_spans
from memoirist.data.transcripts.removed_spans import VERSION, find_ads, find_breaks, find_stock
from memoirist.flows.runtime.context import Context
from memoirist.flows.steps.base import Step, fingerprint, ids_hash

_SHOWN_EPISODES = 5
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
            " (`memoirist look dropped` shows whole turns; table cuts has all)"
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
    mapping = question_answer.mapping_of(context.recipe.sources.speakers, source.location)
    return fingerprint(sorted(mapping.items()), cuts)


def split_episode(
    context: Context, source: Source, document: Document, blocks: Sequence[Block]
) -> Rows:
    """Return an episode's rows after the cuts; without the persona, a verdict for each block."""
    persona = context.recipe.persona
    names = [persona.name, *persona.aliases]
    mapping = question_answer.mapping_of(context.recipe.sources.speakers, source.location)
    turns = question_answer.renamed(blocks, mapping, names)
    speaker = question_answer.find_persona(turns, names)
    if speaker is not None:
        cuts = context.workspace.store.nouns(
            Cut, "block_id IN (SELECT id FROM blocks WHERE document_id = ?)", document.id
        )
        kept, verdicts = removed_spans.apply_cuts(turns, cuts, context.now)
        rows = question_answer.split_turns(
            document, kept, speaker, context.recipe.passages, context.now
        )
        return replace(rows, verdicts=[*verdicts, *rows.verdicts])
    shares = question_answer.speaker_shares(turns)
    subject = (
        f"no speaker is {persona.name!r}" if persona.name else "nobody is named as the persona"
    )
    hint = _speaker_hint(persona.name, shares)
    fault = Fault("no_persona", f"{subject}: {shares}", hint)
    return Rows(verdicts=[fault.verdict("blocks", block.id, context.now) for block in blocks])


def _speaker_hint(persona: str, reason: str) -> str:
    """Return how to name the label that is the persona.

    Dashes and ">>" mark a change of speaker, not the speaker. In real captions of two people the
    turns soon stop alternating, so turns are not counted.
    """
    if not persona:
        return "name one of them with --persona and run it again"
    hint = f"say who is who with --alias or --speaker 'LABEL={persona}'"
    if question_answer.UNNAMED in reason:
        hint += (
            f"; --speaker '{question_answer.UNNAMED}={persona}' takes all that has no name for one"
            " voice's; where several speak, a transcript with names is needed (WhisperX makes one)"
        )
    return hint


def warn_absent_persona(context: Context) -> None:
    """Warn of the episodes without the persona, and name their speakers."""
    episodes = context.workspace.store.rows(
        "SELECT d.title, any_value(v.reason) AS reason FROM verdicts v"
        " JOIN blocks b ON b.id = v.subject_id JOIN documents d ON d.id = b.document_id"
        " WHERE v.rule = 'no_persona' AND v.subject = 'blocks' GROUP BY d.id, d.title ORDER BY ALL"
    )
    for row in episodes[:_SHOWN_EPISODES]:
        hint = _speaker_hint(context.recipe.persona.name, row["reason"])
        context.report.warn(f"{row['title']!r}: {row['reason']}; {hint}")
    if len(episodes) > _SHOWN_EPISODES:
        more = len(episodes) - _SHOWN_EPISODES
        context.report.warn(
            f"and {more:,} more episodes without the persona; `memoirist look dropped` has them"
        )

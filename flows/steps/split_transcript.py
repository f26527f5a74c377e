"""Split one episode: find the speakers, cut stock text and ads, pair questions with answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from memoirist.data.schema.records import Block, Cut, Document, Rows, Source, Verdict
from memoirist.data.transcripts import question_answer, removed_spans, speakers
from memoirist.data.transcripts.ads import VERSION, find_ads, find_breaks
from memoirist.data.transcripts.repeated_text import find_stock
from memoirist.flows.runtime.context import Context
from memoirist.flows.steps.base import Step, fingerprint

_SHOWN_EPISODES = 5
_PODCAST_TURNS = (
    "SELECT b.id FROM blocks b JOIN documents d ON d.id = b.document_id JOIN sources s"
    " ON s.id = d.source_id WHERE s.kind = 'podcast' AND s.withdrawn_at IS NULL"
    " AND b.kind = 'turn'"
)


def find_cuts(context: Context) -> None:
    """Find stock text and ads again when an episode was added, changed or removed.

    The cuts of an episode decide whether it is split again, not this state.
    """
    store = context.workspace.store
    settings = context.recipe.passages
    content = store.value(f"SELECT md5(string_agg(id, ',' ORDER BY id)) FROM ({_PODCAST_TURNS})")
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
    """Yield (document id, turns) by source, so that only one source's text is in memory."""
    store = context.workspace.store
    sources = store.rows(
        "SELECT id FROM sources WHERE kind = 'podcast' AND withdrawn_at IS NULL ORDER BY id"
    )
    for source in sources:
        turns = store.nouns(
            Block,
            "kind = 'turn' AND document_id IN (SELECT id FROM documents WHERE source_id = ?)"
            " ORDER BY document_id, ord",
            source["id"],
        )
        for document_id, blocks in groupby(turns, lambda block: block.document_id):
            yield document_id, list(blocks)


def transcript_inputs(context: Context, source: Source) -> str:
    """Return what the split of a podcast depends on besides its blocks and names."""
    cut = context.workspace.store.value(
        "SELECT md5(string_agg(c::VARCHAR, ',' ORDER BY block_id, first_char)) FROM cuts c"
        " WHERE block_id IN (SELECT b.id FROM blocks b JOIN documents d ON d.id = b.document_id"
        " WHERE d.source_id = ?)",
        source.id,
    )
    mapping = speakers.mapping_of(context.recipe.sources.speakers, source.location)
    return fingerprint(sorted(mapping.items()), cut)


def split_episode(
    context: Context, source: Source, document: Document, blocks: Sequence[Block]
) -> Rows:
    """Return an episode's rows after the cuts; without the persona, a verdict for each block."""
    persona = context.recipe.persona
    names = [persona.name, *persona.aliases]
    mapping = speakers.mapping_of(context.recipe.sources.speakers, source.location)
    cast = speakers.renamed(blocks, mapping, names)
    speaker = speakers.find_persona(cast, names)
    if speaker is not None:
        cut = context.workspace.store.nouns(
            Cut, "block_id IN (SELECT id FROM blocks WHERE document_id = ?)", document.id
        )
        whole, verdicts = removed_spans.apply_cuts(cast, cut, context.now)
        rows = question_answer.split_turns(
            document, whole, speaker, context.recipe.passages, context.now
        )
        return replace(rows, verdicts=[*verdicts, *rows.verdicts])
    shares = speakers.speaker_shares(cast)
    refusals = [
        Verdict(
            subject_id=block.id,
            subject="blocks",
            rule="no_persona",
            keep=False,
            reason=(
                f"no speaker is {persona.name!r}: {shares}"
                if persona.name
                else f"nobody is named as the persona: {shares}"
            ),
            created_at=context.now,
            next_step=_who_is_who(persona.name, nameless=speakers.UNNAMED in shares),
        )
        for block in blocks
    ]
    return Rows(verdicts=refusals)


def _who_is_who(persona: str, *, nameless: bool) -> str:
    """Return how to name the label that is the persona.

    Dashes and ">>" mark a change of voice, not the voice. In real captions of two people the turns
    soon stop to alternate, so turns are not counted.
    """
    if not persona:
        return "name one of them with --persona and run it again"
    step = f"say who is who with --alias or --speaker 'LABEL={persona}'"
    if nameless:
        step += (
            f"; --speaker '{speakers.UNNAMED}={persona}' takes all that has no name for one"
            " voice's; where several speak, a transcript with names is needed (WhisperX makes one)"
        )
    return step


def warn_absent_persona(context: Context) -> None:
    """Warn of the episodes without the persona, and name who speaks there."""
    episodes = context.workspace.store.rows(
        "SELECT d.title, any_value(v.reason) AS reason FROM verdicts v"
        " JOIN blocks b ON b.id = v.subject_id JOIN documents d ON d.id = b.document_id"
        " WHERE v.rule = 'no_persona' AND v.subject = 'blocks' GROUP BY d.id, d.title ORDER BY ALL"
    )
    for row in episodes[:_SHOWN_EPISODES]:
        nameless = speakers.UNNAMED in row["reason"]
        step = _who_is_who(context.recipe.persona.name, nameless=nameless)
        context.report.warn(f"{row['title']!r}: {row['reason']}; {step}")
    if len(episodes) > _SHOWN_EPISODES:
        more = len(episodes) - _SHOWN_EPISODES
        context.report.warn(
            f"and {more:,} more episodes without the persona; `memoirist look dropped` has them"
        )

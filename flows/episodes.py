"""Split one episode: who is who, what is cut, what was asked and answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from data import cuts, speakers, turns
from data.nouns import Block, Cut, Document, Rows, Source, Verdict
from flows.context import Context, fingerprint

_TOLD_EPISODES = 5


def casting(context: Context, source: Source) -> str:
    """Return what the split of a podcast depends on besides its blocks and the names."""
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
    """Return an episode's rows, after the cuts; where nobody is the persona, its refusals."""
    persona = context.recipe.persona
    names = [persona.name, *persona.aliases]
    mapping = speakers.mapping_of(context.recipe.sources.speakers, source.location)
    cast = speakers.renamed(blocks, mapping, names)
    speaker = speakers.find_persona(cast, names)
    if speaker is not None:
        cut = context.workspace.store.nouns(
            Cut, "block_id IN (SELECT id FROM blocks WHERE document_id = ?)", document.id
        )
        whole, verdicts = cuts.apply(cast, cut, context.now)
        rows = turns.split_turns(document, whole, speaker, context.recipe.passages, context.now)
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
            next_step="name the persona's label with --alias or --speaker and run it again"
            if persona.name
            else "name one of them with --persona and run it again",
        )
        for block in blocks
    ]
    return Rows(verdicts=refusals)


def tell_absent(context: Context) -> None:
    """Tell in which episodes nobody is the persona, and who speaks there, so that one can map."""
    found = context.workspace.store.rows(
        "SELECT d.title, any_value(v.reason) AS reason FROM verdicts v"
        " JOIN blocks b ON b.id = v.subject_id JOIN documents d ON d.id = b.document_id"
        " WHERE v.rule = 'no_persona' AND v.subject = 'blocks' GROUP BY d.id, d.title ORDER BY ALL"
    )
    for row in found[:_TOLD_EPISODES]:
        context.report.warn(
            f"{row['title']!r}: {row['reason']}; "
            + (
                f"say who is who with --alias or --speaker 'LABEL={name}'"
                if (name := context.recipe.persona.name)
                else "name one of them with --persona"
            )
        )
    if len(found) > _TOLD_EPISODES:
        more = len(found) - _TOLD_EPISODES
        context.report.warn(
            f"and {more:,} more episodes without the persona; `memoirist look dropped` has them"
        )

"""Split one episode: who is who, what is cut, what was asked and answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from memoirist.data.schema.records import Block, Cut, Document, Rows, Source, Verdict
from memoirist.data.transcripts import question_answer, removed_spans, speakers
from memoirist.flows.runtime.context import Context, fingerprint

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
        whole, verdicts = removed_spans.apply(cast, cut, context.now)
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
    """Return how to say which label is the persona.

    Dashes and ">>" tell that the voice changes, not whose it is. On real captions of two people
    every second turn was not one person's for long, so nothing counts them.
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


def tell_absent(context: Context) -> None:
    """Tell in which episodes nobody is the persona, and who speaks there, so that one can map."""
    found = context.workspace.store.rows(
        "SELECT d.title, any_value(v.reason) AS reason FROM verdicts v"
        " JOIN blocks b ON b.id = v.subject_id JOIN documents d ON d.id = b.document_id"
        " WHERE v.rule = 'no_persona' AND v.subject = 'blocks' GROUP BY d.id, d.title ORDER BY ALL"
    )
    for row in found[:_TOLD_EPISODES]:
        nameless = speakers.UNNAMED in row["reason"]
        step = _who_is_who(context.recipe.persona.name, nameless=nameless)
        context.report.warn(f"{row['title']!r}: {row['reason']}; {step}")
    if len(found) > _TOLD_EPISODES:
        more = len(found) - _TOLD_EPISODES
        context.report.warn(
            f"and {more:,} more episodes without the persona; `memoirist look dropped` has them"
        )

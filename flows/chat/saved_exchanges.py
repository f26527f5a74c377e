"""Save an exchange of a talk in the store, where the next dataset takes it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from memoirist.data.composition.saved_exchanges import FORMAT, Exchange, Saved, replaced, save
from memoirist.data.curation import pairing
from memoirist.data.schema.errors import NothingToDo
from memoirist.data.schema.records import Verdict
from memoirist.data.store.transaction import Transaction
from memoirist.flows.runtime.context import Context, persona_language

_ALIKE = (
    "SELECT id FROM pairs WHERE question = ? AND answer = ? AND source_id <> ? ORDER BY id LIMIT 1"
)
_HELD = "id IN (SELECT unnest(pair_ids) FROM conversations)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The passage that holds the saved answer, and whether it was there before."""

    passage_id: str
    known: bool


def save_exchange(context: Context, exchange: Exchange, instead_of: str | None = None) -> Kept:
    """Write an exchange as a pair that the next dataset takes; the same words twice are one.

    `instead_of` is the passage that better words replace: it gets the verdict that says so. Raises
    StoreLocked where another program holds the store for longer than a few seconds, NothingToDo
    where what is saved in chat has been withdrawn.
    """
    store = context.workspace.store
    lang = persona_language(context)
    with store.writing() as tx:
        if tx.fetch(
            "SELECT 1 FROM sources WHERE format = ? AND withdrawn_at IS NOT NULL", [FORMAT]
        ):
            raise NothingToDo(
                "what is saved in chat has been withdrawn from this workspace",
                "take it back in with `memoirist withdraw 'saved in chat' --undo`",
            )
        ((place,),) = tx.fetch(
            "SELECT coalesce(max(p.ord) + 1, 0) FROM cut_passages p JOIN sources s"
            " ON s.id = p.source_id WHERE s.format = ?",
            [FORMAT],
        )
        saved = save(exchange, place, context.now)
        known = bool(tx.fetch("SELECT 1 FROM cut_passages WHERE id = ?", [saved.passage.id]))
        _write(tx, saved, known=known)
        _pair(tx, saved, context, lang)
        if instead_of not in {None, saved.passage.id}:
            tx.upsert([replaced(str(instead_of), saved, context.now)])
            _unpair(tx, str(instead_of), saved, context)
    return Kept(passage_id=saved.passage.id, known=known)


def _write(tx: Transaction, saved: Saved, *, known: bool) -> None:
    # What the ledger says of the source since, and when it came, stays.
    if not tx.fetch("SELECT 1 FROM sources WHERE id = ?", [saved.source.id]):
        tx.upsert([saved.source])
        tx.upsert([saved.document])
    if not known:
        tx.upsert([saved.passage])
        tx.upsert([saved.question])
    # Saved again after other words had replaced it.
    tx.execute(
        "DELETE FROM verdicts WHERE subject_id = ? AND rule = 'replaced'", [saved.passage.id]
    )
    tx.upsert([saved.verdict])


def _pair(tx: Transaction, saved: Saved, context: Context, lang: str) -> None:
    """Write the pair as `curate` would, so that what is composed before that takes it as well."""
    (pair,) = pairing.pair([saved.passage], [saved.question])
    words = [saved.question.text, saved.passage.text, saved.source.id]
    alike = [replace(pair, id=name) for (name,) in tx.fetch(_ALIKE, words)]
    scored, verdicts = pairing.judge([*alike, pair], lang, context.recipe.curate, context.now)
    tx.execute("DELETE FROM verdicts WHERE subject_id = ? AND step = 'curate'", [pair.id])
    tx.upsert(scored[-1:])
    tx.upsert([replace(v, step="curate", source_id=saved.source.id) for v in verdicts])


def _unpair(tx: Transaction, passage_id: str, better: Saved, context: Context) -> None:
    """Take out the pair of replaced words; one that a dataset holds stays for the way back."""
    tx.execute(f"DELETE FROM made_pairs WHERE passage_id = ? AND NOT {_HELD}", [passage_id])
    tx.upsert(
        [
            Verdict(
                subject_id=name,
                subject="pairs",
                rule="superseded",
                keep=False,
                reason="an earlier dataset holds it; you have saved better words since",
                created_at=context.now,
                next_step="nothing",
                step="curate",
                source_id=better.source.id,
            )
            for (name,) in tx.fetch("SELECT id FROM made_pairs WHERE passage_id = ?", [passage_id])
        ]
    )

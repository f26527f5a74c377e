"""What a dataset trains on and never holds out: saved exchanges, and the disclosure of an AI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from data import select
from data.disclosure import FORMAT, Disclosure, disclose
from data.nouns import Conversation, Pair
from data.store.transaction import Transaction
from flows.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOnly:
    """Pairs in the persona's voice that no source holds; `told` counts them in a few words."""

    pairs: Sequence[Pair]
    disclosure: Disclosure | None
    told: str

    def write(self, tx: Transaction) -> None:
        """Write the rows of the disclosing pairs; those saved in talks stand in the store."""
        made = self.disclosure
        if made is None:
            return
        if not tx.fetch("SELECT 1 FROM sources WHERE id = ?", [made.source.id]):
            tx.upsert([made.source])
        tx.upsert([made.document])
        tx.upsert(made.passages)
        tx.upsert(made.questions)
        tx.upsert(made.pairs)
        tx.upsert(made.verdicts)


def train_only(context: Context, lang: str, own: Sequence[Conversation]) -> TrainOnly:
    """Return what is trained on beside the dataset's `own` conversations; raw texts ask nobody."""
    saved = select.saved(context.workspace.store)
    n_train = sum(each.split == "train" and len(each.messages) > 1 for each in own)
    wanted = round(context.recipe.compose.disclosure_share * n_train)
    name = context.recipe.persona.name
    made = disclose(name, lang, wanted, context.now) if _wanted(context) else None
    told = [f"{len(made.pairs)} disclose the AI"] if made else []
    told += [f"{len(saved):,} saved in chat"] if saved else []
    return TrainOnly(
        pairs=[*saved, *(made.pairs if made else ())],
        disclosure=made,
        told=f" ({', '.join(told)})" if told else "",
    )


def disclosure_mark(context: Context, lang: str) -> str:
    """Return what the disclosing pairs depend on, beside compose's own settings."""
    return f"{context.recipe.persona.name} {lang} {_wanted(context)}"


def _wanted(context: Context) -> bool:
    """Tell whether nobody has withdrawn the source of the disclosure from this workspace."""
    return not context.workspace.store.value(
        "SELECT count(*) FROM sources WHERE format = ? AND withdrawn_at IS NOT NULL", FORMAT
    )

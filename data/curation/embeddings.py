"""Compare questions with answers by a small local model of sentences, each text embedded once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from memoirist.data.store.transaction import Transaction

# Returns the unit vector of each text.
Embed = Callable[[Sequence[str]], list[list[float]]]
# The words of a question that count are the last ones, where it is asked.
_QUESTION_WORDS = 40
_TEXTS_AT_ONCE = 16


def compare_pairs(tx: Transaction, embed: Embed | None) -> None:
    """Write `cosine` of the made pairs that lack it; without a model, take it out of all.

    Call it after the pairs have been measured, whose scopes it takes.
    """
    if embed is None:
        tx.execute("UPDATE pair_signals SET cosine = NULL WHERE cosine IS NOT NULL")
        return
    tx.run("pair_texts", {"words": _QUESTION_WORDS})
    texts = tx.fetch(
        "SELECT DISTINCT key, text FROM pair_texts"
        " WHERE key NOT IN (SELECT key FROM embeddings) ORDER BY key"
    )
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        part = texts[start : start + _TEXTS_AT_ONCE]
        vectors = embed([text for _, text in part])
        tx.execute(
            "INSERT INTO embeddings SELECT unnest(?), unnest(?::FLOAT[][])",
            [[key for key, _ in part], vectors],
        )
    tx.run("pair_cosines", {})

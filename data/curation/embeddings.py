"""Compare questions with answers by a small local model of sentences, each text embedded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from memoirist.data.store.transaction import Transaction

# Returns the unit vector of each text.
Embed = Callable[[Sequence[str]], list[list[float]]]
# The words of a question that count are the last ones, where it is asked.
_QUESTION_WORDS = 40
_TEXTS_AT_ONCE = 16
_BATCH = 1_000
Vectors = list[tuple[str, list[float]]]


def missing_texts(tx: Transaction) -> list[tuple[str, str]]:
    """Return the texts of the made pairs that have no vector, each after its key."""
    tx.run("pair_texts", {"words": _QUESTION_WORDS})
    return tx.fetch(
        "SELECT DISTINCT key, text FROM pair_texts"
        " WHERE key NOT IN (SELECT key FROM embeddings) ORDER BY key"
    )


def embed_texts(texts: Sequence[tuple[str, str]], embed: Embed) -> Iterator[Vectors]:
    """Yield the vectors of texts by key, in batches worth a transaction."""
    for start in range(0, len(texts), _BATCH):
        batch = texts[start : start + _BATCH]
        parts = [batch[at : at + _TEXTS_AT_ONCE] for at in range(0, len(batch), _TEXTS_AT_ONCE)]
        vectors = [vector for part in parts for vector in embed([text for _, text in part])]
        yield [(key, vector) for (key, _), vector in zip(batch, vectors, strict=True)]


def save_vectors(tx: Transaction, vectors: Vectors) -> None:
    """Store the vectors of texts by key."""
    tx.execute(
        "INSERT INTO embeddings SELECT unnest(?), unnest(?::FLOAT[][])",
        [[key for key, _ in vectors], [vector for _, vector in vectors]],
    )


def compare_pairs(tx: Transaction, *, semantic: bool) -> None:
    """Write `cosine` of the made pairs that lack it; unless `semantic`, take it out of all.

    Call it after the texts have been embedded and the pairs measured, whose scopes it takes. The
    vectors of what no pair has any more are deleted.
    """
    if not semantic:
        tx.execute("UPDATE pair_signals SET cosine = NULL WHERE cosine IS NOT NULL")
    if not tx.fetch("FROM embeddings LIMIT 1"):
        return
    tx.run("pair_texts", {"words": _QUESTION_WORDS})
    tx.execute("DELETE FROM embeddings WHERE key NOT IN (SELECT key FROM pair_texts)")
    if semantic:
        tx.run("pair_cosines", {})

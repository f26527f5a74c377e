"""The prompted rival of a tuned model: the base with a persona prompt of a few real exchanges."""

from __future__ import annotations

from collections.abc import Sequence

from memoirist.data.composition.disclosure import words_of
from memoirist.data.composition.saved_exchanges import TRAIN_ONLY
from memoirist.data.store.store import Store
from memoirist.data.text.words import count_words

# Five examples beat a QLoRA on 534 passages in one report (QUALITY.md, finding 10).
EXCHANGES = 5
_REAL = (
    "SELECT question, answer FROM lineage WHERE dataset_id = $dataset AND split = 'train'"
    " AND turn = 1 AND NOT list_contains($made, origin)"
    " AND source_id IN (SELECT id FROM sources WHERE mix_share IS NULL)"
    " ORDER BY score DESC NULLS LAST, md5(pair_id || $seed) LIMIT 200"
)


def training_exchanges(
    store: Store, dataset_id: str, max_words: int, seed: int = 42
) -> list[tuple[str, str]]:
    """Return up to five exchanges that a dataset trains on, of `max_words` words together.

    Real ones of the persona's own sources, the best scores first; long answers that would leave
    no room for others are passed over.
    """
    values = {"dataset": dataset_id, "made": list(TRAIN_ONLY), "seed": str(seed)}
    found: list[tuple[str, str]] = []
    left = max_words
    for row in store.rows(_REAL, values):
        size = count_words(row["question"]) + count_words(row["answer"])
        if row["question"] and size <= min(left, max(max_words // 3, 60)):
            found.append((row["question"], row["answer"]))
            left -= size
        if len(found) == EXCHANGES:
            break
    return found


def few_shot_prompt(system: str, name: str, lang: str, exchanges: Sequence[tuple[str, str]]) -> str:
    """Return a system prompt that shows how the persona answers, under the one that is shipped."""
    if not exchanges:
        return system
    shown = "\n\n".join(f"- {question}\n{name}: {answer}" for question, answer in exchanges)
    intro = words_of(lang).fewshot.replace("{name}", name)
    return f"{system}\n\n{intro}\n\n{shown}".strip()

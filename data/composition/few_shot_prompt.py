"""Make the few-shot prompt of the base model that a tuned model is compared with."""

from __future__ import annotations

from collections.abc import Sequence

from memoirist.data.composition.disclosure import disclosure_texts
from memoirist.data.composition.saved_exchanges import TRAIN_ONLY
from memoirist.data.store.store import Store
from memoirist.data.text.words import count_words

# Five examples beat a QLoRA on 534 passages in one report (QUALITY.md, finding 10).
EXCHANGES = 5
_REAL = (
    "SELECT question, answer FROM lineage WHERE dataset_id = $dataset AND split = 'train'"
    " AND turn = 1 AND NOT list_contains($train_only, origin)"
    " AND source_id IN (SELECT id FROM sources WHERE mix_share IS NULL)"
    " ORDER BY score DESC NULLS LAST, md5(pair_id || $seed) LIMIT 200"
)


def training_exchanges(
    store: Store, dataset_id: str, max_words: int, seed: int = 42
) -> list[tuple[str, str]]:
    """Return up to five exchanges of a dataset's train split, with `max_words` words together.

    They come from the persona's own sources, best scores first; very long answers are skipped.
    """
    values = {"dataset": dataset_id, "train_only": list(TRAIN_ONLY), "seed": str(seed)}
    chosen: list[tuple[str, str]] = []
    left = max_words
    for row in store.rows(_REAL, values):
        size = count_words(row["question"]) + count_words(row["answer"])
        if row["question"] and size <= min(left, max(max_words // 3, 60)):
            chosen.append((row["question"], row["answer"]))
            left -= size
        if len(chosen) == EXCHANGES:
            break
    return chosen


def few_shot_prompt(system: str, name: str, lang: str, exchanges: Sequence[tuple[str, str]]) -> str:
    """Return the system prompt followed by example exchanges."""
    if not exchanges:
        return system
    examples = "\n\n".join(f"- {question}\n{name}: {answer}" for question, answer in exchanges)
    intro = disclosure_texts(lang).fewshot.replace("{name}", name)
    return f"{system}\n\n{intro}\n\n{examples}".strip()

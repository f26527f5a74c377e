"""How well the score tells real pairs of question and answer from shuffled ones, in eight episodes.

    python -m tests.benchmarks.score_auc

Each episode is extracted and curated by the product's commands. In copies of its workspace, the
host's questions are shuffled among the answers of the same episode, and the same statements score
both. A figure is the AUC: how often a real pair has a greater value than a shuffled one. `former`
is the score of earlier versions: six parts, of which four look at the question or answer alone.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from memoirist.data.curation import embeddings, rules
from memoirist.data.store.store import FILE, Store
from memoirist.data.store.transaction import Transaction
from memoirist.train.inference.sentence_model import embed, is_installed
from tests.conftest import CORPORA, run

EPISODES = {
    "bitcoin-md/2020-01-28-pieter-wuille-part1.md": "Pieter",
    "bitcoin-md/2020-02-16-waxwing-or-adam-gibson.md": "Adam Gibson",
    "bitcoin-md/silent-payments.md": "Ruben",
    "changelog-md/brain-science-1.md": "Mireille B. Reece, Psy.D",
    "changelog-md/founders-talk-60.md": "Travis Kimmel",
    "changelog-md/request-for-commits-1.md": "Karl Fogel",
    "changelog-md/the-changelog-103.md": "Sid Sijbrandij",
    "changelog-md/the-changelog-672.md": "Sid Sijbrandij",
}
_SHUFFLES = 5
_VALUES = (
    *("score", "quality", "relevance", "no_leak", "form", "standalone", "answer", "specificity"),
    *("bm25", "former"),
)
# What the score was before its relevance looked at the pairing: QUALITY's six parts and weights.
_FORMER = """
    0.25 * least(1, 0.5 + shared_stems / greatest(1, question_stems))
    + 0.2 * greatest(0, 1 - leak / threshold('rejects.max_leak'))
          * CASE WHEN shared_run >= 5 THEN 0.7 ELSE 1 END
    + 0.15 * form + 0.15 * standalone + 0.15 * answer + 0.1 * specificity"""
_SELECT = f"SELECT s.* EXCLUDE (pair_id), g.bm25, {_FORMER} AS former" + (
    " FROM pair_scores s JOIN pair_signals g USING (pair_id) ORDER BY s.pair_id"
)
Rows = list[dict[str, float]]


def main() -> None:
    """Print the AUC of the score, of its parts, of BM25 and of the former score."""
    if not CORPORA.is_dir():
        sys.stdout.write("score: the corpora are not here; set MEMOIRIST_CORPORA\n")
        return
    real: Rows = []
    shuffled: Rows = []
    for episode, persona in EPISODES.items():
        with tempfile.TemporaryDirectory() as folder:
            own, others = scores(Path(folder), CORPORA / "podcasts" / episode, persona)
        real += own
        shuffled += others
        figure = auc([row["score"] for row in own], [row["score"] for row in others])
        sys.stdout.write(f"{episode:<50} {len(own):>4} pairs, AUC of the score {figure:.3f}\n")
    sys.stdout.write(f"all {len(real)} pairs against {_SHUFFLES} shuffles of their questions\n")
    for name in _VALUES:
        figure = auc([row[name] for row in real], [row[name] for row in shuffled])
        sys.stdout.write(f"  {name:<12} {figure:.3f}\n")


def scores(folder: Path, path: Path, persona: str) -> tuple[Rows, Rows]:
    """Return the scores of an episode's pairs, and those with shuffled questions."""
    for command in (["extract", str(path), "--persona", persona], ["ask"], ["curate"]):
        done = run(folder, *command)
        if done.returncode:
            sys.exit(f"{path.name}: {done.stderr}")
    store = Store(folder / "workspace" / FILE)
    real: Rows = []
    shuffled: Rows = []
    with store.writing() as tx:
        tx.execute("DELETE FROM made_pairs WHERE origin <> 'spoken'")
        pairs = tx.fetch("SELECT id, question FROM made_pairs ORDER BY id")
        real = _scored(tx)
        for seed in range(_SHUFFLES):
            questions = derange([question for _, question in pairs], seed)
            for (pair_id, _), question in zip(pairs, questions, strict=True):
                tx.execute("UPDATE made_pairs SET question = ? WHERE id = ?", [question, pair_id])
            shuffled += _scored(tx)
    return real, shuffled


def derange(questions: Sequence[str], seed: int) -> list[str]:
    """Return the questions in an order in which none keeps its place.

    Another of the same words may come there. Raise ValueError for a single one.
    """
    if len(questions) == 1:
        raise ValueError(f"{questions[0]!r} cannot change places: give two or more questions")
    order = list(range(len(questions)))
    shuffle = random.Random(seed)
    while any(place == other for place, other in enumerate(order)):
        shuffle.shuffle(order)
    return [questions[place] for place in order]


def _scored(tx: Transaction) -> Rows:
    tx.execute("DELETE FROM pair_signals")
    rules.measure_pairs(tx)
    if is_installed():
        for vectors in embeddings.embed_texts(embeddings.missing_texts(tx), embed):
            embeddings.save_vectors(tx, vectors)
    embeddings.compare_pairs(tx, semantic=is_installed())
    rules.judge_pairs(tx)
    result = tx.connection.execute(_SELECT)
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def auc(real: Sequence[float], shuffled: Sequence[float]) -> float:
    """Return how often a real value is greater than a shuffled one; an equal one counts half."""
    others = np.sort(np.array(shuffled))
    own = np.array(real)
    below = np.searchsorted(others, own, "left") + np.searchsorted(others, own, "right")
    return float(below.mean() / 2 / len(others))


if __name__ == "__main__":
    main()

"""Find answers that tell the same in other words by the model of sentences.

    python -m tests.benchmarks.same_meaning

Sixteen passages of four memoirs, each beside a retelling that we wrote, sentence by sentence in
other words (tests/data/curation/retellings.tsv). For each limit: how many retellings reach it, and
how many pairs of different paragraphs of one book do, which tell different stories.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from memoirist.data.curation import embeddings
from memoirist.train.inference import sentence_model
from tests.conftest import CORPORA

_RETELLINGS = Path(__file__).parent.parent / "data" / "curation" / "retellings.tsv"
_BOOKS = (
    *("franklin/148.txt", "darwin/2010.txt"),
    *("up-from-slavery/2376.txt", "incidents/11030-0.txt"),
)
_LIMITS = (0.7, 0.75, 0.8, 0.85, 0.9)
_MIN_WORDS = 30
_MAX_PARAGRAPHS = 300


def _vectors(texts: list[str]) -> npt.NDArray[np.float64]:
    keyed = [(text, text) for text in texts]
    batches = embeddings.embed_texts(keyed, sentence_model.embed)
    return np.array([vector for batch in batches for _, vector in batch])


def _paragraphs(book: Path) -> list[str]:
    """Return different paragraphs of a book, from its middle on."""
    text = book.read_text("utf-8", "replace")
    found = (" ".join(part.split()) for part in re.split(r"\n\s*\n", text[len(text) // 5 :]))
    return list(dict.fromkeys(p for p in found if len(p.split()) >= _MIN_WORDS))[:_MAX_PARAGRAPHS]


def main() -> None:
    """Print the share of retellings and the number of other pairs at each limit."""
    if not CORPORA.is_dir() or not sentence_model.is_installed():
        sys.stdout.write("same meaning: needs the corpora and the extra `semantic`\n")
        return
    rows = [line.split("\t") for line in _RETELLINGS.read_text("utf-8").splitlines()]
    first, second = (_vectors([row[side] for row in rows]) for side in (0, 1))
    retold = (first * second).sum(axis=1)
    others: list[float] = []
    for name in _BOOKS:
        vectors = _vectors(_paragraphs(CORPORA / "books" / name))
        others += list((vectors @ vectors.T)[np.triu_indices(len(vectors), 1)])
    sys.stdout.write(f"limit  retellings of {len(retold)}  other pairs of {len(others):,}\n")
    for limit in _LIMITS:
        n_others = sum(value >= limit for value in others)
        sys.stdout.write(f"{limit:<5}  {sum(retold >= limit):>18}  {n_others:>11,}\n")


if __name__ == "__main__":
    main()

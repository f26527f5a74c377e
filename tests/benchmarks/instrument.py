"""The instrument itself: does it know an author's unseen chapters from those of others?

`python -m tests.benchmarks.instrument [FOLDER]` reads books of the test corpora. Each author's
chapters but every fourth are the reference (or the first 70 %); stretches of the unseen ones and of
all other authors are told apart by their distance. "Norm of these authors" standardises by the very
authors compared, as stylometry does and an evaluation cannot. Then: what an author's own unseen
text shares word for word with the rest.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from memoirist.data.evaluation.intervals import Floats
from memoirist.data.evaluation.regurgitation import RunIndex
from memoirist.data.evaluation.style import (
    Norm,
    chunks,
    count,
    distances,
    norm_of,
    profile,
    taylor,
    tokens,
)
from tests.benchmarks.norms import text_of
from tests.conftest import CORPORA

BOOKS = {
    "Carnegie": "carnegie/17976-8.txt",
    "Darwin": "darwin/2010.txt",
    "Franklin": "franklin/148.txt",
    "Grant": "grant/4367.txt",
    "Jacobs": "incidents/11030-0.txt",
    "Washington": "up-from-slavery/2376.txt",
    "Rousseau": "rousseau/3913-0.txt",
    "Marcus": "meditations/55317.txt",
    "Abbott": "flatland/main.truth.txt",
}
SIZES = {250: 0.88, 2000: 0.985, 5000: 0.995}  # with the figures of the project's own measurement
_MOST = 60  # stretches of one author


def books(folder: Path) -> dict[str, list[str]]:
    """Return the words of each book that is there."""
    found = {name: folder / "books" / path for name, path in BOOKS.items()}
    return {name: tokens(text_of(path), "en") for name, path in found.items() if path.exists()}


def area(texts: dict[str, list[str]], size: int, norm: Norm, *, tail: bool) -> tuple[float, int]:
    """Return the area under the curve over all authors, and the number of stretches."""
    known, unseen = {}, {}
    for name, words in texts.items():
        seen, kept_back = _parted(words, tail=tail)
        known[name] = count(seen, norm)
        stretches = [each for part in kept_back for each in chunks([part], size)]
        unseen[name] = count(stretches[:_MOST], norm)
    own, others = [], []
    for name, counted in known.items():
        whole = profile(counted.words.sum(axis=0)[None], counted.lengths.sum()[None], norm)[0]
        for other, stretches in unseen.items():
            found = distances(profile(stretches.words, stretches.lengths, norm), whole)
            (own if other == name else others).append(found)
    joined = np.concatenate(own), np.concatenate(others)
    return auc(*joined), len(joined[0]) + len(joined[1])


def auc(own: Floats, others: Floats) -> float:
    """Return the probability that another author's text is farther away than the author's own."""
    ties = (others[None, :] == own[:, None]).mean()
    return float((others[None, :] > own[:, None]).mean() + ties / 2)


def _parted(words: list[str], *, tail: bool) -> tuple[list[list[str]], list[list[str]]]:
    """Return what is known of a book and what is unseen: every fourth chapter, or the last 30 %."""
    if tail:
        cut = int(0.7 * len(words))
        return [words[:cut]], [words[cut:]]
    length = 10_000 if len(words) >= 40_000 else 5_000
    chapters = [words[at : at + length] for at in range(0, len(words), length)]
    return [c for n, c in enumerate(chapters) if n % 4 != 2], chapters[2::4]


def runs(texts: dict[str, list[str]]) -> None:
    """Print what unseen chapters share with the known ones, and what a planted quote does."""
    for name, words in texts.items():
        seen, kept_back = _parted(words, tail=False)
        library = RunIndex([" ".join(part) for part in seen], "en")
        found = library.overlap([" ".join(part) for part in kept_back], seed=0)
        if found is None:
            continue
        planted = [*kept_back[0][:100], *seen[0][2000:2030], *kept_back[0][100:]]
        caught = library.overlap([" ".join(planted)], seed=0)
        _tell(
            f"{name:<11} unseen: longest {found.longest:>2}, {found.short.value:.2%} in runs of 8,"
            f" {found.long.value:.2%} of 13: {library.level(found)}; 30 words planted:"
            f" {caught.longest if caught else 0}, {library.level(caught) if caught else 'missed'}"
            f"  {found.quote[:60]!r}"
        )


def main(folder: Path) -> None:
    """Print the areas at each size, then the shared runs."""
    texts = books(folder)
    if not texts:
        _tell(f"no books at {folder} (MEMOIRIST_CORPORA)")
        return
    norm = norm_of("en", [])
    rows = np.array([count([words], norm).words[0] / len(words) for words in texts.values()])
    pooled = replace(norm, means=1000 * rows.mean(axis=0), spreads=taylor(1000 * rows.mean(axis=0)))
    _tell(f"{len(texts)} authors; area under the curve of own stretches against those of others")
    _tell(" words  chapters  last 30 %  norm of these authors  measured before")
    for size, before in SIZES.items():
        (chapter, n), (last, _) = (area(texts, size, norm, tail=tail) for tail in (False, True))
        own_norm, _ = area(texts, size, pooled, tail=False)
        _tell(f"{size:>6,}  {chapter:.4f}    {last:.4f}     {own_norm:.4f}      {before}    n={n}")
    runs(texts)


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else CORPORA)

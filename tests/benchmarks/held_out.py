"""Count near-duplicates between the splits of real sources, and time the purge of a large dataset.

Wanted: 0 between any two splits, by comparing all pairs here, and a purge of 100,000 train pairs
against 10,000 test pairs in seconds. `python -m tests.benchmarks.held_out [folder of corpora]`
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

from memoirist.data.composition.splits import SplitSettings, purge
from memoirist.data.store.store import FILE, Store
from memoirist.data.text.words import words
from memoirist.flows.recipe import load
from memoirist.flows.runtime.context import Context
from memoirist.flows.runtime.report import Report
from memoirist.flows.runtime.workspace import Workspace
from memoirist.flows.steps.ask import ask_questions
from memoirist.flows.steps.compose import compose_dataset
from memoirist.flows.steps.curate import curate_pairs
from memoirist.flows.steps.extract import extract_sources
from memoirist.flows.steps.split import split_documents
from tests.conftest import CORPORA
from tests.support.normal_form import normalise
from tests.support.rows import NOW, pair

_FRANKLIN = ("148.txt", "old_bfaut10.txt", "old_bfaut11.txt", "franklin-standardebooks.epub")
_EPISODES = ("founders-talk-60.md", "brain-science-1.md")
_CASES = {
    "Franklin, four editions": (
        "Benjamin Franklin",
        [f"books/franklin/{name}" for name in _FRANKLIN],
    ),
    "two podcast episodes": (
        "Adam Stacoviak",
        [f"podcasts/changelog-md/{name}" for name in _EPISODES],
    ),
    "one podcast episode": ("Travis Kimmel", [f"podcasts/changelog-md/{_EPISODES[0]}"]),
}
_SPLITS = ("train", "validation", "test")


def main(corpora: Path = CORPORA) -> None:
    """Print the counts of each case, then the seconds of the purge."""
    head = f"{'sources':26}{'train':>7}{'valid.':>7}{'test':>7}"
    sys.stdout.write(f"{head}  near-duplicates between splits\n")
    for name, (persona, paths) in _CASES.items():
        with TemporaryDirectory() as folder:
            context = _composed(Path(folder), persona, [str(corpora / path) for path in paths])
            rows = context.workspace.store.rows("SELECT split, question, answer FROM lineage")
        by_split = {split: [row for row in rows if row["split"] == split] for split in _SPLITS}
        counts = "".join(f"{len(by_split[split]):7,}" for split in _SPLITS)
        sys.stdout.write(f"{name:26}{counts}  {near_duplicates(by_split)}\n")
    with TemporaryDirectory() as folder:
        _time_purge(Path(folder), 100_000, 10_000)


def _composed(folder: Path, persona: str, sources: Sequence[str]) -> Context:
    recipe = load(None, {"persona.name": persona, "compose.disclosure_share": 0.0})
    context = Context(Workspace(folder), recipe, Report(quiet=True))
    extract_sources(context, sources)
    for step in (split_documents, ask_questions, curate_pairs, compose_dataset):
        step(context)
    return context


def near_duplicates(by_split: Mapping[str, Sequence[Mapping[str, str]]]) -> int:
    """Count the pairs of one split that are near-duplicates of a pair of another."""
    grams = {
        split: [(_grams(words(row["answer"])), _grams(normalise(row["question"]))) for row in rows]
        for split, rows in by_split.items()
    }
    return sum(
        any(_is_near(one, other) for other in grams[second])
        for first, second in combinations(grams, 2)
        for one in grams[first]
    )


def _grams(units: Sequence[Hashable]) -> frozenset[Hashable]:
    return frozenset(tuple(units[at : at + 5]) for at in range(len(units) - 4))


def _is_near(
    one: tuple[frozenset[Hashable], frozenset[Hashable]],
    other: tuple[frozenset[Hashable], frozenset[Hashable]],
) -> bool:
    """Tell whether answers have Jaccard >= .7 or containment >= .8, or questions Jaccard >= .7."""
    (answer, question), (other_answer, other_question) = one, other
    shared = len(answer & other_answer)
    if shared >= 0.7 * max(1, len(answer | other_answer)):
        return True
    if shared >= 0.8 * max(10, min(len(answer), len(other_answer))):
        return True
    return len(question & other_question) >= 0.7 * max(20, len(question | other_question))


def _time_purge(folder: Path, n_train: int, n_test: int) -> None:
    """Time the purge of rows of which one in fifty is a test row with changed words."""
    draw = random.Random(7)
    vocabulary = [f"w{n:x}" for n in range(30_000)]
    # A few words are as common as in any language.
    common = [vocabulary[int(30_000 ** draw.random()) - 1] for _ in range(200_000)]
    test = [
        pair(n, question=f"{' '.join(draw.choices(common, k=12))}?", answer=_text(draw, common))
        for n in range(n_test)
    ]
    train = [
        pair(
            n_test + n,
            question=f"{' '.join(draw.choices(common, k=12))}?",
            answer=_changed(draw, draw.choice(test).answer) if n % 50 == 0 else _text(draw, common),
        )
        for n in range(n_train)
    ]
    settings = SplitSettings.model_validate({})
    began, worked = time.monotonic(), time.process_time()
    with Store(folder / FILE).writing() as tx:
        _, verdicts = purge(tx, {"test": test, "train": train}, settings, NOW)
    seconds, cpu = time.monotonic() - began, time.process_time() - worked
    sys.stdout.write(
        f"purge of {n_train:,} train against {n_test:,} test pairs: {seconds:.1f} s"
        f" ({cpu:.1f} s of CPU), {len(verdicts):,} of {n_train // 50:,} planted dropped\n"
    )


def _text(draw: random.Random, common: Sequence[str]) -> str:
    return " ".join(draw.choices(common, k=draw.randint(60, 150)))


def _changed(draw: random.Random, answer: str) -> str:
    tokens = answer.split()
    for at in range(draw.randrange(12), len(tokens), 12):
        tokens[at] = "changed"
    return " ".join(tokens)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))

"""Split pairs into train, validation and test by whole groups, and purge train of test text."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from memoirist.data.schema.records import Fault, Pair, Split, Verdict
from memoirist.data.text.words import count_words, normalise, words

HELD_OUT: tuple[Split, Split] = ("test", "validation")


def partition(
    pairs: Sequence[Pair],
    shares: Mapping[Split, float],
    before: Mapping[str, Split],
    seed: int,
) -> dict[str, Split]:
    """Return the split of every group, the earlier one where there is one.

    Within each source, groups in the order of a seeded hash go to test until its share of the
    source's pairs is reached, then to validation, the rest to train; so a new source moves no
    group of another. A group of more than a quarter of its source stays in train, because too
    little would remain to train on.
    """
    sizes = Counter(pair.group_id for pair in pairs)
    # A dictionary as an ordered set: a dataset has as many groups as rows.
    by_source: dict[str, dict[str, None]] = defaultdict(dict)
    for pair in pairs:
        by_source[pair.source_id][pair.group_id] = None
    chosen: dict[str, Split] = {g: before[g] for g in sizes if g in before}
    for groups in by_source.values():
        _assign(list(groups), sizes, shares, chosen, seed)
    return chosen


def _assign(
    groups: Sequence[str],
    sizes: Mapping[str, int],
    shares: Mapping[Split, float],
    chosen: dict[str, Split],
    seed: int,
) -> None:
    total = sum(sizes[group] for group in groups)
    held = Counter[Split]()
    for group in groups:
        if group in chosen:
            held[chosen[group]] += sizes[group]
    for group in sorted(groups, key=lambda g: _order(seed, g)):
        if group in chosen:
            continue
        split: Split = "train"
        for name in HELD_OUT:
            target = shares[name] * total
            # A source of one or two groups is only trained on.
            if len(groups) > 2 and held[name] < target and sizes[group] <= max(1, total / 4):
                split = name
                break
        chosen[group] = split
        held[split] += sizes[group]


def _order(seed: int, group: str) -> str:
    return hashlib.blake2b(f"{seed}:{group}".encode(), digest_size=8).hexdigest()


def hold_out_source(
    pairs: Sequence[Pair], max_share: float, before: Mapping[str, Split], seed: int
) -> str | None:
    """Return the source to hold out whole, or None with fewer than three or none small enough.

    A source of an earlier train split is never held out; one that was held out whole stays so.
    """
    sizes = Counter(pair.source_id for pair in pairs)
    tested = {p.source_id for p in pairs if before.get(p.group_id) == "test"}
    trained = {p.source_id for p in pairs if before.get(p.group_id, "test") != "test"}
    for source in sizes:
        if source in tested - trained:
            return source
    small = [s for s in sizes if sizes[s] <= max_share * len(pairs) and s not in trained]
    if len(sizes) < 3 or not small:
        return None
    return min(small, key=lambda source: _order(seed, source))


def purge(  # noqa: PLR0913 - two lists and three limits
    train: Sequence[Pair],
    test: Sequence[Pair],
    max_containment: float,
    run: int,
    now: datetime,
    max_question_overlap: float = 0.7,
) -> list[Verdict]:
    """Return a drop for each train pair that shares too much with a test pair.

    Containment is the share of the answer's word 5-grams that one test answer has. One shared run
    of `run` words also drops (13 is GPT-3's length for contamination), and so does a question whose
    character 5-grams overlap (Jaccard) by `max_question_overlap`; above 1 none does.
    """
    fives: dict[int, dict[str, None]] = defaultdict(dict)  # ordered, so that ties are too
    runs: dict[int, str] = {}
    for pair in test:
        tokens = words(pair.answer)
        for gram in grams(tokens, 5):
            fives[gram][pair.id] = None
        for gram in grams(tokens, run):
            runs.setdefault(gram, pair.id)
    compared = test if max_question_overlap <= 1 else ()
    questions = [(pair.id, _shingles(pair.question)) for pair in compared]
    verdicts: list[Verdict] = []
    for pair in train:
        tokens = words(pair.answer)
        match = next((runs[gram] for gram in grams(tokens, run) if gram in runs), None)
        match = match or _same_question(pair.question, questions, max_question_overlap)
        own = list(grams(tokens, 5))
        counts = Counter(other for gram in own for other in fives.get(gram, ()))
        closest, n_shared = counts.most_common(1)[0] if counts else (None, 0)
        share = n_shared / len(own) if own else 0.0
        if match is not None or share >= max_containment:
            reason = "it is too close to a held-out exchange, which would flatter the test"
            step = "nothing: the held-out answer is kept"
            fault = Fault("test_overlap", reason, step, round(share, 3), match or closest)
            verdicts.append(fault.verdict("pairs", pair.id, now))
    return verdicts


def _shingles(question: str, n: int = 5) -> frozenset[str]:
    """Return the character 5-grams of a question of five words or more, else nothing.

    Short questions ("Why was that?") are common to all episodes and leak nothing.
    """
    text = normalise(question)
    if count_words(question) < 5:
        return frozenset()
    return frozenset(text[i : i + n] for i in range(len(text) - n + 1))


def _same_question(
    question: str, questions: Sequence[tuple[str, frozenset[str]]], min_overlap: float
) -> str | None:
    """Return the held-out pair whose question is nearly this one."""
    own = _shingles(question) if questions else frozenset()
    for pair_id, other in questions if own else ():
        shared = len(own & other)
        if shared and shared >= min_overlap * (len(own) + len(other) - shared):
            return pair_id
    return None


def grams(tokens: Sequence[str], n: int) -> Iterable[int]:
    """Return the hashes of all runs of `n` words; they are valid within one process only."""
    return (hash(tuple(tokens[i : i + n])) for i in range(len(tokens) - n + 1))

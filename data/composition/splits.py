"""Split pairs into train, validation and test by whole groups, and purge train against test."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from memoirist.data.schema.records import Pair, Split, Verdict
from memoirist.data.text.words import count_words, normalise, words

HELD_OUT: tuple[Split, Split] = ("test", "validation")


def partition(
    pairs: Sequence[Pair],
    shares: Mapping[Split, float],
    before: Mapping[str, Split],
    seed: int,
) -> dict[str, Split]:
    """Return the split of every group: its earlier one where it has one, else by its source.

    Within each source, groups in the order of a seeded hash go to test until its share of the
    source's pairs is reached, then to validation, the rest to train; so a new source moves no
    group of another. A group of more than a quarter of its source stays in train: holding that
    out would leave too little to learn from.
    """
    sizes = Counter(pair.group_id for pair in pairs)
    # As keys: a dataset has as many groups as rows, and no list is searched as fast.
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
            wanted = shares[name] * total
            # A source of one group has nothing to compare with, and must be learnt from.
            if len(groups) > 2 and held[name] < wanted and sizes[group] <= max(1, total / 4):
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

    A source that an earlier dataset trained on is never held out: its text has been seen; one
    that was held out whole stays so.
    """
    sizes = Counter(pair.source_id for pair in pairs)
    known = {
        s: {before[p.group_id] for p in pairs if p.source_id == s and p.group_id in before}
        for s in sizes
    }
    whole = [s for s in sizes if known[s] == {"test"}]
    if whole:
        return whole[0]
    trained = {p.source_id for p in pairs if before.get(p.group_id, "test") != "test"}
    small = [s for s in sizes if sizes[s] <= max_share * len(pairs) and s not in trained]
    if len(sizes) < 3 or not small:
        return None
    return min(small, key=lambda source: _order(seed, source))


def purge(  # noqa: PLR0913 - what is compared with what, by which limits
    train: Sequence[Pair],
    test: Sequence[Pair],
    max_containment: float,
    run: int,
    now: datetime,
    max_question_overlap: float = 0.7,
) -> list[Verdict]:
    """Return a drop for each train pair that shares too much with one held out.

    Containment is the share of the answer's word 5-grams that stand in one test answer; a single
    shared run of `run` words is enough as well (13, the length used by GPT-3 for contamination),
    and so is a question that is nearly the same: its character 5-grams overlap (Jaccard) by
    `max_question_overlap`, above 1 by none.
    """
    fives: dict[int, dict[str, None]] = defaultdict(dict)  # ordered, so that ties are too
    runs: dict[int, str] = {}
    for pair in test:
        found = words(pair.answer)
        for gram in grams(found, 5):
            fives[gram][pair.id] = None
        for gram in grams(found, run):
            runs.setdefault(gram, pair.id)
    compared = test if max_question_overlap <= 1 else ()
    asked = [(pair.id, _shingles(pair.question)) for pair in compared]
    verdicts: list[Verdict] = []
    for pair in train:
        found = words(pair.answer)
        culprit = next((runs[g] for g in grams(found, run) if g in runs), None)
        culprit = culprit or _same_question(pair.question, asked, max_question_overlap)
        own = list(grams(found, 5))
        counts = Counter(other for gram in own for other in fives.get(gram, ()))
        closest, hits = counts.most_common(1)[0] if counts else (None, 0)
        share = hits / len(own) if own else 0.0
        if culprit is not None or share >= max_containment:
            verdicts.append(_overlap(pair, culprit or closest, share, now))
    return verdicts


def _shingles(question: str, n: int = 5) -> frozenset[str]:
    """Return the character 5-grams of a question of five words or more, else nothing.

    "Go on." and "Why was that?" are asked in every episode and give nothing away.
    """
    text = normalise(question)
    if count_words(question) < 5:
        return frozenset()
    return frozenset(text[i : i + n] for i in range(len(text) - n + 1))


def _same_question(
    question: str, asked: Sequence[tuple[str, frozenset[str]]], least: float
) -> str | None:
    """Return the held-out pair whose question is nearly this one."""
    if not asked:
        return None
    own = _shingles(question)
    if not own:
        return None
    for pair_id, other in asked:
        shared = len(own & other)
        if shared and shared >= least * (len(own) + len(other) - shared):
            return pair_id
    return None


def grams(found: Sequence[str], n: int) -> Iterable[int]:
    """Return the hashes of all runs of `n` words; they hold within one process alone."""
    return (hash(tuple(found[i : i + n])) for i in range(len(found) - n + 1))


def _overlap(pair: Pair, other: str | None, share: float, now: datetime) -> Verdict:
    return Verdict(
        subject_id=pair.id,
        subject="pairs",
        rule="test_overlap",
        keep=False,
        score=round(share, 3),
        reason="it is too close to a held-out exchange, which would flatter the test",
        beaten_by=other,
        created_at=now,
        next_step="nothing: the held-out answer is kept",
    )

"""Divide pairs into train, validation and test, and drop what is too close to a held-out pair.

Whole chapters, episodes and conversations are held out. The work is done in SQL
(data/store/queries/split_*.sql and purge_*.sql).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import get_args

from pydantic import BaseModel, ConfigDict, Field

from memoirist.data.schema.records import Fault, GroupSplit, Pair, Split, Verdict
from memoirist.data.store.transaction import Transaction

# Of two pairs that are too close, the one of the later split is dropped.
_RANKS: tuple[Split, ...] = ("test", "validation", "train")
# Of the 5-grams that two close texts share, so many are looked for among the rarest ones: all
# questions have the common runs of letters, while words are rare enough.
_RAREST = {"answer": 1, "question": 6}
# The settings that decide about new groups alone.
_SHARES = {"test_share", "validation_share", "hold_out_source", "max_source_share"}


class SplitSettings(BaseModel):
    """Which pairs are held out, and how close to them another pair may be."""

    model_config = ConfigDict(extra="forbid")

    test_share: float = Field(
        0.10, ge=0, lt=0.5, description="Share of pairs held out for testing."
    )
    validation_share: float = Field(
        0.05, ge=0, lt=0.5, description="Share of pairs held out to decide when training stops."
    )
    hold_out_source: bool = Field(
        default=True,
        description="With three or more sources, hold out one small source as a whole.",
    )
    max_source_share: float = Field(
        0.15,
        gt=0,
        lt=1,
        description="Largest share of the pairs that a source held out as a whole may have.",
    )
    gap_pairs: int = Field(
        2,
        ge=0,
        description="Where no whole chapter or episode fits validation or test, they are taken from"
        " the end of one; this many answers before each are left out.",
    )
    min_cut_pairs: int = Field(
        20, ge=8, description="A chapter or an episode with fewer answers is never divided."
    )
    max_containment: float = Field(
        0.5,
        gt=0,
        le=1,
        description="A pair is dropped if a held-out answer contains this share of its answer (runs"
        " of 5 words). Train pairs yield to validation and test pairs, validation to test pairs.",
    )
    max_shared_run: int = Field(
        13,
        ge=5,
        description="A pair is also dropped if it shares this many words in a row with a held-out"
        " answer.",
    )
    max_question_overlap: float = Field(
        0.7,
        gt=0,
        description="A pair is also dropped if its question is this similar to a held-out question"
        " (Jaccard of character 5-grams); above 1: never.",
    )
    seed: int = Field(42, description="Seed for the choice of what is held out.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """The pairs of each split, the splits to remember, and the verdicts on pairs left out.

    `summary` says in a line how it was done.
    """

    pairs: Mapping[Split, Sequence[Pair]]
    groups: Sequence[GroupSplit]
    verdicts: Sequence[Verdict]
    summary: str

    @property
    def held_out(self) -> dict[Split, Sequence[Pair]]:
        """Return the pairs that are not trained on."""
        return {split: pairs for split, pairs in self.pairs.items() if split != "train"}


def divide(
    tx: Transaction, pairs: Sequence[Pair], settings: SplitSettings, now: datetime
) -> Division:
    """Return the split of every pair; what an earlier version held out stays held out.

    Within each source, whole groups are held out; groups that share near duplicates stay together.
    Where no whole group fits a split, it is cut from the end of a long one, with a gap before it.
    Then train is purged against validation and test, and validation against test.
    """
    names = ("id", "source_id", "group_id", "passage_id", "origin", "ord")
    tx.temporary("picked", {name: [str(getattr(p, name)) for p in pairs] for name in names})
    tx.run("split_groups", {**settings.model_dump(), "seed": str(settings.seed)})
    tx.run("split_stretches", _missing(tx, len(pairs), settings))
    split_of: dict[str, str] = dict(tx.fetch("SELECT id, split FROM divided"))
    by_split: dict[Split, list[Pair]] = {
        split: [pair for pair in pairs if split_of[pair.id] == split] for split in get_args(Split)
    }
    gaps = [_gap().verdict("pairs", p.id, now) for p in pairs if split_of[p.id] == "gap"]
    left, verdicts = purge(tx, by_split, settings, now)
    groups = tx.fetch("SELECT group_id, source_id, split FROM assigned ORDER BY group_id")
    return Division(
        pairs=left,
        groups=[GroupSplit(group_id=g, source_id=s, split=split) for g, s, split in groups],
        verdicts=[*gaps, *verdicts],
        summary=_summary(tx, settings),
    )


def _missing(tx: Transaction, n_pairs: int, settings: SplitSettings) -> dict[str, object]:
    """Return how many passages to cut for the splits that no whole group fits."""
    found = {split for (split,) in tx.fetch("SELECT DISTINCT split FROM assigned")}
    found |= {
        split
        for (split,) in tx.fetch(
            "SELECT DISTINCT k.split FROM picked JOIN known k USING (passage_id)"
        )
    }
    shares = {"test": settings.test_share, "validation": settings.validation_share}
    wanted = {
        f"n_{split}": max(1, round(share * n_pairs)) if share and split not in found else 0
        for split, share in shares.items()
    }
    return {**wanted, "gap": settings.gap_pairs, "least": settings.min_cut_pairs}


def _gap() -> Fault:
    return Fault(
        "split_gap",
        "it lies between the train and the held-out part of the same chapter or episode",
        "lower compose.gap_pairs, 0 for none",
    )


def _summary(tx: Transaction, settings: SplitSettings) -> str:
    """Return a line that says how the pairs were divided."""
    cut = tx.fetch(
        "SELECT p.split, p.n, coalesce(s.title, s.location, g.source_id), g.n_passages"
        " FROM stretches p JOIN assigned g USING (group_id)"
        " LEFT JOIN sources s ON s.id = g.source_id ORDER BY p.split"
    )
    if cut:
        parts = [f"{split} is {n} answers from the end of {title!r}" for split, n, title, _ in cut]
        return (
            f"no whole chapter or episode fits, so {' and '.join(parts)};"
            f" answers left out before each: {settings.gap_pairs}"
        )
    counts: dict[str, int] = dict(
        tx.fetch("SELECT split, count(*)::INTEGER FROM assigned GROUP BY split")
    )
    if not counts.keys() & {"test", "validation", "cut"}:
        if not settings.test_share and not settings.validation_share:
            return "nothing is held out: compose.test_share and validation_share are 0"
        return (
            "nothing is held out, so training cannot stop early and the model cannot be evaluated:"
            f" this needs a chapter or an episode of {settings.min_cut_pairs} answers"
            " (compose.min_cut_pairs)" + _changed(tx, settings)
        )
    whole = tx.fetch(
        "SELECT coalesce(s.title, s.location) FROM whole JOIN sources s ON s.id = source_id"
    )
    groups = [f"{counts[split]:,} {split}" for split in get_args(Split) if split in counts]
    return (
        f"whole groups (chapters, episodes, rows): {', '.join(groups) or 'none'}"
        + (f", {counts['cut']} divided" if "cut" in counts else "")
        + (f"; {whole[0][0]!r} is held out for testing as a whole" if whole else "")
        + _changed(tx, settings)
    )


def _changed(tx: Transaction, settings: SplitSettings) -> str:
    """Return a clause on the shares that differ from the newest version's: they touch little."""
    newest = tx.fetch("SELECT recipe FROM datasets ORDER BY used_at DESC LIMIT 1")
    before = json.loads((newest and newest[0][0]) or "{}").get("compose", {})
    values = settings.model_dump(include=_SHARES)
    names = [key for key, value in values.items() if before.get(key, value) != value]
    if not names:
        return ""
    return (
        f"; changed: compose.{', compose.'.join(names)}; this divides new pairs only, the others"
        " keep the split of earlier versions"
    )


def purge(
    tx: Transaction,
    by_split: Mapping[Split, Sequence[Pair]],
    settings: SplitSettings,
    now: datetime,
) -> tuple[dict[Split, list[Pair]], list[Verdict]]:
    """Return the pairs that share little with a pair of an earlier split, and drops of the others.

    Train gives way to validation and test, validation to test. An answer drops with a run of
    `max_shared_run` words (13 is GPT-3's length for contamination) or the share `max_containment`
    of its 5-grams in one held-out answer, a question with the Jaccard similarity
    `max_question_overlap`; above 1 none does.
    """
    rows = [(rank, pair) for rank, name in enumerate(_RANKS) for pair in by_split.get(name, ())]
    columns = {
        "id": [pair.id for _, pair in rows],
        "rank": [str(rank) for rank, _ in rows],
        "question": [pair.question for _, pair in rows],
        "answer": [pair.answer for _, pair in rows],
    }
    tx.temporary("compared", columns)
    limits = settings.model_dump()
    tx.run("purge_texts", limits)
    least = {"answer": settings.max_containment, "question": settings.max_question_overlap}
    for rank in (1, 2):
        tx.run("purge_runs", {**limits, "rank": rank})
        for part, n_rare in _RAREST.items():
            values = {"rank": rank, "part": part, "n_rare": n_rare, "least": least[part]}
            tx.run("purge_near", values)
    dropped = {
        pair_id: _overlap(_RANKS[int(rank)], measure, similarity, other_id)
        for pair_id, rank, measure, similarity, other_id in tx.fetch(
            "SELECT c.id, o.rank, measure, similarity, o.id FROM purged p"
            " JOIN compared c ON c.rowid = p.key JOIN compared o ON o.rowid = p.other"
        )
    }
    left = {name: [p for p in pairs if p.id not in dropped] for name, pairs in by_split.items()}
    return left, [
        dropped[pair.id].verdict("pairs", pair.id, now) for _, pair in rows if pair.id in dropped
    ]


_MEASURES = {
    "run": "its answer shares {0:.0f} words in a row with",
    "answer": "{0:.0%} of its answer is also in",
    "question": "its question is {0:.0%} the same as that of",
}


def _overlap(split: Split, measure: str, similarity: float, other_id: str) -> Fault:
    """Return why a pair drops that is too close to the pair `other_id` of a held-out split."""
    return Fault(
        f"{split}_overlap",
        f"{_MEASURES[measure].format(similarity)} a pair held out for {split}, whose results it"
        " would make too good",
        "nothing: the held-out pair is kept",
        None if measure == "run" else similarity,
        other_id,
    )

"""Join the pairs of neighbouring passages into conversations that go on by follow-up questions."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from memoirist.data.schema.records import Pair
from memoirist.data.text.words import count_words


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUp:
    """How a pair is asked where it goes on from the pair `before_id`."""

    pair_id: str
    before_id: str
    question: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far conversations go on: in how many exchanges and words at most."""

    turns: int
    max_words: int


def neighbours(
    pairs: Iterable[Pair], places: Mapping[str, int], share: float, seed: int, reach: Reach
) -> list[tuple[Pair, Pair]]:
    """Return the pairs that may be joined, each with the one that goes on from it, in order.

    They are of prose, of one chapter, and of passages with nothing between them; `places` gives a
    passage's place in its document. A seeded draw on the later passage takes the share, so that
    what is added or removed elsewhere changes nothing. The second of two may be the first of the
    next two, as far as the conversation reaches.
    """
    prose = [pair for pair in pairs if pair.thread_id == pair.passage_id]
    ordered = sorted(prose, key=lambda p: (p.source_id, p.group_id, places[p.passage_id]))
    found: list[tuple[Pair, Pair]] = []
    turns, length = 1, _length(ordered[0]) if ordered else 0
    for first, later in zip(ordered, ordered[1:], strict=False):  # noqa: RUF007 - both are named
        beside = (
            first.group_id == later.group_id
            and first.source_id == later.source_id
            and places[later.passage_id] == places[first.passage_id] + 1
        )
        drawn = random.Random(f"follow {seed} {later.passage_id}").random() < share
        turns, length = turns + 1, length + _length(later)
        if beside and drawn and turns <= reach.turns and length <= reach.max_words:
            found.append((first, later))
        else:
            turns, length = 1, _length(later)
    return found


def _length(pair: Pair) -> int:
    return count_words(pair.question) + count_words(pair.answer)


def joined(pairs: Sequence[Pair], follow_ups: Mapping[str, FollowUp], reach: Reach) -> list[Pair]:
    """Return the pairs, those with a follow-up in the thread of the pair before them.

    A pair whose predecessor is not here, or with which a conversation would go beyond its reach,
    keeps its own question and begins a thread of its own.
    """
    here = {pair.id: pair for pair in pairs}
    placed: dict[str, tuple[Pair, int]] = {}

    def place(pair: Pair) -> tuple[Pair, int]:
        """Return a pair where it stands, and the words of its thread up to there."""
        if pair.id not in placed:
            placed[pair.id] = _follow(pair)
        return placed[pair.id]

    def _follow(pair: Pair) -> tuple[Pair, int]:
        follow_up = follow_ups.get(pair.id)
        before = here.get(follow_up.before_id) if follow_up else None
        if follow_up is None or before is None:
            return pair, _length(pair)
        first, length = place(before)
        later = replace(
            pair, question=follow_up.question, thread_id=first.thread_id, ord=first.ord + 1
        )
        length += _length(later)
        if later.ord >= reach.turns or length > reach.max_words:
            return pair, _length(pair)
        return later, length

    return [place(pair)[0] for pair in pairs]

"""Join the pairs of neighbouring passages into conversations that go on by a follow-up question."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from data.nouns import Pair
from data.text import count_words


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUp:
    """How a pair is asked where it goes on from the pair `before_id`."""

    pair_id: str
    before_id: str
    question: str


def neighbours(
    pairs: Iterable[Pair], places: Mapping[str, int], share: float, seed: int
) -> list[tuple[Pair, Pair]]:
    """Return the pairs that may be joined, each with the one that goes on from it.

    They are of prose, of one chapter, and of passages with nothing between them; `places` gives a
    passage's place in its document. A seeded draw on the later passage takes the share, so that
    what is added or removed elsewhere changes nothing. No pair stands in two of them.
    """
    prose = [pair for pair in pairs if pair.thread_id == pair.passage_id]
    ordered = sorted(prose, key=lambda p: (p.source_id, p.group_id, places[p.passage_id]))
    found: list[tuple[Pair, Pair]] = []
    taken: set[str] = set()
    for first, later in zip(ordered, ordered[1:], strict=False):  # noqa: RUF007 - both are named
        beside = (
            first.group_id == later.group_id
            and first.source_id == later.source_id
            and places[later.passage_id] == places[first.passage_id] + 1
        )
        drawn = random.Random(f"follow {seed} {later.passage_id}").random() < share
        if beside and drawn and first.id not in taken:
            found.append((first, later))
            taken.add(later.id)
    return found


def joined(pairs: Sequence[Pair], follow_ups: Mapping[str, FollowUp], max_words: int) -> list[Pair]:
    """Return the pairs, those with a follow-up in the thread of the pair before them.

    A pair whose predecessor is not here, or with which a conversation would have more than
    `max_words` words, keeps its own question and stands alone.
    """
    here = {pair.id: pair for pair in pairs}
    return [_follow(pair, follow_ups.get(pair.id), here, max_words) for pair in pairs]


def _follow(
    pair: Pair, follow_up: FollowUp | None, here: Mapping[str, Pair], max_words: int
) -> Pair:
    before = here.get(follow_up.before_id) if follow_up else None
    if follow_up is None or before is None:
        return pair
    texts = (before.question, before.answer, follow_up.question, pair.answer)
    if sum(map(count_words, texts)) > max_words:
        return pair
    return replace(
        pair, question=follow_up.question, thread_id=before.thread_id, ord=before.ord + 1
    )

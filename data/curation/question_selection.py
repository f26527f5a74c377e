"""Choose, over all that came back, which questions are asked: the best ones, well mixed.

Lengths are brought near the shares that are wanted, then openings are capped.

It is done in SQL over the candidates, each judged when it arrived. Ties fall by the seed and the
candidates' own ids, so the order in which replies came changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from memoirist.data.store.transaction import Transaction

_MOST_ROUNDS = 64
# The score of a question loses .15 for each class of length that it is away from its passage's
# wish: to set the mix right, one of equal worth may come from the other end.
_MOST_LOSS = 0.3
# Two questions in a small set may open alike: a share of a dozen is none.
_LEAST_CAP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How questions are chosen.

    `second_share` of the passages, at most, get a second one; one opening pair of words has at
    most `opener_share` of all (QUALITY.md: .20 and .08). `length_shares` are those of short,
    middle and long ones.
    """

    seed: int
    second_share: float
    opener_share: float
    length_shares: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What was chosen: questions, second ones among them, and the commonest opening's share.

    `lengths` counts the short, the middle and the long ones.
    """

    questions: int
    seconds: int
    opener: str
    opener_share: float
    lengths: tuple[int, int, int]


def choose(
    tx: Transaction, wanted: Mapping[str, Sequence[object]], choice: Choice, now: datetime
) -> Chosen:
    """Write the questions and the verdicts of step `ask` for the passages that are wanted.

    `wanted` has the columns passage_id, key, passage_hash and source_id. An opening above its
    share gives way where its passage has another question; where it has none, it stays.
    """
    tx.temporary("wanted", wanted)
    tx.run("choose_begin", {"seed": str(choice.seed)})
    n_passages = _count(tx, "chosen")
    cap = max(_LEAST_CAP, int(n_passages * choice.opener_share))
    short, middle, long = choice.length_shares
    wanted_lengths = {"short": short, "middle": middle, "long": long, "most_loss": _MOST_LOSS}
    for name, values in (("choose_length", wanted_lengths), ("choose_move", {"cap": cap})):
        for _ in range(_MOST_ROUNDS):
            tx.run(name, values)
            if not _count(tx, "moves"):
                break
    tx.run("choose_second", {"cap": cap, "most": int(n_passages * choice.second_share)})
    tx.run("choose_end", {"now": now})
    ((n, seconds, *lengths),) = tx.fetch(
        "SELECT count(*), count(*) FILTER (nth = 2), count(*) FILTER (length_class = 1),"
        " count(*) FILTER (length_class = 2), count(*) FILTER (length_class = 3)"
        " FROM taken t JOIN candidates c ON c.id = t.candidate_id AND c.key = t.key"
    )
    openers = tx.fetch(
        "SELECT c.opener, count(*) AS n FROM taken t JOIN candidates c ON c.id = t.candidate_id"
        " AND c.key = t.key GROUP BY c.opener ORDER BY n DESC, c.opener LIMIT 1"
    )
    opener, most = openers[0] if openers else ("", 0)
    return Chosen(
        questions=n,
        seconds=seconds,
        opener=opener,
        opener_share=most / max(1, n),
        lengths=(lengths[0], lengths[1], lengths[2]),
    )


def _count(tx: Transaction, table: str) -> int:
    return int(tx.fetch(f"SELECT count(*) FROM {table}")[0][0])

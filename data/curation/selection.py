"""Select the pairs of a dataset version and the questions of passages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from memoirist.data.schema.records import Pair
from memoirist.data.store.store import Store
from memoirist.data.store.transaction import Transaction, statement

_OWN = "NOT mixed AND NOT train_only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many pairs a dataset takes, and how many of one group (chapter, episode) among them."""

    pairs: int
    of_group: int
    seed: int


def count_kept(store: Store) -> int:
    """Return the number of kept pairs that are the persona's own."""
    return int(store.value(f"{statement('kept_pairs')} SELECT count(*) FROM kept WHERE {_OWN}"))


def best(store: Store, limits: Limits) -> list[Pair]:
    """Return the persona's kept pairs in order, within the limits.

    Whole threads are taken, the best scores first and equal ones by a seeded hash, with a limit for
    each group; of a thread longer than the dataset may be, the beginning.
    """
    if count_kept(store) <= limits.pairs:
        return _pairs(store, _OWN, [])
    sql = f"{statement('kept_pairs')}, {statement('select_best')} SELECT id FROM selected"
    values = {"seed": str(limits.seed), "of_group": limits.of_group, "most": limits.pairs}
    ids = [row["id"] for row in store.rows(sql, values)]
    return _pairs(store, "id IN (SELECT unnest($ids::VARCHAR[]))", ids)


def mixed(store: Store, shares: Mapping[str, float], own: int, seed: int) -> list[Pair]:
    """Return, of each mixed-in source, the number of conversations that gives its share of all.

    `own` counts the persona's own train conversations: with shares that sum to s, all of them are
    own / (1 - s). A seeded hash makes the choice stable from run to run.
    """
    total = own / (1 - sum(shares.values())) if shares else 0.0
    pairs: list[Pair] = []
    for source_id, share in shares.items():
        ids = store.rows(
            f"{statement('kept_pairs')} SELECT thread_id FROM kept"
            " WHERE mixed AND source_id = $source GROUP BY thread_id"
            " ORDER BY md5(thread_id || $seed) LIMIT $n",
            {"source": source_id, "seed": str(seed), "n": round(share * total)},
        )
        chosen = [row["thread_id"] for row in ids]
        pairs += _pairs(store, "mixed AND list_contains($ids, thread_id)", chosen)
    return pairs


def saved(store: Store) -> list[Pair]:
    """Return the pairs that the user saved in talks."""
    return [p for p in _pairs(store, "train_only", []) if p.origin == "curated"]


def _pairs(store: Store, where: str, ids: Sequence[str]) -> list[Pair]:
    names = "id, source_id, passage_id, question_id, group_id, thread_id, ord, system, question,"
    rows = store.rows(
        f"{statement('kept_pairs')} SELECT {names} answer, origin, score, tool_turns FROM own_pairs"
        f" WHERE id IN (SELECT id FROM kept WHERE {where}) ORDER BY thread_id, ord, id",
        {"ids": list(ids)} if "$ids" in where else None,
    )
    return [Pair(**row) for row in rows]


def drop_unselected(tx: Transaction, dataset_id: str, values: Mapping[str, object]) -> None:
    """Add a verdict to every kept pair that the dataset version does not take."""
    tx.run("not_selected", {"dataset": dataset_id, **values})


_MOST_ROUNDS = 64
# A question's score loses .15 for each length class away from the length that its passage asks for;
# a choice for the right mix may cost two classes.
_MOST_LOSS = 0.3
# In a small set two questions may always have the same opening.
_LEAST_CAP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The limits of choosing questions.

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
    """The numbers of chosen questions and second ones, and the share of the most common opening.

    `lengths` counts the short, the middle and the long ones.
    """

    questions: int
    seconds: int
    opener: str
    opener_share: float
    lengths: tuple[int, int, int]


def choose(
    tx: Transaction, passages: Mapping[str, Sequence[object]], choice: Choice, now: datetime
) -> Chosen:
    """Write the questions and the verdicts of step `ask` for the passages.

    `passages` has the columns passage_id, key, passage_hash and source_id. A question whose opening
    is above its share is replaced where its passage has another one.
    """
    tx.temporary("wanted", passages)
    tx.run("choose_begin", {"seed": str(choice.seed)})
    n_passages = _count(tx, "chosen")
    cap = max(_LEAST_CAP, int(n_passages * choice.opener_share))
    short, middle, long = choice.length_shares
    length_mix = {"short": short, "middle": middle, "long": long, "most_loss": _MOST_LOSS}
    for name, values in (("choose_length", length_mix), ("choose_move", {"cap": cap})):
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

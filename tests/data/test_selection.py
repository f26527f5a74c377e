"""Select the best pairs within the limits of a dataset."""

from __future__ import annotations

from pathlib import Path

import pytest

from memoirist.data.curation import selection
from memoirist.data.curation.selection import Limits
from memoirist.data.schema.records import Pair
from tests.support.rows import pair, source
from tests.support.stores import empty_store

EPISODES = {"long": range(60), "short": range(100, 110)}


def episode(name: str) -> list[Pair]:
    return [pair(n, thread_id=name, group_id=name, ord=n, origin="spoken") for n in EPISODES[name]]


@pytest.mark.parametrize(
    ("episodes", "most", "taken"),
    [
        (["long", "short"], 70, [*EPISODES["long"], *EPISODES["short"]]),
        (["long", "short"], 69, EPISODES["long"]),
        (["long", "short"], 40, range(40)),
        (["long", "short"], 6, range(6)),
        (["long"], 40, range(40)),
        ([], 40, []),
    ],
)
def test_whole_episodes_are_taken_and_of_a_longer_one_the_beginning(
    tmp_path: Path, episodes: list[str], most: int, taken: range | list[int]
) -> None:
    store = empty_store(tmp_path / "memoirist.duckdb")
    with store.writing() as tx:
        tx.upsert([source()])
        tx.upsert([each for name in episodes for each in episode(name)])
    limits = Limits(pairs=most, of_group=500, seed=5)
    assert [each.ord for each in selection.best(store, limits)] == list(taken)

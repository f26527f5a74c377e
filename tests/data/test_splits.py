"""Divide pairs into splits by whole groups or by stretches of one, and purge them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from memoirist.data.composition.splits import Division, SplitSettings, divide, purge
from memoirist.data.curation.duplicates import DuplicateSettings, drop_pairs
from memoirist.data.schema.records import Conversation, Dataset, Pair
from memoirist.data.store.store import Store
from tests.support.rows import NOW, pair, prose, source
from tests.support.stores import empty_store

SETTINGS = SplitSettings.model_validate({})
VOCABULARY = [f"{a}{b}" for a in "bcdfgklmnprst" for b in ("oro", "una", "ile", "ant", "esk")]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return empty_store(tmp_path / "memoirist.duckdb")


def words(seed: str, n: int = 30) -> str:
    return " ".join(random.Random(seed).choices(VOCABULARY, k=n))


def told(n: int, **extra: object) -> Pair:
    """Return a pair that has no five words in common with that of any other number."""
    values = {"question": f"{words(f'q{n}', 9)}?", "answer": words(f"a{n}"), "ord": n, **extra}
    return pair(n, **values)


def episode(name: str, numbers: Sequence[int]) -> list[Pair]:
    return [told(n, source_id=name, group_id=name, origin="spoken") for n in numbers]


def divided(store: Store, pairs: Sequence[Pair], **settings: object) -> Division:
    """Divide the pairs, and remember it as a dataset version does."""
    chosen = SplitSettings.model_validate(settings)
    with store.writing() as tx:
        division = divide(tx, pairs, chosen, NOW)
        tx.upsert(division.groups)
        tx.upsert(pairs)
        ((n,),) = tx.fetch("SELECT count(*) FROM datasets")
        version, day = f"d{n}", NOW + timedelta(days=n)
        counts = dict.fromkeys(("n_train", "n_validation", "n_test"), 0)
        tx.upsert([Dataset(id=version, created_at=day, used_at=day, **counts)])
        tx.upsert(
            [
                Conversation(
                    id=p.id,
                    dataset_id=version,
                    split=split,
                    pair_ids=[p.id],
                    messages=[],
                    n_tokens=1,
                )
                for split, members in division.pairs.items()
                for p in members
            ]
        )
    return division


def split_of(division: Division) -> dict[str, str]:
    """Return the split of each group, or of each pair of a group that has several."""
    found: dict[str, set[str]] = {}
    for split, pairs in division.pairs.items():
        for each in pairs:
            found.setdefault(each.group_id, set()).add(split)
    assert all(len(splits) == 1 for splits in found.values())
    return {group: next(iter(splits)) for group, splits in found.items()}


def sizes(division: Division) -> tuple[int, int, int]:
    train, validation, test = (len(division.pairs[s]) for s in ("train", "validation", "test"))
    return train, validation, test


def test_whole_groups_are_held_out(store: Store) -> None:
    pairs = [told(n) for n in range(200)]
    division = divided(store, pairs)
    splits = split_of(division)
    assert sum(sizes(division)) == 200
    assert 20 <= sizes(division)[2] <= 30
    assert 10 <= sizes(division)[1] <= 20
    counts = {
        split: list(splits.values()).count(split) for split in ("train", "validation", "test")
    }
    assert division.summary == (
        f"whole groups (chapters, episodes, rows): {counts['train']} train,"
        f" {counts['validation']} validation, {counts['test']} test"
    )


def test_nothing_is_divided_into_nothing(store: Store) -> None:
    assert sizes(divided(store, [])) == (0, 0, 0)
    assert divided(store, []).verdicts == []


def test_a_group_keeps_its_split_when_others_come(store: Store) -> None:
    pairs = [told(n) for n in range(80)]
    before = split_of(divided(store, pairs))
    assert set(before.values()) == {"train", "validation", "test"}
    for new in (range(100, 180), range(200, 400)):
        pairs += [told(n, source_id=str(new), group_id=f"{new} {n // 4}") for n in new]
        after = split_of(divided(store, pairs))
        assert {group: after[group] for group in before} == before
        before = after


def test_what_was_test_stays_test_in_a_group_of_another_name(store: Store) -> None:
    pairs = [told(n) for n in range(80)]
    before = split_of(divided(store, pairs))
    renamed = [told(n, group_id=f"new {n // 4}") for n in range(80)]
    after = split_of(divided(store, renamed))
    assert {f"new {group[1:]}": split for group, split in before.items()} == after
    # Cut otherwise, chapters mix what was held out with what was not.
    longer = [told(n, group_id=f"long {n // 40}") for n in range(80)]
    division = divided(store, longer)
    held = {n for n in range(80) if before[f"g{n // 4}"] == "test"}
    assert {told(n).id for n in held} <= {p.id for p in division.pairs["test"]}


@pytest.mark.parametrize("n", [1, 2, 3, 19])
def test_very_few_answers_all_train_and_that_is_said(store: Store, n: int) -> None:
    division = divided(store, episode("one", range(n)))
    assert sizes(division) == (n, 0, 0)
    assert "nothing is held out" in division.summary
    assert "min_cut_pairs" in division.summary


def test_one_episode_is_cut_at_its_end_with_gaps(store: Store) -> None:
    talk = episode("one", range(60))
    division = divided(store, talk)
    numbers = {split: [p.ord for p in pairs] for split, pairs in division.pairs.items()}
    assert numbers["test"] == list(range(54, 60))
    assert numbers["validation"] == list(range(49, 52))
    assert numbers["train"] == list(range(47))
    assert [(v.rule, v.subject_id) for v in division.verdicts] == [
        ("split_gap", talk[n].id) for n in (47, 48, 52, 53)
    ]
    assert division.summary == (
        "no whole chapter or episode fits, so test is 6 answers from the end of 'one' and"
        " validation is 3 answers from the end of 'one'; answers left out before each: 2"
    )
    # The second time nothing is cut anew, and what is new belongs to what stands beside it.
    assert split_parts(divided(store, talk)) == split_parts(division)
    more = [*talk, told(100, source_id="one", group_id="one", ord=57), *episode("one", (60, 61))]
    more += [told(101, source_id="one", group_id="one", ord=20)]
    later = divided(store, more)
    assert later.summary == "whole groups (chapters, episodes, rows): none, 1 divided"
    again = split_parts(later)
    assert again["test"] == {*split_parts(division)["test"], told(100).id, told(60).id, told(61).id}
    assert again["train"] == {*split_parts(division)["train"], told(101).id}


def test_an_episode_that_was_all_trained_on_is_cut_later(store: Store) -> None:
    talk = episode("one", range(60))
    divided(store, talk, test_share=0, validation_share=0)
    division = divided(store, talk)
    assert sizes(division) == (47, 3, 6)
    assert split_parts(divided(store, talk)) == split_parts(division)


def split_parts(division: Division) -> dict[str, set[str]]:
    return {split: {p.id for p in pairs} for split, pairs in division.pairs.items()}


def test_two_episodes_are_cut_one_for_each_split(store: Store) -> None:
    division = divided(store, [*episode("one", range(40)), *episode("two", range(50, 80))])
    assert {p.group_id for p in division.pairs["test"]} == {"one"}
    assert {p.group_id for p in division.pairs["validation"]} == {"two"}
    assert sizes(division) == (40 - 7 - 2 + 30 - 4 - 2, 4, 7)
    # Episodes that come later change nothing of it.
    more = [p for n in range(4) for p in episode(f"more {n}", range(100 + n * 30, 120 + n * 30))]
    later = divided(store, [*division_pairs(division), *more])
    for split in ("test", "validation"):
        assert split_parts(division)[split] <= split_parts(later)[split]


def division_pairs(division: Division) -> list[Pair]:
    return [pair for pairs in division.pairs.values() for pair in pairs]


def test_many_episodes_are_held_out_whole(store: Store) -> None:
    pairs = [p for n in range(12) for p in episode(f"e{n}", range(n * 10, n * 10 + 10))]
    splits = split_of(divided(store, pairs))
    assert sorted(splits.values()).count("test") == 2
    assert sorted(splits.values()).count("validation") == 1


def test_shares_of_nothing_hold_nothing_out(store: Store) -> None:
    none = {"test_share": 0, "validation_share": 0}
    division = divided(store, episode("one", range(60)), **none)
    assert sizes(division) == (60, 0, 0)
    assert division.summary == (
        "nothing is held out: compose.test_share and validation_share are 0"
    )


def test_one_small_source_of_three_is_held_out_whole_but_never_a_trained_one(
    store: Store,
) -> None:
    book, second = [told(n) for n in range(60)], range(100, 140)
    pairs = [*book, *(told(n, source_id="second", group_id=f"s{n}") for n in second)]
    third = [told(n, source_id=source(number=3).id, group_id=f"t{n}") for n in range(200, 210)]
    with store.writing() as tx:
        tx.upsert([source(number=3)])
    division = divided(store, [*pairs, *third])
    assert {p.id for p in third} <= split_parts(division)["test"]
    assert division.summary.endswith("; 'Book 3' is held out for testing as a whole")
    # Another small source does not join it.
    fourth = [told(n, source_id="fourth", group_id=f"f{n}") for n in range(300, 304)]
    splits = split_of(divided(store, [*pairs, *third, *fourth]))
    assert {splits[p.group_id] for p in fourth} != {"test"}


def test_a_source_that_was_trained_on_is_not_held_out(store: Store) -> None:
    third = [told(n, source_id="third", group_id=f"t{n}") for n in range(200, 210)]
    divided(store, third, test_share=0, validation_share=0)
    rest = [told(n) for n in range(60)]
    rest += [told(n, source_id="second", group_id=f"s{n}") for n in range(100, 140)]
    splits = split_of(divided(store, [*rest, *third]))
    assert {splits[p.group_id] for p in third} == {"train"}


def test_groups_with_near_duplicates_stay_together(store: Store) -> None:
    pairs = [told(n) for n in range(200)]
    with store.writing() as tx:
        for first in range(0, 200, 20):  # five groups in a chain
            for n in range(first, first + 16, 4):
                for member in (pairs[n], pairs[n + 4]):
                    tx.execute(
                        "INSERT INTO duplicates BY NAME SELECT 'pairs' AS subject,"
                        " ? AS subject_id, 'answers' AS part, ? AS cluster",
                        [member.id, f"c{n}"],
                    )
    splits = split_of(divided(store, pairs))
    assert set(splits.values()) == {"train", "validation", "test"}
    for first in range(0, 50, 5):
        assert len({splits[f"g{n}"] for n in range(first, first + 5)}) == 1


@pytest.mark.parametrize("known", [False, True])
def test_a_question_that_hosts_repeat_joins_no_episodes(store: Store, *, known: bool) -> None:
    book, again = source(), "What happened after that?"
    told_again = {n: {"question": again} if n % 10 == 3 else {} for n in range(120)}
    of = {n: {"source_id": book.id, "group_id": f"e{n // 10}"} for n in range(120)}
    pairs = [told(n, origin="spoken", **of[n], **told_again[n]) for n in range(120)]
    before = split_of(divided(store, pairs)) if known else {}
    # With a written pair all questions are compared.
    written = told(999, source_id=book.id, group_id="new", origin="template")
    with store.writing() as tx:
        tx.upsert([book])
        tx.upsert([*pairs, written])
        drop_pairs(tx, DuplicateSettings.model_validate({}), NOW)
        assert tx.fetch("SELECT DISTINCT part FROM duplicates") == [("questions",)]
    after = split_of(divided(store, [*pairs, written]))
    assert set(after.values()) == {"train", "validation", "test"}
    assert before == {group: after[group] for group in before}


def purged(
    store: Store, **by_split: list[Pair]
) -> tuple[dict[str, set[str]], list[tuple[str, ...]]]:
    with store.writing() as tx:
        left, verdicts = purge(tx, by_split, SETTINGS, NOW)  # type: ignore[arg-type]
    parts = {split: {p.id for p in pairs} for split, pairs in left.items()}
    return parts, [(v.subject_id, v.rule, v.beaten_by or "") for v in verdicts]


def test_train_gives_way_to_validation_and_test_and_validation_to_test(store: Store) -> None:
    shared = prose(1)
    test = [told(0, answer=shared)]
    validation = [told(1, answer=f"{shared} And more."), told(2)]
    train = [
        told(3, answer=f"Well. {shared}"),
        told(
            4,
            answer=" ".join(
                w + "x" if n % 14 == 8 else w for n, w in enumerate(words("a2").split())
            ),
        ),
        told(5),
    ]
    left, verdicts = purged(store, test=test, validation=validation, train=train)
    assert left["train"] == {told(5).id}
    assert left["validation"] == {told(2).id}
    assert verdicts == [
        (told(1).id, "test_overlap", told(0).id),
        (told(3).id, "test_overlap", told(0).id),
        (told(4).id, "validation_overlap", told(2).id),
    ]
    assert purged(store, test=test, validation=[], train=[]) == (
        {"test": {told(0).id}, "validation": set(), "train": set()},
        [],
    )
    assert purged(store, train=train)[1] == []


def test_what_a_purged_validation_pair_held_drops_nothing(store: Store) -> None:
    test = [told(0, answer=words("x", 40))]
    validation = [told(1, answer=words("x", 40) + " " + words("y", 20))]
    train = [told(2, answer=words("y", 20))]
    left, _ = purged(store, test=test, validation=validation, train=train)
    assert left == {"test": {told(0).id}, "validation": set(), "train": {told(2).id}}


def test_questions_that_are_nearly_the_same_drop(store: Store) -> None:
    test = [
        told(0, question="What did your father do at the old mill?"),
        told(1, question="Why so?"),
    ]
    train = [
        told(2, question="What did your father do at that old mill?"),
        told(3, question="Why so?"),
        told(4, question="When did you leave the old town at last?"),
    ]
    assert purged(store, test=test, train=train)[1] == [(told(2).id, "test_overlap", told(0).id)]
    chinese = [
        told(5, question="你的父亲在老磨坊里做了什么工作？"),
        told(6, answer="我的父亲在磨坊里工作了三十年，直到战争结束"),
    ]
    close = [
        told(7, question="你的父亲在老磨坊里做了什么工作呢？"),
        told(8, answer="我的父亲在磨坊里工作了三十年，直到战争结束。然后他走了"),
    ]
    assert len(purged(store, test=chinese, train=close)[1]) == 2


def test_the_purge_finds_what_comparing_all_pairs_finds(store: Store) -> None:
    draw = random.Random(7)
    held = [told(n) for n in range(60)]
    train = []
    for n in range(100, 400):
        other = draw.choice(held)
        tokens = other.answer.split() if draw.random() < 0.5 else words(f"t{n}").split()
        for at in draw.sample(range(len(tokens)), draw.randrange(8)):
            tokens[at] = "changed"
        question = list(other.question if draw.random() < 0.5 else words(f"u{n}", 9))
        for at in draw.sample(range(len(question)), draw.randrange(6)):
            question[at] = "z"
        train.append(told(n, answer=" ".join(tokens), question="".join(question)))
    found = {subject for subject, _, _ in purged(store, test=held, train=train)[1]}
    assert found == {p.id for p in train if any(too_close(p, other) for other in held)}
    assert 50 < len(found) < 250


def too_close(one: Pair, other: Pair) -> bool:
    fives, others = (runs(p.answer.split(), 5) for p in (one, other))
    letters, other_letters = (runs(list(p.question.rstrip("?")), 5) for p in (one, other))
    return (
        len(fives & others) >= 0.5 * len(fives)
        or bool(runs(one.answer.split(), 13) & runs(other.answer.split(), 13))
        or len(letters & other_letters) >= 0.7 * len(letters | other_letters)
    )


def runs(items: list[str], n: int) -> set[tuple[str, ...]]:
    return {tuple(items[at : at + n]) for at in range(len(items) - n + 1)}

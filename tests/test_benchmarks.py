"""The book benchmark's scoring: what counts as the same, what is held against a reader."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.benchmarks.passage_borders import BOOKS, labels
from tests.benchmarks.score_auc import derange
from tests.benchmarks.scoring import Truth, level, score, words
from tests.benchmarks.truths import memoir

PROSE = "The mill stood below the weir, and the wheel turned all night--slowly."
NOTE = "It was sold in the year of the flood, and nobody wrote down for how much."


def truth_of(**more: object) -> Truth:
    given = {"paragraphs": (PROSE, "No one slept in it."), "notes": (NOTE,), **more}
    return Truth(name="mill", path=Path("mill.pdf"), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("“Well,” he said", "''Well,'' he said"),
        ("night--slowly", "night — slowly"),
        ("and . . . then", "and… then"),
        ("the oﬃce", "THE  office"),
    ],
)
def test_what_readers_are_not_blamed_for(one: str, other: str) -> None:
    assert level(one) == level(other)


def test_a_hyphen_is_part_of_its_word_and_a_dash_is_not() -> None:
    assert words("a well-known man--he said—went 2-3") == [
        "a", "well-known", "man", "he", "said", "went", "2-3"
    ]  # fmt: skip


def test_true_text_scores_one() -> None:
    scored = score(truth_of(), [PROSE, "No one slept in it."])
    assert (scored.f1, scored.exact, scored.truth) == (1.0, 2, 2)
    assert (scored.heads, scored.folios, scored.notes) == (0, 0, 0)


def test_furniture_and_notes_are_counted_where_they_stand() -> None:
    heads = re.compile(r"the mill \d+")
    found = [PROSE.replace("all night", "THE MILL 12 all night"), "No one slept in it.", NOTE, "13"]
    scored = score(truth_of(heads=heads), found)
    assert (scored.heads, scored.folios, scored.notes) == (1, 2, 1)
    assert scored.exact == 1
    assert scored.precision < scored.recall < 1
    assert scored.missed == (level(PROSE),)


def test_neutral_text_may_stay_or_go() -> None:
    truth = truth_of(neutral=("Chapter the First: of the Mill",))
    kept = score(truth, ["Chapter the First: of the Mill", PROSE, "No one slept in it."])
    assert kept.recall == 1.0
    # The grams across the seam, two at each end, are nobody's.
    assert kept.precision > 0.8


def test_the_bundled_truth_is_whole() -> None:
    truth = memoir()
    assert len(truth.paragraphs) > 100
    assert len(truth.notes) == 10
    assert truth.path.is_file()


def test_the_labels_of_passages_are_whole() -> None:
    read = labels()
    assert len({(label.book, label.start_hash) for label in read}) == len(read) == 200
    assert {label.book for label in read} == {book.name for book in BOOKS}
    assert {label.opening for label in read} == {"ok", "points"}
    assert all((label.repair == "-") == (label.opening == "ok") for label in read)


@pytest.mark.timeout(20)
def test_questions_are_shuffled_among_two_or_more() -> None:
    assert derange([], 0) == []
    assert derange(["Why?", "When?"], 0) == ["When?", "Why?"]
    with pytest.raises(ValueError, match=r"'Why\?' cannot change places"):
        derange(["Why?"], 0)

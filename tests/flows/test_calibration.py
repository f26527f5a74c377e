"""Calibration: labels of a person measure the score and the judge."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from memoirist.data.schema.records import Verdict
from memoirist.data.store.store import Store
from memoirist.flows.evaluation.calibration import Agreement, agreement, best_threshold, is_trusted
from tests.conftest import Command, run
from tests.support.rows import NOW, pair, source


def table(both_good: int, only_rule: int, only_person: int, both_bad: int) -> Agreement:
    labels = [True] * both_good + [False] * only_rule + [True] * only_person + [False] * both_bad
    kept = [True] * (both_good + only_rule) + [False] * (only_person + both_bad)
    return agreement(labels, kept)


def test_precision_recall_and_kappa_of_a_known_table() -> None:
    # Cohen's own worked shape: 45 and 25 agree, 15 and 15 do not.
    found = table(both_good=45, only_rule=15, only_person=25, both_bad=15)
    assert found.n == 100
    assert found.precision == pytest.approx(0.75)
    assert found.recall == pytest.approx(45 / 70)
    assert found.kappa == pytest.approx((0.60 - 0.54) / (1 - 0.54))


def test_what_cannot_be_told_is_none() -> None:
    nothing = agreement([], [])
    assert (nothing.precision, nothing.recall, nothing.kappa) == (None, None, None)
    alike = agreement([True] * 4, [True] * 4)
    assert alike.kappa is None
    assert agreement([True, False], [False, False]).precision is None
    assert agreement([True, False], [True, False]).kappa == 1
    assert agreement([True, False], [False, True]).kappa == -1


def test_the_best_threshold_parts_good_from_bad() -> None:
    scores = [n / 20 for n in range(20)]
    labels = [score >= 0.6 for score in scores]
    best = best_threshold(labels, scores)
    assert best is not None
    assert agreement(labels, [score >= best for score in scores]).kappa == 1
    assert best_threshold(labels[:9], scores[:9]) is None
    assert best_threshold([True] * 20, scores) is None
    assert best_threshold(labels, [0.5] * 20) is not None  # one score for all: nothing is parted


def test_a_judge_is_trusted_by_enough_right_ones() -> None:
    assert is_trusted(table(both_good=7, only_rule=3, only_person=0, both_bad=0))
    assert not is_trusted(table(both_good=69, only_rule=31, only_person=0, both_bad=9))
    assert not is_trusted(table(both_good=9, only_rule=0, only_person=0, both_bad=0))
    assert not is_trusted(table(both_good=0, only_rule=0, only_person=5, both_bad=15))


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Make a workspace of thirty pairs; the judge keeps those that are good and two others."""
    store = Store(tmp_path / "workspace" / "memoirist.duckdb")
    pairs = [pair(n, origin="generated", score=n / 30) for n in range(30)]
    graded = [
        Verdict(
            subject_id=each.id,
            subject="pairs",
            rule="judge",
            keep=n >= 13,
            reason="graded",
            created_at=NOW,
            step="grade",
        )
        for n, each in enumerate(pairs)
    ]
    with store.writing() as tx:
        tx.upsert([source()])
        tx.upsert(pairs)
        tx.upsert(graded)
        tx.execute(
            "INSERT INTO pair_scores SELECT id, 1, 1, 1, 1, 1, 1, score, score FROM made_pairs"
        )
    return tmp_path


def label(folder: Path, typed: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return run(folder, "calibrate", *flags, typed=typed)


def _numbers(shown: str) -> list[int]:
    return [int(part.split("?")[0]) for part in shown.split("What of number ")[1:]]


def test_labels_are_kept_resumed_and_measured(workspace: Path) -> None:
    # What is good is known by the number that a pair shows: the later half is.
    (begun,) = _numbers(label(workspace, "q\n").stderr)
    first = label(workspace, "x\ny\nq\n" if begun >= 15 else "x\nn\nq\n")
    assert first.returncode == 0, first.stderr
    assert re.search(r"^score >= 0.5 .* 1  [01] of the pairs are good", first.stdout, re.M)
    assert "unknown: label at least 10 pairs" in first.stdout
    rest = _numbers(label(workspace, "s\n" * 29).stderr)
    assert set(rest) == set(range(30)) - {begun}
    done = label(workspace, "".join("y\n" if number >= 15 else "n\n" for number in rest))
    assert done.returncode == 0, done.stderr
    rows = [re.split(r"  +", line.strip()) for line in done.stdout.splitlines()]
    assert rows[0] == ["method", "precision", "recall", "kappa", "pairs", "note"]
    assert rows[1][:3] == ["score >= 0.5", "1", "1"]
    assert rows[1][4:] == ["30", "15 of the pairs are good"]
    assert rows[2] == ["score >= 0.48", "1", "1", "1", "30", "best: --set curate.min_score=0.48"]
    assert rows[3] == ["judge", "0.88", "1", "0.87", "30", "trusted"]
    again = label(workspace, "")
    assert again.stdout == done.stdout
    assert "good?" not in again.stderr


def test_a_slip_is_taken_back(workspace: Path) -> None:
    assert "2  0 of the pairs are good" in label(workspace, "y\nb\nn\nn\nq\n").stdout


def test_nothing_to_label_is_told(memoirist: Command, tmp_path: Path) -> None:
    done = memoirist("calibrate")
    assert done.returncode == 1
    assert "no workspace" in done.stderr
    assert not list(tmp_path.iterdir())

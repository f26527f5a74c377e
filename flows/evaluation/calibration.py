"""Calibrate the score and the judge by pairs that a person labels, and find the best threshold."""

from __future__ import annotations

import itertools
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

from memoirist.data.schema.errors import NothingToDo
from memoirist.data.store.store import Fetched
from memoirist.data.store.transaction import statement
from memoirist.flows.models.model_promotion import require_workspace
from memoirist.flows.runtime.context import Context

# A judge with a lower precision is not trusted (QUALITY.md).
TRUSTED_PRECISION = 0.7
# Fewer labels prove nothing: the interval of a share of ten is half a unit wide.
MIN_LABELS = 10
_KEYS = {"y": True, "j": True, "1": True, "n": False, "0": False}
_UNKNOWN = "unknown: label at least 10 pairs, good and bad"
_HELP = "is it a good question for this answer? y good, n bad, s skip, b back, q quit"


def calibrate_pairs(context: Context, n_pairs: int) -> Fetched:
    """Ask for the missing labels of `n_pairs`, and return the rows of the report.

    Each label is written at once; q, Ctrl-C and the end of the input stop, and a later call
    resumes. Raise NothingToDo if no pair has a written question.
    """
    store = context.workspace.store
    query = statement("calibration_pairs")
    values = {"seed": str(context.recipe.compose.seed), "n": n_pairs}
    require_workspace(context)
    pairs = store.rows(query, values)
    if not pairs:
        raise NothingToDo(
            "there is no pair with a written question to label",
            "run `memoirist ask` and `memoirist curate` first",
        )
    due = [pair for pair in pairs if pair["good"] is None]
    if due:
        _label(context, due, len(pairs))
        pairs = store.rows(query, values)
    return _report(context, [pair for pair in pairs if pair["good"] is not None])


def _label(context: Context, due: list[dict[str, Any]], n_all: int) -> None:
    write, n_labelled = sys.stderr.write, n_all - len(due)
    write(f"{n_labelled} of {n_all} pairs are labelled. {_HELP}\n")
    index = 0
    while index < len(due):
        pair = due[index]
        # The score is not shown, because it would influence the label.
        write(f"\n[{n_labelled + index + 1} of {n_all}]  {pair['question']}\n\n")
        write(textwrap.indent(textwrap.fill(pair["answer"], 96), "    ") + "\n\n")
        key = _read_key()
        if key == "q":
            return
        if key in _KEYS:
            _write_label(context, pair, good=_KEYS[key])
        index = max(0, index - 1) if key == "b" else index + 1


def _read_key() -> str:
    """Return the typed key, "q" at the end of the input."""
    while True:
        sys.stderr.write("good? [y/n/s/b/q] ")
        sys.stderr.flush()
        line = sys.stdin.readline()
        key = line.strip().lower()[:1]
        if not line or key == "q":
            return "q"
        if key in _KEYS or key in {"s", "b"}:
            return key
        sys.stderr.write(f"{_HELP}\n")


def _write_label(context: Context, pair: dict[str, Any], *, good: bool) -> None:
    with context.workspace.store.writing() as tx:
        tx.execute("DELETE FROM labels WHERE pair_id = ?", [pair["id"]])
        tx.execute(
            "INSERT INTO labels VALUES (?, ?, ?, ?, ?)",
            [pair["id"], good, pair["question"], pair["answer"], context.now],
        )
    context.count("calibrate", 1)


def _report(context: Context, labelled: list[dict[str, Any]]) -> Fetched:
    """Return the agreement of score and judge with the person, and the best threshold."""
    labels = [bool(pair["good"]) for pair in labelled]
    scores = [float(pair["score"] or 0.0) for pair in labelled]
    judged = [pair for pair in labelled if pair["judged"] is not None]
    grades = agreement(
        [bool(pair["good"]) for pair in judged], [bool(pair["judged"]) for pair in judged]
    )
    least, best = context.recipe.curate.min_score, best_threshold(labels, scores)

    def at(threshold: float) -> tuple[float | None, ...]:
        return _rounded(agreement(labels, [score >= threshold for score in scores]))

    if not judged:
        verdict = "has graded none of them (`memoirist curate --judge`)"
    elif is_trusted(grades):
        verdict = "trusted"
    else:
        verdict = f"not trusted: this needs 10 labels and a precision of {TRUSTED_PRECISION}"
    rows = [
        (f"score >= {least:g}", *at(least), f"{sum(labels)} of the pairs are good"),
        (f"score >= {best:g}", *at(best), f"best: --set curate.min_score={best:g}")
        if best is not None
        else ("best score", *[None] * 3, len(labels), _UNKNOWN),
        ("judge", *_rounded(grades), verdict),
    ]
    return Fetched(
        columns=["method", "precision", "recall", "kappa", "pairs", "note"],
        numeric=[False, True, True, True, True, False],
        rows=rows,
    )


class Agreement(NamedTuple):
    """How a rule's decisions agree with a person's labels; None for what cannot be told.

    `precision` is the share of good pairs among those that the rule keeps, `recall` the share of
    the good ones that it keeps, `kappa` is Cohen's: 1 agrees, 0 is chance.
    """

    precision: float | None
    recall: float | None
    kappa: float | None
    n: int


def agreement(labels: Sequence[bool], kept: Sequence[bool]) -> Agreement:
    """Measure how the labels and the rule's decisions on the same pairs agree."""
    decisions = list(zip(labels, kept, strict=True))
    n, n_good, n_kept = len(decisions), sum(labels), sum(kept)
    both_good = decisions.count((True, True))
    observed = (both_good + decisions.count((False, False))) / max(1, n)
    chance = (n_kept * n_good + (n - n_kept) * (n - n_good)) / n**2 if n else 1
    return Agreement(
        precision=both_good / n_kept if n_kept else None,
        recall=both_good / n_good if n_good else None,
        kappa=None if chance == 1 else (observed - chance) / (1 - chance),
        n=n,
    )


def _rounded(result: Agreement) -> tuple[float | None, ...]:
    return tuple(None if value is None else round(value, 2) for value in result)


def best_threshold(labels: Sequence[bool], scores: Sequence[float]) -> float | None:
    """Return the threshold with the greatest kappa, the lower one of equals.

    It lies between two scores, rounded to two places. None with fewer than MIN_LABELS pairs, or
    where all have the same label.
    """
    if len(labels) < MIN_LABELS or len(set(labels)) < 2:
        return None
    values = sorted(set(scores))
    middles = [round((low + high) / 2, 2) for low, high in itertools.pairwise(values)]

    def kappa(threshold: float) -> float:
        return round(agreement(labels, [s >= threshold for s in scores]).kappa or 0.0, 9)

    return max([round(max(0.0, values[0] - 0.01), 2), *middles], key=kappa)


def is_trusted(agreement: Agreement) -> bool:
    """Tell whether enough labels confirm that the judge keeps good pairs."""
    precision = agreement.precision
    return agreement.n >= MIN_LABELS and precision is not None and precision >= TRUSTED_PRECISION

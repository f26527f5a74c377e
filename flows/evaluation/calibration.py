"""Calibrate: a person labels pairs, and the score and the judge are measured by the labels."""

from __future__ import annotations

import sys
import textwrap
from typing import Any

from memoirist.data.curation.label_agreement import (
    TRUSTED_PRECISION,
    Agreement,
    agreement,
    best_threshold,
    is_trusted,
)
from memoirist.data.schema.errors import NothingToDo
from memoirist.flows.runtime.context import Context

# Chosen by a seeded hash among all pairs with a written question: the same hundred come again, and
# a new pair may join them. Dropped pairs are included, because the recall needs them.
_CHOSEN = (
    "SELECT a.id, a.question, a.answer, a.score, l.good,"
    " (SELECT any_value(v.keep) FROM verdicts v WHERE v.subject = 'pairs' AND v.subject_id = a.id"
    "  AND v.rule = 'judge' AND v.step = 'grade') AS judged"
    " FROM made_pairs a LEFT JOIN labels l ON l.pair_id = a.id"
    " WHERE a.origin IN ('generated', 'template') AND a.id NOT IN (SELECT subject_id FROM verdicts"
    " WHERE subject = 'pairs' AND rule IN ('superseded', 'duplicate'))"
    " ORDER BY l.good IS NULL, md5(a.id || $seed) LIMIT $n"
)
_KEYS = {"y": True, "j": True, "1": True, "n": False, "0": False}
_HELP = "is it a good question for this reply? y good, n bad, s skip, b back, q quit"


def calibrate_pairs(context: Context, n_pairs: int) -> list[str]:
    """Ask for the labels that are still missing among `n_pairs`, and return the report's lines.

    Each label is written at once; q, Ctrl-C and the end of the input stop, and a later call goes
    on. Raise NothingToDo where no pair has a written question.
    """
    store = context.workspace.store
    values = {"seed": str(context.recipe.compose.seed), "n": n_pairs}
    if not store.path.exists():
        raise NothingToDo("there is no workspace here", "make one with `memoirist build`")
    with store.writing():
        pass  # an older version's tables get what this one needs
    pairs = store.rows(_CHOSEN, values)
    if not pairs:
        raise NothingToDo(
            "there is no pair with a written question to label",
            "run `memoirist ask` and `memoirist curate` first",
        )
    due = [pair for pair in pairs if pair["good"] is None]
    if due:
        _label(context, due, len(pairs))
        pairs = store.rows(_CHOSEN, values)
    return _report_lines(context, [pair for pair in pairs if pair["good"] is not None])


def _label(context: Context, due: list[dict[str, Any]], n_all: int) -> None:
    write = sys.stderr.write
    write(f"{n_all - len(due)} of {n_all} pairs are labelled. {_HELP}\n")
    place = 0
    while place < len(due):
        pair = due[place]
        # The score is not shown: it would sway the hand that measures it.
        write(f"\n[{n_all - len(due) + place + 1} of {n_all}]  {pair['question']}\n\n")
        write(textwrap.indent(textwrap.fill(pair["answer"], 96), "    ") + "\n\n")
        key = _key()
        if key == "q":
            return
        if key == "b":
            place = max(0, place - 1)
            continue
        if key in _KEYS:
            _keep(context, pair, good=_KEYS[key])
        place += 1


def _key() -> str:
    """Return what was typed, "q" at the end of the input."""
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


def _keep(context: Context, pair: dict[str, Any], *, good: bool) -> None:
    with context.workspace.store.writing() as tx:
        tx.execute("DELETE FROM labels WHERE pair_id = ?", [pair["id"]])
        tx.execute(
            "INSERT INTO labels VALUES (?, ?, ?, ?, ?)",
            [pair["id"], good, pair["question"], pair["answer"], context.now],
        )
    context.count("calibrate", 1)


def _report_lines(context: Context, labelled: list[dict[str, Any]]) -> list[str]:
    """Return how score and judge agree with the person, and the best threshold."""
    if not labelled:
        return ["no pair is labelled yet"]
    labels = [bool(pair["good"]) for pair in labelled]
    scores = [float(pair["score"] or 0.0) for pair in labelled]
    least, best = context.recipe.curate.min_score, best_threshold(labels, scores)

    def at(threshold: float) -> str:
        return _figures(agreement(labels, [score >= threshold for score in scores]))

    lines = [
        f"{len(labels)} pairs labelled, {sum(labels)} of them good",
        f"score >= {least:g}  {at(least)}",
        "no threshold can be told: label at least 10 pairs, good ones and bad ones"
        if best is None
        else f"best: {best:g}     {at(best)}  (--set curate.min_score={best:g})",
    ]
    judged = [pair for pair in labelled if pair["judged"] is not None]
    if not judged:
        return [*lines, "judge: has graded none of them (`memoirist curate --judge`)"]
    grades = [bool(pair["judged"]) for pair in judged]
    result = agreement([bool(pair["good"]) for pair in judged], grades)
    verdict = "trusted"
    if not is_trusted(result):
        verdict = f"not trusted: that takes 10 labels and a precision of {TRUSTED_PRECISION}"
    return [*lines, f"judge          {_figures(result)}  {verdict}"]


def _figures(result: Agreement) -> str:
    """Return precision, recall and kappa of some labels; an unknown one is a dash."""
    named = (("precision", result.precision), ("recall", result.recall), ("kappa", result.kappa))
    figures = (f"{name} {'-' if value is None else f'{value:.2f}'}" for name, value in named)
    return f"{'  '.join(figures)}  of {result.n}"

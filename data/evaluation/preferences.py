"""Compare two answers pairwise: verdicts in both orders, and a sheet for a person to fill in."""

from __future__ import annotations

import csv
import io
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from memoirist.data.evaluation.intervals import Estimate, wilson
from memoirist.data.schema.errors import SourceUnreadable
from memoirist.data.schema.records import content_id
from memoirist.data.templates import render
from memoirist.data.text.words import word_spans

_COLUMNS = ("id", "question", "answer_1", "answer_2", "better")
_LEAST_CUT = 40
_CHOICES = {"1": 1, "a": 1, "2": 2, "b": 2, "0": 0, "=": 0, "same": 0, "": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Duel:
    """One question with the answers of two sides; `id` names the duel in one of its two orders."""

    run_id: str
    first: str
    second: str
    question: str
    answers: tuple[str, str]

    @property
    def id(self) -> str:
        """Return an id that does not reveal the sides."""
        return content_id(self.run_id, self.first, self.second, self.question)

    @property
    def swapped(self) -> Duel:
        """Return the same duel in the other order."""
        answers = (self.answers[1], self.answers[0])
        return replace(self, first=self.second, second=self.first, answers=answers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The share of wins among the duels with the same winner in both orders.

    `undecided` is the number of the other duels.
    """

    wins: Estimate | None
    undecided: int

    @property
    def is_win(self) -> bool:
        """Tell whether the whole interval is above one half (QUALITY: only then it is a win)."""
        return self.wins is not None and self.wins.above(0.5)


def cut_to_equal_length(first: str, second: str, limit: int | None = None) -> tuple[str, str]:
    """Return two texts cut to the same number of words, or to `limit`: judges prefer length.

    Neither is cut below 40 words, so that a reply of three words does not shorten the other.
    """
    spans = [word_spans(text) for text in (first, second)]
    n_words = limit if limit is not None else max(_LEAST_CUT, min(map(len, spans)))
    cut = [
        text if len(words) <= n_words else f"{text[: words[n_words - 1][2]]} …"
        for text, words in zip((first, second), spans, strict=True)
    ]
    return cut[0], cut[1]


def score(duels: Sequence[Duel], verdicts: Mapping[str, int]) -> Score:
    """Count the wins of the first side over the second; verdicts are 1, 2 or 0 by a duel's id."""
    won, decided, undecided = 0, 0, 0
    for duel in duels:
        verdict, swapped = verdicts.get(duel.id), verdicts.get(duel.swapped.id)
        if verdict is None and swapped is None:
            continue
        if {verdict, swapped} == {1, 2}:
            decided += 1
            won += verdict == 1
        else:
            undecided += 1
    return Score(wins=wilson(won, decided), undecided=undecided)


def sheet(duels: Sequence[Duel], seed: int, *, markdown: bool) -> str:
    """Return a sheet with every duel in both orders, shuffled: as CSV, or as Markdown."""
    rows = [row for duel in duels for row in (duel, duel.swapped)]
    random.Random(seed).shuffle(rows)
    if markdown:
        return render(Path(__file__).parent / "templates" / "sheet.md.j2", {"rows": rows})
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(_COLUMNS)
    for row in rows:
        writer.writerow([row.id, *map(_as_text, (row.question, *row.answers)), ""])
    return out.getvalue()


def _as_text(cell: str) -> str:
    """Return a cell that a spreadsheet shows as text and does not compute."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def read_sheet(text: str, name: str) -> dict[str, int]:
    """Return the verdicts of a filled-in sheet by duel id; a row left empty gives none.

    Raises SourceUnreadable where a choice is none of 1, 2 and =, or no row has an id.
    """
    rows = _from_markdown(text) if text.lstrip().startswith("#") else _from_csv(text)
    verdicts: dict[str, int] = {}
    for duel_id, entry in rows:
        key = entry.strip().lower()
        if key not in _CHOICES:
            raise SourceUnreadable(
                f"the sheet {name!r} says {entry.strip()!r} for {duel_id}", "write 1, 2 or ="
            )
        choice = _CHOICES[key]
        if choice is not None:
            verdicts[duel_id] = choice
    if not rows:
        raise SourceUnreadable(
            f"the sheet {name!r} has no row with an id", "fill in the one that `--sheet` wrote"
        )
    return verdicts


def _from_csv(text: str) -> list[tuple[str, str]]:
    # Spreadsheets write semicolons where the comma is the decimal mark.
    separator = ";" if text.splitlines()[:1] and text.splitlines()[0].count(";") >= 4 else ","
    rows = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), delimiter=separator)
    return [(str(row["id"]), str(row.get("better") or "")) for row in rows if row.get("id")]


def _from_markdown(text: str) -> list[tuple[str, str]]:
    return re.findall(r"(?ms)^## ([0-9a-f]{16})$.*?^better:([^\n]*)$", text)

"""Measure general ability by plain instructions, to see what training made a model forget."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from memoirist.data.evaluation.intervals import Estimate, mean, wilson


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """One instruction: its right answer, wrong ones, and the pattern of accepted answers."""

    lang: str
    ask: str
    right: str
    wrong: tuple[str, ...]
    accept: str

    @property
    def choices(self) -> tuple[str, ...]:
        """Return all answers, the right one first."""
        return (self.right, *self.wrong)

    def accepts(self, answer: str) -> bool:
        """Tell whether a freely written answer is right."""
        return re.search(self.accept, answer.strip(), re.IGNORECASE) is not None


@cache
def instructions() -> tuple[Plain, ...]:
    """Return the bundled instructions."""
    text = (Path(__file__).parent / "ability.toml").read_text("utf-8")
    return tuple(
        Plain(**{**row, "wrong": tuple(row["wrong"])}) for row in tomllib.loads(text)["task"]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A model's result on one instruction: nats per token of each choice, and its free answer."""

    losses: Sequence[float]
    answer: str

    @property
    def chosen(self) -> bool:
        """Tell whether the right answer, the first, has the lowest loss."""
        return self.losses[0] == min(self.losses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ability:
    """Shares of right answers, written freely and chosen, and the share of a random choice.

    `loss` is nats per token of the right answers: it shows forgetting before answers are wrong.
    """

    written: Estimate | None
    chosen: Estimate | None
    loss: Estimate | None
    blind: float


def measure(tasks: Sequence[Plain], attempts: Sequence[Attempt], seed: int) -> Ability:
    """Score a model's attempts at the tasks."""
    n = len(tasks)
    written = [task.accepts(attempt.answer) for task, attempt in zip(tasks, attempts, strict=True)]
    return Ability(
        written=wilson(sum(written), n),
        chosen=wilson(sum(attempt.chosen for attempt in attempts), n),
        loss=mean(np.array([attempt.losses[0] for attempt in attempts]), seed),
        blind=sum(1 / len(task.choices) for task in tasks) / n if n else 0.0,
    )


def change(
    tasks: Sequence[Plain], before: Sequence[Attempt], after: Sequence[Attempt], seed: int
) -> Estimate | None:
    """Return the change of the share of right answers, task by task.

    A right choice and a right free answer count half each, so that forgetting is visible in a weak
    model that writes nothing right. An interval below 0 is forgetting.
    """
    changes = np.array(
        [
            (new.chosen - old.chosen + task.accepts(new.answer) - task.accepts(old.answer)) / 2
            for task, old, new in zip(tasks, before, after, strict=True)
        ]
    )
    return mean(changes, seed)

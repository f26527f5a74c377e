"""What every step of a flow needs: the workspace, the recipe, the report and the way to call."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

from data.nouns import Verdict, content_id
from data.store import Transaction
from flows.artifacts import Artifacts, Unseen
from flows.recipe import Recipe
from flows.report import Report
from flows.workspace import Workspace

if TYPE_CHECKING:
    from generators.client.budget import Budget

R = TypeVar("R")


class Call(Protocol):
    """Runs one step, under a verb of the design and a label: directly, or as a Prefect task."""

    def __call__(self, verb: str, label: str, step: Callable[[], R]) -> R:
        """Run `step` and return what it returns."""


def directly(verb: str, label: str, step: Callable[[], R]) -> R:
    """Run a step at once, as the single commands do."""
    return step()


@dataclass(slots=True)
class Context:
    """One run's surroundings; `changed` counts the rows each verb has made or dropped."""

    workspace: Workspace
    recipe: Recipe
    report: Report
    call: Call = directly
    artifacts: Artifacts = field(default_factory=Unseen)
    changed: dict[str, int] = field(default_factory=dict)
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    _budget: Budget | None = None

    @property
    def run_id(self) -> str:
        """Return the run under which `requests` keeps what is asked."""
        return content_id("run", self.began.isoformat())

    @property
    def budget(self) -> Budget:
        """Return what the run may spend, in all its steps together."""
        if self._budget is None:
            from generators.client.budget import Budget

            self._budget = Budget(self.recipe.interview)
        return self._budget

    @property
    def now(self) -> datetime:
        """Return the time that new rows carry."""
        return datetime.now(UTC)

    def is_done(self, subject_id: str, step: str, mark: str) -> bool:
        """Tell whether a step has finished on a subject under the settings of `mark`."""
        store = self.workspace.store
        return store.path.exists() and bool(
            store.value(
                "SELECT count(*) FROM done WHERE subject_id = ? AND step = ? AND fingerprint = ?",
                subject_id,
                step,
                mark,
            )
        )

    def count(self, verb: str, rows: int) -> None:
        """Remember that a verb made rows."""
        self.changed[verb] = self.changed.get(verb, 0) + rows

    @contextmanager
    def timed(self) -> Iterator[Callable[[], float]]:
        """Yield a function that tells the seconds since the block began."""
        began = time.monotonic()
        yield lambda: time.monotonic() - began


def fingerprint(*parts: object) -> str:
    """Return a hash of settings and ids, by which a step knows that nothing has changed."""
    joined = "\x1f".join(str(part) for part in parts)
    return hashlib.blake2b(joined.encode(), digest_size=12).hexdigest()


def replace_verdicts(
    tx: Transaction,
    verdicts: Iterable[Verdict],
    step: str,
    sources: Sequence[str],
    source_of: Callable[[Verdict], str | None],
) -> None:
    """Write a step's verdicts on some sources in place of the ones that it gave before."""
    tx.execute(
        "DELETE FROM verdicts WHERE step = ? AND list_contains(?, source_id)", [step, list(sources)]
    )
    tx.upsert([replace(v, step=step, source_id=source_of(v)) for v in verdicts])

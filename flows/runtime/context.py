"""The context of a run: its workspace, recipe, report, budget and way to call functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

from memoirist.data.composition.saved_exchanges import BY_HAND
from memoirist.data.schema.records import content_id
from memoirist.flows.recipe.recipe import Recipe
from memoirist.flows.runtime.artifacts import PrefectArtifacts
from memoirist.flows.runtime.report import Report
from memoirist.flows.runtime.workspace import Workspace

if TYPE_CHECKING:
    from memoirist.generators.client.budget import Budget


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
    """What all steps of a run share; `changed` counts by verb the rows written or dropped."""

    workspace: Workspace
    recipe: Recipe
    report: Report
    call: Call = directly
    artifacts: PrefectArtifacts | None = None
    changed: dict[str, int] = field(default_factory=dict)
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    _budget: Budget | None = None

    @property
    def run_id(self) -> str:
        """Return the run under which `requests` keeps what is asked."""
        return content_id("run", self.began.isoformat())

    @property
    def budget(self) -> Budget:
        """Return the budget of all the run's steps together."""
        if self._budget is None:
            from memoirist.generators.client.budget import Budget

            self._budget = Budget(self.recipe.interview)
        return self._budget

    @property
    def now(self) -> datetime:
        """Return the time that new rows carry."""
        return datetime.now(UTC)

    def count(self, verb: str, rows: int) -> None:
        """Add to the rows that a verb has changed."""
        self.changed[verb] = self.changed.get(verb, 0) + rows


def persona_language(context: Context) -> str:
    """Return the recipe's language, or the one that most of the passages are in.

    Talks in which the persona does not speak have no passage and do not count.
    """
    if context.recipe.persona.lang != "auto":
        return context.recipe.persona.lang
    lang = context.workspace.store.value(
        "SELECT d.lang FROM documents d JOIN sources s ON s.id = d.source_id JOIN ("
        " SELECT document_id, sum(n_words) AS size FROM cut_passages GROUP BY document_id"
        # Counting the words of a million rows would take longer than all the rest here.
        " UNION ALL SELECT document_id, 80 * count(*) FROM exchanges GROUP BY document_id"
        ") t ON t.document_id = d.id WHERE d.lang <> 'und' AND s.mix_share IS NULL"
        f" AND s.withdrawn_at IS NULL AND s.format NOT IN {BY_HAND} GROUP BY d.lang"
        " ORDER BY sum(t.size) DESC, d.lang LIMIT 1"
    )
    return str(lang or "en")

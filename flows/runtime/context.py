"""Hold the context of a run: workspace, recipe, report, LLM budget and the way to call steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from memoirist.data.composition.saved_exchanges import BY_HAND
from memoirist.data.schema.records import content_id
from memoirist.data.store.transaction import statement
from memoirist.flows import recipe as recipes
from memoirist.flows.recipe import Recipe
from memoirist.flows.runtime.report import Report
from memoirist.flows.runtime.training_monitor import PrefectArtifacts
from memoirist.flows.runtime.workspace import Workspace

if TYPE_CHECKING:
    from memoirist.generators.client.session import Budget


R = TypeVar("R")


class Call(Protocol):
    """Runs one step under a verb and a label: directly, or as a Prefect task."""

    def __call__(self, verb: str, label: str, step: Callable[[], R]) -> R:
        """Run `step` and return what it returns."""


def directly(verb: str, label: str, step: Callable[[], R]) -> R:
    """Run a step without Prefect, as the single commands do."""
    return step()


@dataclass
class Context:
    """The state that all steps of a run share; `changed` counts the changed rows by verb."""

    workspace: Workspace
    recipe: Recipe
    report: Report
    call: Call = directly
    artifacts: PrefectArtifacts | None = None
    changed: dict[str, int] = field(default_factory=dict)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def run_id(self) -> str:
        """Return the id of the run in the table `requests`."""
        return content_id("run", self.started_at.isoformat())

    @cached_property
    def budget(self) -> Budget:
        """Return the LLM budget that all steps of the run share."""
        from memoirist.generators.client.session import Budget

        return Budget(self.recipe.interview)

    @property
    def now(self) -> datetime:
        """Return the time that new rows carry."""
        return datetime.now(UTC)

    def save_recipe(self) -> None:
        """Save the resolved recipe in the workspace, so that later commands need no flags."""
        copy = recipes.write(self.recipe, self.workspace.recipe)
        if copy is not None:
            self.report.note(
                f"{self.workspace.recipe.name} now holds the resolved recipe; the former one, with"
                f" its comments, is {copy.name}"
            )

    def count(self, verb: str, rows: int) -> None:
        """Add to the rows that a verb has changed."""
        self.changed[verb] = self.changed.get(verb, 0) + rows


def open_context(
    workspace: Path, recipe: Path | None = None, values: Mapping[str, Any] | None = None
) -> Context:
    """Return the context of a workspace, whose steps run directly and without Prefect.

    `recipe` defaults to the workspace's own, if it has one; `values` are set over it.
    """
    report = Report()
    folder = Workspace(workspace, on_wait=report.note)
    return Context(folder, recipes.load(recipe or folder.saved_recipe, values), report)


def persona_language(context: Context) -> str:
    """Return the recipe's language, or the language of most of the passages.

    Episodes without the persona have no passages and do not count.
    """
    if context.recipe.persona.lang != "auto":
        return context.recipe.persona.lang
    lang = context.workspace.store.value(statement("persona_language"), list(BY_HAND))
    return str(lang or "en")

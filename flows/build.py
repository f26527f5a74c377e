"""Define the flow `build`, from sources to a model; a rerun does only what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memoirist.flows.runtime.prefect_tasks import as_tasks, silence_prefect

silence_prefect()

from prefect import flow, get_run_logger  # noqa: E402 - it reads its settings when imported
from prefect.artifacts import create_table_artifact  # noqa: E402

from memoirist.data.samples import PERSONA, SOURCES  # noqa: E402
from memoirist.data.schema.errors import RecipeError  # noqa: E402
from memoirist.data.templates import markdown_rows  # noqa: E402
from memoirist.flows.pipeline import MODEL, PAIRS, extract, run_steps  # noqa: E402
from memoirist.flows.planning.training_estimate import refuse_missing_layers  # noqa: E402
from memoirist.flows.recipe import as_saved, merged_sources  # noqa: E402
from memoirist.flows.runtime.context import Context, open_context  # noqa: E402
from memoirist.flows.runtime.training_monitor import PrefectArtifacts  # noqa: E402
from memoirist.flows.runtime.workspace import Workspace  # noqa: E402


@flow(name="build", flow_run_name="build {workspace}", persist_result=False)
def build(
    sources: list[str] | None = None,
    persona: str | None = None,
    workspace: str = "workspace",
    recipe: str | None = None,
    overrides: dict[str, Any] | None = None,
) -> dict[str, int]:
    """Build the persona of `sources` and the recipe; return the number of new rows by verb.

    Without sources and recipe the bundled samples are built.
    """
    has_recipe = recipe is not None or Workspace(Path(workspace)).saved_recipe is not None
    if not (sources or has_recipe or "sources.include" in (overrides or {})):
        get_run_logger().info("no sources and no recipe: building the bundled samples")
        sources = [str(path) for path in SOURCES]
        persona = persona or (overrides or {}).get("persona.name", PERSONA)
    context = open_flow_context(workspace, recipe, overrides, sources, persona)
    with context.workspace.lock():
        extract(context, as_saved(sources) if sources else None)
        run_steps(context, *PAIRS, *MODEL)
        publish(context)
    return context.changed


def open_flow_context(
    workspace: str,
    recipe: str | None,
    overrides: Mapping[str, Any] | None = None,
    sources: Sequence[str] | None = None,
    persona: str | None = None,
) -> Context:
    """Return the context of a flow run, which calls its steps as Prefect tasks."""
    path = Path(recipe) if recipe else Workspace(Path(workspace)).saved_recipe
    keys = dict(overrides or {})
    if sources:
        keys["sources.include"] = merged_sources(path, sources)
    if persona:
        keys["persona.name"] = persona
    context = open_context(Path(workspace), path, keys)
    if not context.recipe.persona.name:
        raise RecipeError("no persona is named", "add --persona 'FULL NAME'")
    context.report.log = get_run_logger().info  # Prefect's UI shows the same lines
    context.call = as_tasks(context.recipe.flow)
    context.artifacts = PrefectArtifacts(context.report.warn)
    refuse_missing_layers(context)
    return context


def publish(context: Context) -> None:
    """Show the coverage in Prefect's UI, as an artifact of the flow run."""
    rows = context.workspace.store.rows("SELECT * EXCLUDE (source_id) FROM coverage")
    create_table_artifact(
        table=markdown_rows(rows),
        key="coverage",
        description="found = kept + dropped, for each source",
    )


if __name__ == "__main__":
    build()

"""The flow `build`: sources in, a model that one can talk to out; a rerun does what is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from memoirist.flows.runtime.prefect_tasks import as_tasks, quiet

quiet()

from prefect import flow, get_run_logger  # noqa: E402 - it reads its settings when imported
from prefect.artifacts import create_table_artifact  # noqa: E402

from memoirist.data.samples import PERSONA, SOURCES  # noqa: E402
from memoirist.data.schema.errors import RecipeError  # noqa: E402
from memoirist.flows.planning.training_estimate import refuse_early  # noqa: E402
from memoirist.flows.recipe import recipe as recipes  # noqa: E402
from memoirist.flows.recipe.io import as_saved, merged_sources, save_recipe  # noqa: E402
from memoirist.flows.runtime.artifacts import PrefectArtifacts  # noqa: E402
from memoirist.flows.runtime.context import Context  # noqa: E402
from memoirist.flows.runtime.report import Report  # noqa: E402
from memoirist.flows.runtime.workspace import Workspace  # noqa: E402
from memoirist.flows.steps.ask import ask_questions  # noqa: E402
from memoirist.flows.steps.curate import compose_dataset, curate_pairs  # noqa: E402
from memoirist.flows.steps.evaluate import evaluate_model  # noqa: E402
from memoirist.flows.steps.extract import extract_sources  # noqa: E402
from memoirist.flows.steps.follow_up import follow_pairs  # noqa: E402
from memoirist.flows.steps.judge import judge_pairs  # noqa: E402
from memoirist.flows.steps.merge import merge_model  # noqa: E402
from memoirist.flows.steps.polish import polish_answers  # noqa: E402
from memoirist.flows.steps.split import split_documents  # noqa: E402
from memoirist.flows.steps.train import train_model  # noqa: E402

STEPS: Sequence[Callable[[Context], object]] = (
    split_documents,
    ask_questions,
    polish_answers,
    curate_pairs,
    judge_pairs,
    follow_pairs,
    compose_dataset,
    train_model,
    merge_model,
    evaluate_model,
)


@flow(name="build", flow_run_name="build {workspace}", persist_result=False)
def build(
    sources: list[str] | None = None,
    persona: str | None = None,
    workspace: str = "workspace",
    recipe: str | None = None,
    overrides: dict[str, Any] | None = None,
) -> dict[str, int]:
    """Build the persona of `sources`, or of the recipe's sources; return the new rows by verb.

    Without sources and recipe the bundled samples are built.
    """
    context = open_context(workspace, recipe, overrides, sources, persona)
    with context.workspace.held():
        named = as_saved(sources) if sources else None
        extract_sources(context, context.recipe.sources.include, named)
        save_recipe(context)  # after it, so that a refused source is not asked for again
        for step in STEPS:
            step(context)
        publish(context)
    return context.changed


def open_context(
    workspace: str,
    recipe: str | None,
    overrides: Mapping[str, Any] | None = None,
    sources: Sequence[str] | None = None,
    persona: str | None = None,
) -> Context:
    """Return the surroundings of a flow run, with its steps as Prefect tasks."""
    report = Report()
    report.log = get_run_logger().info  # the same lines and counts in Prefect's UI
    place = Workspace(Path(workspace), on_wait=report.note)
    path = Path(recipe) if recipe else (place.recipe if place.recipe.exists() else None)
    wanted = dict(overrides or {})
    if sources:
        wanted["sources.include"] = merged_sources(path, sources)
    if persona:
        wanted["persona.name"] = persona
    if path is None and not sources and "sources.include" not in wanted:
        report.note("no sources and no recipe: building the bundled samples")
        wanted.setdefault("sources.include", [str(each) for each in SOURCES])
        wanted.setdefault("persona.name", PERSONA)
    resolved = recipes.load(path, wanted)
    if not resolved.persona.name:
        raise RecipeError("nobody is named as the persona", "add --persona 'FULL NAME'")
    shown = PrefectArtifacts(report.warn)
    context = Context(place, resolved, report, as_tasks(resolved.flow), shown)
    refuse_early(context)
    return context


def publish(context: Context) -> None:
    """Show the coverage in Prefect's UI, as an artifact of the flow run."""
    rows = context.workspace.store.rows("SELECT * EXCLUDE (source_id) FROM coverage")
    create_table_artifact(
        table=rows, key="coverage", description="found = kept + dropped, for each source"
    )


if __name__ == "__main__":
    build()

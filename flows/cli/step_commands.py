"""The commands that run one step each, directly and without Prefect: `extract` to `merge`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memoirist.data.schema.errors import RecipeError
from memoirist.flows.cli import options as o
from memoirist.flows.cli.options import WORKSPACE
from memoirist.flows.cli.recipe_flags import NO_FLAGS, Flags, recipe_flags

if TYPE_CHECKING:
    from memoirist.flows.runtime.context import Context

EXTRACT_KEYS = (
    "persona.name",
    "persona.aliases",
    "sources.speakers",
    "sources.limit",
    "persona.lang",
    "sources.chapters.include",
    "sources.chapters.exclude",
    "sources.map",
    "sources.mix",
    "sources.text_as",
    "sources.extract.ocr",
)
ENDPOINT_KEYS = (
    "interview.base_url",
    "interview.model",
    "interview.max_concurrency",
    "interview.request_timeout_seconds",
    "interview.budget_usd",
    "interview.max_requests",
    "interview.max_tokens",
)
Sources = Annotated[
    list[str] | None,
    typer.Argument(metavar="SOURCE...", help="Files, folders, globs, feeds or hf:// ids."),
]


def with_speakers(flags: Flags, recipe: Path | None, workspace: Path) -> Flags:
    """Return the flags with `--speaker LABEL=NAME` set over the speakers of the recipe."""
    given = flags.get("sources.speakers")
    if not given:
        return flags
    from memoirist.flows.recipe.io import merged_speakers
    from memoirist.flows.runtime.workspace import Workspace

    saved = Workspace(workspace).recipe
    path = recipe or (saved if saved.exists() else None)
    return {**flags, "sources.speakers": merged_speakers(path, given)}


def unlock(
    sources: list[str] | None, recipe: Path | None, workspace: Path, given: list[str] | None
) -> None:
    """Remember the passwords of locked files; on a terminal, ask for those that are missing."""
    from memoirist.extractors.pdf.engines.base import remember_passwords
    from memoirist.flows.sources.password_prompt import ask_password, locked_pdfs

    remember_passwords(given or ())
    if not sys.stdin.isatty():
        return
    context = o.open_workspace(workspace, recipe)
    for path in locked_pdfs(context, [*(sources or ()), *context.recipe.sources.include]):
        ask_password(path)


@recipe_flags(*EXTRACT_KEYS)
def extract(
    sources: Sources = None,
    flags: Flags = NO_FLAGS,
    password: o.PasswordOption = None,
    assigned: o.SetOption = None,
    recipe: o.RecipeOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Read sources into documents and blocks, and split them into passages."""
    from memoirist.flows import pipeline
    from memoirist.flows.recipe.io import as_saved, merged_sources

    before = o.open_workspace(workspace, recipe)
    path = recipe or (before.workspace.recipe if before.workspace.recipe.exists() else None)
    wanted = o.overrides(assigned, with_speakers(flags, recipe, workspace))
    if sources:
        wanted["sources.include"] = merged_sources(path, sources)
    context = o.open_workspace(workspace, recipe, wanted)
    named = as_saved(sources) if sources else None
    if not context.recipe.sources.include:
        raise RecipeError(
            "there is no source to extract", "name a file or folder: `memoirist extract book.pdf`"
        )

    unlock(sources, recipe, workspace, password)
    o.run(context, lambda context: pipeline.extract(context, named))


@recipe_flags(*ENDPOINT_KEYS)
def ask(
    flags: Flags = NO_FLAGS,
    assigned: o.SetOption = None,
    recipe: o.RecipeOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Write the question to which each passage is the answer; asked ones are not asked again."""
    from memoirist.flows.pipeline import run_steps
    from memoirist.flows.recipe.io import save_recipe

    def step(context: Context) -> None:
        run_steps(context, "ask")
        save_recipe(context)

    o.run(o.open_workspace(workspace, recipe, o.overrides(assigned, flags)), step)


@recipe_flags("curate.judge", "interview.answers")
def curate(
    flags: Flags = NO_FLAGS,
    assigned: o.SetOption = None,
    recipe: o.RecipeOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Pair questions with passages and judge the pairs by rules, and by an LLM if you wish."""
    from memoirist.flows.pipeline import run_steps
    from memoirist.flows.recipe.io import save_recipe

    def step(context: Context) -> None:
        run_steps(context, "curate")
        if flags:
            save_recipe(context)

    o.run(o.open_workspace(workspace, recipe, o.overrides(assigned, flags)), step)


def compose(
    assigned: o.SetOption = None,
    recipe: o.RecipeOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Compose the kept pairs into conversations: a dataset version, split by whole groups."""
    from memoirist.flows.pipeline import run_steps

    context = o.open_workspace(workspace, recipe, o.overrides(assigned))
    o.run(context, lambda context: run_steps(context, "compose"))


def merge(
    assigned: o.SetOption = None,
    recipe: o.RecipeOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Merge the adapter into its base and check that both answer alike."""
    from memoirist.flows.pipeline import run_steps
    from memoirist.flows.recipe.io import save_recipe

    def step(context: Context) -> None:
        run_steps(context, "merge")
        save_recipe(context)  # else the next build would merge again, under the former settings

    o.run(o.open_workspace(workspace, recipe, o.overrides(assigned)), step)

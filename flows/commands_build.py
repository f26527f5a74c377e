"""The commands that make rows and models: `build` and `refresh` as flows, each step by itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data.errors import RecipeError
from flows import options as o
from flows.options import WORKSPACE
from flows.running import run
from flows.staying import let_go, staying

if TYPE_CHECKING:
    from flows.context import Context
    from flows.recipe import Overrides

Sources = Annotated[
    list[str] | None,
    typer.Argument(metavar="SOURCE...", help="Files, folders, globs, feeds or hf:// ids."),
]


def build(
    sources: Sources = None,
    persona: o.PersonaOption = None,
    alias: o.AliasOption = None,
    speaker: o.SpeakerOption = None,
    limit: o.LimitOption = None,
    lang: o.LangOption = None,
    include_chapter: o.IncludeChapterOption = None,
    exclude_chapter: o.ExcludeChapterOption = None,
    columns: o.MapOption = None,
    mix: o.MixOption = None,
    text_as: o.TextAsOption = None,
    password: o.PasswordOption = None,
    ocr: o.OcrOption = None,
    base_url: o.BaseUrlOption = None,
    model: o.ModelOption = None,
    max_concurrency: o.ConcurrencyOption = None,
    request_timeout: o.TimeoutOption = None,
    budget_usd: o.BudgetOption = None,
    max_requests: o.MaxRequestsOption = None,
    max_tokens: o.MaxTokensOption = None,
    answers: o.AnswersOption = None,
    base_model: o.BaseModelOption = None,
    epochs: o.EpochsOption = None,
    seed: o.SeedOption = None,
    assigned: o.SetOption = None,
    recipe: o.RecipeOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Do everything: sources in, a model that one can talk to out. Run again, it does the rest."""
    wanted = o.overrides(
        assigned,
        persona__aliases=alias,
        persona__lang=lang,
        sources__chapters__include=include_chapter,
        sources__chapters__exclude=exclude_chapter,
        sources__map=o.mapped(columns),
        sources__mix=o.mixes(mix),
        sources__text_as=text_as,
        sources__speakers=_speakers(speaker, recipe, workspace),
        sources__limit=limit,
        sources__extract__ocr=ocr,
        interview__base_url=base_url,
        interview__model=model,
        interview__max_concurrency=max_concurrency,
        interview__request_timeout_seconds=request_timeout,
        interview__budget_usd=budget_usd,
        interview__max_requests=max_requests,
        interview__max_tokens=max_tokens,
        interview__answers=answers,
        train__base_model=base_model,
        train__epochs=epochs,
        train__seed=seed,
    )
    _refuse_early(sources, persona, recipe, workspace, wanted)
    _unlock(sources, recipe, workspace, password)
    from flows.build import build as flow
    from flows.prefect_server import running

    with staying(), running():
        changed = flow(
            sources=sources,
            persona=persona,
            workspace=str(workspace),
            recipe=str(recipe) if recipe else None,
            overrides=wanted,
        )
    _close(changed, workspace)


def _speakers(
    told: list[str] | None, recipe: Path | None, workspace: Path
) -> dict[str, str] | None:
    """Return the recipe's speakers with the flag's set over them; None without the flag."""
    if not told:
        return None
    from flows.openings import merged_speakers
    from flows.workspace import Workspace

    saved = Workspace(workspace).recipe
    return merged_speakers(recipe or (saved if saved.exists() else None), told)


def _refuse_early(
    sources: list[str] | None,
    persona: str | None,
    recipe: Path | None,
    workspace: Path,
    wanted: Overrides,
) -> None:
    """Refuse what is plainly wrong before Prefect takes its seconds to start."""
    context = o.open_workspace(workspace, recipe, wanted)
    if not sources and not context.recipe.sources.include:
        raise RecipeError(
            "there is no source to build from",
            "name a file or folder: `memoirist build book.pdf --persona 'FULL NAME'`",
        )
    if not (persona or context.recipe.persona.name):
        raise RecipeError("nobody is named as the persona", "add --persona 'FULL NAME'")
    if sources:
        from extractors import discover

        discover(sources)


def _unlock(
    sources: list[str] | None, recipe: Path | None, workspace: Path, given: list[str] | None
) -> None:
    """Remember the passwords of locked files; on a terminal, ask for those that are missing."""
    from extractors.pdf.passwords import remember
    from flows.unlocking import locked, typed

    remember(given or ())
    if not sys.stdin.isatty():
        return
    context = o.open_workspace(workspace, recipe)
    for path in locked(context, [*(sources or ()), *context.recipe.sources.include]):
        typed(path)


def _close(changed: dict[str, int], workspace: Path) -> None:
    where = "" if workspace == WORKSPACE else f" -w {workspace}"
    if not changed:
        typer.echo("Nothing to do: every source is taken in, asked, composed, trained and merged.")
    lines = (
        (f"memoirist chat{where}", "talk to the persona"),
        (f"memoirist chat --compare{where}", "base and tuned model side by side"),
        (f"memoirist look coverage{where}", "what was found, kept and dropped, by which rule"),
        (f"memoirist look kept{where}", "the pairs; `look why ID` leads one back to its page"),
        ("memoirist build SOURCE... --persona NAME \\", "your own sources,"),
        ("  --base-url URL --model LLM \\", "  a real interviewer,"),
        ("  --base-model PATH_OR_HUB_ID -w FOLDER", "  and a real base"),
    )
    try:
        typer.echo("\nWhat next:")
        for command, told in lines:
            typer.echo(f"  {command:<46} {told}")
    except OSError:
        let_go()  # the build is done, and its terminal is gone


def refresh(
    recipe: o.RecipeOption = None,
    assigned: o.SetOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Look at the recipe's sources again; retrain when enough is new, else say why not."""
    o.open_workspace(workspace, recipe, o.overrides(assigned))
    from flows.prefect_server import running
    from flows.refresh import refresh as flow

    with staying(), running():
        changed = flow(
            workspace=str(workspace),
            recipe=str(recipe) if recipe else None,
            overrides=o.overrides(assigned),
        )
    if not changed:
        typer.echo("Nothing to do: the sources hold nothing new.")


def extract(
    sources: Sources = None,
    persona: o.PersonaOption = None,
    alias: o.AliasOption = None,
    speaker: o.SpeakerOption = None,
    limit: o.LimitOption = None,
    lang: o.LangOption = None,
    include_chapter: o.IncludeChapterOption = None,
    exclude_chapter: o.ExcludeChapterOption = None,
    columns: o.MapOption = None,
    mix: o.MixOption = None,
    text_as: o.TextAsOption = None,
    password: o.PasswordOption = None,
    ocr: o.OcrOption = None,
    assigned: o.SetOption = None,
    recipe: o.RecipeOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Read sources into documents and blocks, and split them into passages."""
    from flows.ingest import extract_sources
    from flows.openings import as_saved, merged_sources, save_recipe
    from flows.splitting import split_documents

    before = o.open_workspace(workspace, recipe)
    path = recipe or (before.workspace.recipe if before.workspace.recipe.exists() else None)
    wanted = o.overrides(
        assigned,
        persona__name=persona,
        persona__aliases=alias,
        persona__lang=lang,
        sources__chapters__include=include_chapter,
        sources__chapters__exclude=exclude_chapter,
        sources__map=o.mapped(columns),
        sources__mix=o.mixes(mix),
        sources__text_as=text_as,
        sources__speakers=_speakers(speaker, recipe, workspace),
        sources__limit=limit,
        sources__extract__ocr=ocr,
    )
    if sources:
        wanted["sources.include"] = merged_sources(path, sources)
    context = o.open_workspace(workspace, recipe, wanted)
    include = context.recipe.sources.include
    named = as_saved(sources) if sources else None
    if not include:
        raise RecipeError(
            "there is no source to extract", "name a file or folder: `memoirist extract book.pdf`"
        )

    _unlock(sources, recipe, workspace, password)

    def step(context: Context) -> None:
        extract_sources(context, include, named)
        save_recipe(context)
        split_documents(context)

    run(context, step)


def ask(
    base_url: o.BaseUrlOption = None,
    model: o.ModelOption = None,
    max_concurrency: o.ConcurrencyOption = None,
    request_timeout: o.TimeoutOption = None,
    budget_usd: o.BudgetOption = None,
    max_requests: o.MaxRequestsOption = None,
    max_tokens: o.MaxTokensOption = None,
    assigned: o.SetOption = None,
    recipe: o.RecipeOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Write the question to which each passage is the answer; asked ones are not asked again."""
    wanted = o.overrides(
        assigned,
        interview__base_url=base_url,
        interview__model=model,
        interview__max_concurrency=max_concurrency,
        interview__request_timeout_seconds=request_timeout,
        interview__budget_usd=budget_usd,
        interview__max_requests=max_requests,
        interview__max_tokens=max_tokens,
    )

    def step(context: Context) -> None:
        from flows.asking import ask_questions
        from flows.openings import save_recipe

        ask_questions(context)
        save_recipe(context)

    run(o.open_workspace(workspace, recipe, wanted), step)


def curate(
    judge: Annotated[
        bool | None,
        typer.Option("--judge/--no-judge", help="Have an LLM grade the pairs: curate.judge."),
    ] = None,
    answers: o.AnswersOption = None,
    assigned: o.SetOption = None,
    recipe: o.RecipeOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Pair questions with passages and judge the pairs by rules, and by an LLM if you wish."""
    from flows.curating import curate_pairs
    from flows.following import follow_pairs
    from flows.judging import judge_pairs
    from flows.openings import save_recipe
    from flows.polishing import polish_answers

    def step(context: Context) -> None:
        polish_answers(context)
        curate_pairs(context)
        judge_pairs(context)
        follow_pairs(context)
        if judge is not None or answers is not None:
            save_recipe(context)

    wanted = o.overrides(assigned, curate__judge=judge, interview__answers=answers)
    run(o.open_workspace(workspace, recipe, wanted), step)


def compose(
    assigned: o.SetOption = None,
    recipe: o.RecipeOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Compose the kept pairs into conversations: a dataset version, split by whole groups."""
    from flows.curating import compose_dataset

    run(o.open_workspace(workspace, recipe, o.overrides(assigned)), compose_dataset)


def merge(
    assigned: o.SetOption = None,
    recipe: o.RecipeOption = None,
    workspace: o.WorkspaceOption = WORKSPACE,
) -> None:
    """Merge the adapter into its base and check that both answer alike."""
    from flows.merging import merge_model
    from flows.openings import save_recipe

    def step(context: Context) -> None:
        merge_model(context)
        save_recipe(context)  # else the next build would merge again, under the former settings

    run(o.open_workspace(workspace, recipe, o.overrides(assigned)), step)

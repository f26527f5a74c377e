"""Merge sources and speakers of the flags into a saved recipe, and save the resolved one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from memoirist.data.schema.errors import RecipeError
from memoirist.flows.recipe import recipe as recipes
from memoirist.flows.runtime.context import Context


def merged_sources(path: Path | None, sources: Sequence[str]) -> list[str]:
    """Return the recipe's sources, then the new ones: absolute and without repeats."""
    saved = recipes.load(path).sources.include if path is not None else []
    return list(dict.fromkeys([*saved, *as_saved(sources)]))


def merged_speakers(path: Path | None, assignments: Sequence[str]) -> dict[str, str]:
    """Return the recipe's speakers with `LABEL=NAME` set over them; an empty name removes one.

    Raise RecipeError for a wrong assignment.
    """
    speakers = dict(recipes.load(path).sources.speakers) if path is not None else {}
    for assignment in assignments:
        label, equals, name = (part.strip() for part in assignment.rpartition("="))
        if not equals or not label:
            raise RecipeError(
                f"--speaker {assignment!r} is no LABEL=NAME",
                "write --speaker 'SPEAKER_01=FULL NAME'",
            )
        if name:
            speakers[label] = name
        else:
            speakers.pop(label, None)
    return speakers


def as_saved(sources: Sequence[str]) -> list[str]:
    """Return sources as a recipe saves them: absolute, so that any working folder may be used."""
    return [_absolute(source) for source in sources]


def _absolute(source: str) -> str:
    if "://" in source or not source.strip():
        return source
    try:
        return str(Path(source).expanduser().resolve())
    except RuntimeError:  # "~name" without such a user is a file's name
        return str(Path(source).resolve())


def save_recipe(context: Context) -> None:
    """Save the resolved recipe in the workspace, so that later commands need no flags."""
    path = context.workspace.recipe
    text = recipes.dump(context.recipe)
    if not path.exists() or path.read_text("utf-8") != text:
        partial = path.with_suffix(".partial")
        partial.write_text(text, "utf-8")
        partial.replace(path)

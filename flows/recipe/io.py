"""Read and save recipes: merge the sources and speakers of the flags into a saved recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from memoirist.data.schema.errors import RecipeError
from memoirist.flows.recipe import recipe as recipes
from memoirist.flows.runtime.context import Context


def merged_sources(path: Path | None, sources: Sequence[str]) -> list[str]:
    """Return the sources of a recipe and the new ones behind them, each once and absolute."""
    before = recipes.load(path).sources.include if path is not None else []
    return list(dict.fromkeys([*before, *as_saved(sources)]))


def merged_speakers(path: Path | None, assignments: Sequence[str]) -> dict[str, str]:
    """Return the recipe's speakers with `LABEL=NAME` set over them; an empty name unsets one.

    Raise RecipeError for what is no such assignment.
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
    """Return sources as the recipe keeps them: absolute, whatever folder a command runs in."""
    return [_absolute(source) for source in sources]


def _absolute(source: str) -> str:
    if "://" in source or not source.strip():
        return source
    try:
        return str(Path(source).expanduser().resolve())
    except RuntimeError:  # "~nobody" names no user: then it is a file's name
        return str(Path(source).resolve())


def save_recipe(context: Context) -> None:
    """Keep the resolved recipe in the workspace, so that later commands need no flags."""
    place = context.workspace.recipe
    text = recipes.dump(context.recipe)
    if not place.exists() or place.read_text("utf-8") != text:
        partial = place.with_suffix(".partial")
        partial.write_text(text, "utf-8")
        partial.replace(place)

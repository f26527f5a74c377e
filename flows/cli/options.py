"""The options that commands share, and how they become the surroundings of a step."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memoirist.data.schema.errors import RecipeError
from memoirist.flows.cli.recipe_flags import NO_FLAGS, Flags, flag_name

if TYPE_CHECKING:
    from memoirist.data.store.store import Store
    from memoirist.flows.recipe.recipe import Overrides
    from memoirist.flows.runtime.context import Context


# `--help` answers at once because pydantic, duckdb and the extractors load only when a command
# runs.

WORKSPACE = Path("workspace")
WorkspaceOption = Annotated[
    Path,
    typer.Option("-w", "--workspace", envvar="MEMOIRIST_WORKSPACE", help="Folder of this persona."),
]
RecipeOption = Annotated[
    Path | None,
    typer.Option("-r", "--recipe", help="A TOML recipe; default: the workspace's own, if any."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any recipe key, such as train.rank=32."),
]
PasswordOption = Annotated[
    list[str] | None,
    typer.Option(
        "--password", help="A password tried for every locked PDF; asked for if none fits."
    ),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Overwrite a file that exists; never the workspace's own.")
]


class TableFormat(StrEnum):
    """How rows are printed."""

    table = "table"
    json = "json"
    csv = "csv"


FormatOption = Annotated[TableFormat, typer.Option("--format", help="How rows are printed.")]


def overrides(assigned: Sequence[str] | None, flags: Flags = NO_FLAGS) -> Overrides:
    """Return dotted recipe keys from `--set` and from flags; a flag wins."""
    from memoirist.flows.recipe.recipe import Overrides

    values: dict[str, Any] = {}
    given_by: dict[str, str] = {}
    for assignment in assigned or ():
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"--set {assignment!r} is no KEY=VALUE", "write --set train.rank=32")
        values[key.strip()] = _toml(value.strip())
        given_by[key.strip()] = f"--set {assignment}"
    include = values.get("sources.include")
    if isinstance(include, list | str):
        # Given on the command line, a relative path starts where the command runs.
        from memoirist.flows.recipe.io import as_saved

        values["sources.include"] = as_saved([include] if isinstance(include, str) else include)
    for key, value in flags.items():
        parse = {"sources.map": mapped, "sources.mix": mixes}.get(key)
        values[key] = parse(value) if parse else value
        given_by[key] = flag_name(key)
    return Overrides(values, given_by)


def mapped(assignments: Sequence[str]) -> dict[str, str]:
    """Return `--map PART=COLUMN` as the recipe's table."""
    return dict(_assigned("--map", assignments))


def mixes(assignments: Sequence[str]) -> list[dict[str, Any]]:
    """Return `--mix SOURCE=SHARE` as the recipe's tables."""
    from memoirist.flows.recipe.io import as_saved

    tables: list[dict[str, Any]] = []
    for source, share in _assigned("--mix", assignments):
        try:
            tables.append({"source": as_saved([source])[0], "share": float(share)})
        except ValueError as error:
            raise RecipeError(
                f"--mix {source}={share}: the share is no number", "write --mix hf://org/name=0.1"
            ) from error
    return tables


def _assigned(flag: str, assignments: Sequence[str]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for assignment in assignments:
        name, equals, value = assignment.rpartition("=")
        if not equals or not name.strip() or not value.strip():
            raise RecipeError(f"{flag} {assignment!r} has no value", f"write {flag} NAME=VALUE")
        pairs.append((name.strip(), value.strip()))
    return pairs


def _toml(value: str) -> object:
    try:
        return tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        return value  # an unquoted word


def open_workspace(
    workspace: Path, recipe: Path | None = None, wanted: Mapping[str, Any] | None = None
) -> Context:
    """Return the surroundings of a single command: its steps run directly, without Prefect."""
    from memoirist.flows.recipe import recipe as recipes
    from memoirist.flows.runtime.context import Context
    from memoirist.flows.runtime.report import Report
    from memoirist.flows.runtime.workspace import Workspace

    report = Report()
    place = Workspace(workspace, on_wait=report.note)
    path = recipe or (place.recipe if place.recipe.exists() else None)
    return Context(place, recipes.load(path, wanted), report)


def patient_workspace(workspace: Path) -> Context:
    """Return the surroundings of a talk, which goes on beside a build and waits for its writes."""
    context = open_workspace(workspace)
    store = context.workspace.store
    store.wait_seconds = 20.0
    if store.path.exists():
        # An older version's tables get their new columns before anything reads them.
        with store.writing():
            pass
    return context


def open_store(workspace: Path) -> Store:
    """Return the tables of a workspace for reading; no recipe is needed for that."""
    from memoirist.data.store.store import FILE, Store

    return Store(workspace / FILE)


def run(context: Context, step: Callable[[Context], object]) -> None:
    """Run one step alone, under the workspace's lock, and say when nothing was due."""
    from memoirist.flows.runtime.detach import ignore_hangup

    with ignore_hangup(), context.workspace.held():
        step(context)
    if not context.changed:
        context.report.note("nothing to do: this step is up to date")

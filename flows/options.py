"""The options that commands share, and how they become the surroundings of a step."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data.errors import RecipeError

# `--help` answers at once because pydantic, duckdb and the extractors load only when a command
# runs.
if TYPE_CHECKING:
    from data.store.store import Store
    from flows.context import Context
    from flows.recipe import Overrides

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
PersonaOption = Annotated[
    str | None, typer.Option("--persona", help="The person's full name, as in the sources.")
]
AliasOption = Annotated[
    list[str] | None,
    typer.Option("--alias", help="Another name of the persona, such as a transcript's label."),
]
SpeakerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--speaker", metavar="LABEL=NAME", help="Who a transcript's label is; FILE:LABEL for one."
    ),
]
LimitOption = Annotated[
    int | None, typer.Option("--limit", min=1, help="Newest episodes taken of a podcast feed.")
]
LangOption = Annotated[
    str | None, typer.Option("--lang", help="The persona's language, such as en; default: found.")
]
PasswordOption = Annotated[
    list[str] | None,
    typer.Option(
        "--password", help="A password tried for every locked PDF; asked for if none fits."
    ),
]
OcrOption = Annotated[
    bool | None,
    typer.Option("--ocr/--no-ocr", help="Make a text layer for scanned PDFs (extra: ocr)."),
]
IncludeChapterOption = Annotated[
    list[str] | None,
    typer.Option("--include-chapter", help="Keep the chapters whose title has this in it."),
]
ExcludeChapterOption = Annotated[
    list[str] | None,
    typer.Option("--exclude-chapter", help="Drop the chapters whose title has this in it."),
]
MapOption = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="PART=COLUMN", help="A dataset's column: question=instruction."),
]
MixOption = Annotated[
    list[str] | None,
    typer.Option("--mix", metavar="SOURCE=SHARE", help="Mix a dataset in: hf://org/name=0.1."),
]
TextAsOption = Annotated[
    str | None,
    typer.Option("--text-as", help="Raw text rows: interview (ask) or completion (as they are)."),
]
BaseUrlOption = Annotated[
    str | None, typer.Option("--base-url", help="An OpenAI-compatible endpoint, with its /v1.")
]
ModelOption = Annotated[str | None, typer.Option("--model", help="The LLM that asks.")]
ConcurrencyOption = Annotated[
    int | None, typer.Option("--max-concurrency", min=1, help="Requests in flight at once.")
]
TimeoutOption = Annotated[
    float | None, typer.Option("--request-timeout", help="Seconds until a request is given up.")
]
BudgetOption = Annotated[
    float | None,
    typer.Option("--budget-usd", min=0, help="Most that this run may cost, in US dollars."),
]
MaxRequestsOption = Annotated[
    int | None, typer.Option("--max-requests", min=0, help="Most requests that this run sends.")
]
MaxTokensOption = Annotated[
    int | None,
    typer.Option("--max-tokens", min=0, help="Most tokens of this run, sent and replied."),
]
AnswersOption = Annotated[
    str | None,
    typer.Option("--answers", help="verbatim, or polished: mended by an LLM within strict bounds."),
]
BaseModelOption = Annotated[
    str | None,
    typer.Option("--base-model", help="The model to tune: tiny, a folder or a hub id."),
]
EpochsOption = Annotated[
    float | None, typer.Option("--epochs", help="Passes over the training rows, taken exactly.")
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Seed of the training.")]


# The flags that are not named as their key.
_FLAGS = {
    "persona.name": "--persona",
    "persona.aliases": "--alias",
    "sources.speakers": "--speaker",
    "sources.chapters.include": "--include-chapter",
    "sources.chapters.exclude": "--exclude-chapter",
    "interview.request_timeout_seconds": "--request-timeout",
    "evaluate.judge_model": "--model",
}


def overrides(assigned: Sequence[str] | None, **flags: Any) -> Overrides:  # noqa: ANN401
    """Return dotted recipe keys from `--set` and from flags; a flag wins, None is no flag.

    Flags are named by their key with `__` for the dot: `train__epochs`.
    """
    from flows.recipe import Overrides

    found: dict[str, Any] = {}
    told: dict[str, str] = {}
    for assignment in assigned or ():
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"--set {assignment!r} is no KEY=VALUE", "write --set train.rank=32")
        found[key.strip()] = _toml(value.strip())
        told[key.strip()] = f"--set {assignment}"
    include = found.get("sources.include")
    if isinstance(include, list | str):
        # Given on the command line, a relative path starts where the command runs.
        from flows.openings import as_saved

        found["sources.include"] = as_saved([include] if isinstance(include, str) else include)
    for name, value in flags.items():
        if value is not None:
            key = name.replace("__", ".")
            found[key] = value
            told[key] = _FLAGS.get(key, f"--{key.split('.')[-1].replace('_', '-')}")
    return Overrides(found, told)


def mapped(told: Sequence[str] | None) -> dict[str, str] | None:
    """Return `--map PART=COLUMN` as the recipe's table, None where it was not given."""
    return dict(_assigned("--map", told)) if told else None


def mixes(told: Sequence[str] | None) -> list[dict[str, Any]] | None:
    """Return `--mix SOURCE=SHARE` as the recipe's tables, None where it was not given."""
    from flows.openings import as_saved

    found: list[dict[str, Any]] = []
    for source, share in _assigned("--mix", told or ()):
        try:
            found.append({"source": as_saved([source])[0], "share": float(share)})
        except ValueError as error:
            raise RecipeError(
                f"--mix {source}={share}: the share is no number", "write --mix hf://org/name=0.1"
            ) from error
    return found or None


def _assigned(flag: str, told: Sequence[str]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for each in told:
        name, equals, value = each.rpartition("=")
        if not equals or not name.strip() or not value.strip():
            raise RecipeError(f"{flag} {each!r} has no value", f"write {flag} NAME=VALUE")
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
    from flows import recipe as recipes
    from flows.context import Context
    from flows.report import Report
    from flows.workspace import Workspace

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
    from data.store.store import FILE, Store

    return Store(workspace / FILE)

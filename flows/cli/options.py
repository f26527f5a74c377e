"""The options of the commands, and the context that is made from them.

The recipe declares each key's type, default and description; a command names the keys that it
offers, `@recipe_flags("train.epochs")`. The flag is the key's last part with dashes, `--epochs`. A
parameter `options: RecipeOptions` stands for these flags with `--set`, `--recipe` and `-w`, a
parameter `flags` for the flags alone.
"""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer

from memoirist.data.schema.errors import RecipeError

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from memoirist.data.store.store import Store
    from memoirist.flows.recipe import Overrides
    from memoirist.flows.runtime.context import Context

# `--help` answers at once because pydantic, duckdb and the extractors are imported only when a
# command runs.

WORKSPACE = Path("workspace")
WorkspaceOption = Annotated[
    Path,
    typer.Option(
        "-w",
        "--workspace",
        envvar="MEMOIRIST_WORKSPACE",
        help="Workspace: the folder of one persona.",
    ),
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
        "--password", help="A password to try on every locked PDF; you are asked if none opens it."
    ),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Overwrite a file that exists; never the workspace's own.")
]
FormatOption = Annotated[
    Literal["table", "json", "csv"], typer.Option("--format", help="How rows are printed.")
]

Flags = Mapping[str, Any]
Command = Callable[..., None]
NO_FLAGS: Flags = MappingProxyType({})

# Flags that are not named as the last part of their key.
_NAMES = {
    "persona.name": "--persona",
    "persona.aliases": "--alias",
    "sources.speakers": "--speaker",
    "sources.chapters.include": "--include-chapter",
    "sources.chapters.exclude": "--exclude-chapter",
    "interview.request_timeout_seconds": "--request-timeout",
    "evaluate.judge_model": "--model",
    "chat.max_new_tokens": "--max-tokens",
}
# How a value is written where the type of its key has no plain form.
_METAVARS = {
    "sources.speakers": "LABEL=NAME",
    "sources.map": "PART=COLUMN",
    "sources.mix": "SOURCE=SHARE",
}
_EXAMPLES = {
    "--set": "write --set train.rank=32",
    "--what-if": "write --what-if gates.min_stop_share=0.2",
}
_KEYS: dict[Command, tuple[str, ...]] = {}
# The options beside the flags: annotation and default by the name of the parameter.
_SHARED: Mapping[str, tuple[Any, Any]] = {
    "assigned": (SetOption, None),
    "recipe": (RecipeOption, None),
    "workspace": (WorkspaceOption, WORKSPACE),
}


def recipe_flags(*keys: str) -> Callable[[Command], Command]:
    """Let a command offer flags for keys of the recipe, or of `chat`, the settings of an answer."""

    def mark(command: Command) -> Command:
        _KEYS[command] = keys
        return command

    return mark


def flag_name(key: str) -> str:
    """Return the flag of a recipe key."""
    return _NAMES.get(key, f"--{key.rpartition('.')[2].replace('_', '-')}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeOptions:
    """The options that resolve to a recipe: `--set`, `--recipe`, `-w`, and the flags by key."""

    assigned: list[str] | None
    recipe: Path | None
    workspace: Path
    flags: Flags

    def overrides(self) -> Overrides:
        """Return the recipe keys that the options set; speakers are added to the recipe's own."""
        flags = dict(self.flags)
        if speakers := flags.get("sources.speakers"):
            from memoirist.flows.recipe import merged_speakers

            flags["sources.speakers"] = merged_speakers(self.recipe_path(), speakers)
        return overrides(self.assigned, flags)

    def what_if(self, changes: Sequence[str]) -> Overrides:
        """Return the same keys with `--what-if KEY=VALUE` over them, a key of the table curate."""
        given, tried = self.overrides(), overrides(changes, flag="--what-if")
        full = {key: f"curate.{key.removeprefix('curate.')}" for key in tried}
        return type(given)(
            {**given, **{full[key]: value for key, value in tried.items()}},
            {**given.flags, **{full[key]: origin for key, origin in tried.flags.items()}},
        )

    def recipe_path(self) -> Path | None:
        """Return the recipe's path: as given, else the workspace's own if it has one."""
        saved = self.workspace / "recipe.toml"
        return self.recipe or (saved if saved.exists() else None)

    def open(self, values: Overrides | None = None) -> Context:
        """Return the context of the command, with `values` in place of the options' own keys."""
        return open_workspace(
            self.workspace, self.recipe, self.overrides() if values is None else values
        )


def with_flags(command: Command) -> Command:
    """Return the command with `options` and `flags` replaced by the parameters that typer reads."""
    parameter_keys = {f"flag_{key.replace('.', '_')}": key for key in _KEYS.get(command, ())}
    own = inspect.signature(command, eval_str=True).parameters

    def called(**arguments: Any) -> None:  # noqa: ANN401 - whatever the options hold
        values = {key: arguments.pop(name) for name, key in parameter_keys.items()}
        flags = {key: value for key, value in values.items() if value not in (None, [])}
        if "options" in own:
            shared = {name: arguments.pop(name) for name in _SHARED}
            arguments["options"] = RecipeOptions(flags=flags, **shared)
        elif "flags" in own:
            arguments["flags"] = flags
        command(**arguments)

    called.__doc__ = command.__doc__
    called.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        list(_parameters(own.values(), parameter_keys))
    )
    return called


def _parameters(
    own: Iterable[inspect.Parameter], keys: Mapping[str, str]
) -> Iterator[inspect.Parameter]:
    """Yield a command's own parameters, with the single options in the place of the records."""
    for parameter in own:
        if parameter.name not in {"options", "flags"}:
            yield parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            continue
        options = {name: (_option(key), None) for name, key in keys.items()}
        if parameter.name == "options":
            options |= _SHARED
        for name, (annotation, default) in options.items():
            yield inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
            )


def _option(key: str) -> Any:  # noqa: ANN401 - an annotation
    """Return the annotation from which typer makes the option of a key."""
    field = _field(key)
    kind, metavar = _plain_type(field.annotation)
    name = flag_name(key)
    bounds = {
        bound: getattr(limit, attribute)
        for limit in field.metadata
        for attribute, bound in (("ge", "min"), ("le", "max"))
        if kind in {int, float} and hasattr(limit, attribute)
    }
    default = field.get_default(call_default_factory=True)
    plain = str(default).lower() if kind is bool else default
    shown = "" if default in (None, "", [], {}) else f" [default: {plain}]"
    option = typer.Option(
        f"{name}/--no-{name[2:]}" if kind is bool else name,
        metavar=_METAVARS.get(key, metavar),
        help=f"{field.description}{shown}",
        show_default=False,
        **bounds,
    )
    return Annotated[kind | None, option]


def _field(key: str) -> FieldInfo:
    """Return the field of a dotted key; a part that is a list of tables stands for any of them."""
    table, *parts, last = key.split(".")
    model: type[BaseModel]
    if table == "chat":
        from memoirist.train.settings import ChatSettings

        model = ChatSettings
    else:
        from memoirist.flows.recipe import Recipe

        model, parts = Recipe, [table, *parts]
    for part in parts:
        inner: Any = model.model_fields[part].annotation
        model = get_args(inner)[0] if get_origin(inner) is list else inner
    return model.model_fields[last]


def _plain_type(annotation: Any) -> tuple[Any, str | None]:  # noqa: ANN401 - an annotation
    """Return the type that a flag's value has, and its metavar where the type is a choice."""
    if get_origin(annotation) in {Union, UnionType}:
        (annotation,) = (kind for kind in get_args(annotation) if kind is not NoneType)
    if get_origin(annotation) is Literal:
        return str, "|".join(get_args(annotation))
    if get_origin(annotation) in {list, dict}:
        return list[str], None
    return (annotation, None) if annotation in {bool, int, float} else (str, None)


def overrides(
    assigned: Sequence[str] | None, flags: Flags = NO_FLAGS, flag: str = "--set"
) -> Overrides:
    """Return dotted recipe keys from `--set`, or another such `flag`, and from flags; these win."""
    from memoirist.flows.recipe import Overrides

    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for assignment in assigned or ():
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"{flag} {assignment!r} is not KEY=VALUE", _EXAMPLES[flag])
        values[key.strip()] = _toml(value.strip())
        origins[key.strip()] = f"{flag} {assignment}"
    include = values.get("sources.include")
    include = [include] if isinstance(include, str) else include
    if isinstance(include, list) and all(isinstance(source, str) for source in include):
        # A relative path on the command line starts in the current folder.
        from memoirist.flows.recipe import as_saved

        values["sources.include"] = as_saved(include)
    for key, value in flags.items():
        parse = {"sources.map": mapped, "sources.mix": mixes}.get(key)
        values[key] = parse(value) if parse else value
        origins[key] = flag_name(key)
    return Overrides(values, origins)


def mapped(assignments: Sequence[str]) -> dict[str, str]:
    """Return `--map PART=COLUMN` as the recipe's table."""
    return dict(_assigned("--map", assignments))


def mixes(assignments: Sequence[str]) -> list[dict[str, Any]]:
    """Return `--mix SOURCE=SHARE` as the recipe's tables."""
    from memoirist.flows.recipe import as_saved

    tables: list[dict[str, Any]] = []
    for source, share in _assigned("--mix", assignments):
        try:
            tables.append({"source": as_saved([source])[0], "share": float(share)})
        except ValueError as error:
            raise RecipeError(
                f"--mix {source}={share}: the share is not a number",
                "write --mix hf://org/name=0.1",
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
    workspace: Path, recipe: Path | None = None, values: Mapping[str, Any] | None = None
) -> Context:
    """Return the context of a single command; the context is imported only here."""
    from memoirist.flows.runtime.context import open_context

    return open_context(workspace, recipe, values)


def patient_workspace(workspace: Path) -> Context:
    """Return the context of a chat, which runs beside a build and waits for its writes."""
    context = open_workspace(workspace)
    context.workspace.store.wait_seconds = 20.0
    return context


def open_store(workspace: Path) -> Store:
    """Return the store of a workspace for reading, which needs no recipe."""
    from memoirist.data.store.store import FILE, Store

    return Store(workspace / FILE)


def run(context: Context, step: Callable[[Context], object]) -> None:
    """Run one step under the workspace's lock, and report when nothing was due."""
    from memoirist.flows.runtime.report import ignore_hangup

    with ignore_hangup(), context.workspace.lock():
        step(context)
    if not context.changed:
        context.report.note("nothing to do: this step is up to date")

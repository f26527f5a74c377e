"""Flags that are made from the recipe: each key's type, default and description stand there alone.

A command names the keys that it offers, `@recipe_flags("train.epochs")`, and gets what was given
as `flags`, by key. The flag is the key's last part with dashes, `--epochs`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType, NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer

# pydantic and the settings load for a command that is called, and not for the list of commands.
if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

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
_KEYS: dict[Command, tuple[str, ...]] = {}


def recipe_flags(*keys: str) -> Callable[[Command], Command]:
    """Let a command offer flags for keys of the recipe, or of `chat`, the settings of an answer."""

    def mark(command: Command) -> Command:
        _KEYS[command] = keys
        return command

    return mark


def flag_name(key: str) -> str:
    """Return the flag of a recipe key."""
    return _NAMES.get(key, f"--{key.rpartition('.')[2].replace('_', '-')}")


def with_flags(command: Command) -> Command:
    """Return the command with its flags as options that typer reads from the signature."""
    if command not in _KEYS:
        return command
    parameter_keys = {f"flag_{key.replace('.', '_')}": key for key in _KEYS[command]}

    def called(**arguments: Any) -> None:  # noqa: ANN401 - whatever the options hold
        given = {key: arguments.pop(name) for name, key in parameter_keys.items()}
        flags = {key: value for key, value in given.items() if value not in (None, [])}
        command(**arguments, flags=flags)

    called.__doc__ = command.__doc__
    called.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        list(_parameters(command, parameter_keys))
    )
    return called


def _parameters(command: Command, keys: Mapping[str, str]) -> Iterator[inspect.Parameter]:
    """Yield the command's own parameters, and its flags in the place of `flags`."""
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if parameter.name != "flags":
            yield parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            continue
        for name, key in keys.items():
            yield inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(key)
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
    shown = "" if default in (None, "", [], {}) else f" [default: {_shown(default)}]"
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
        from memoirist.flows.recipe.recipe import Recipe

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


def _shown(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)

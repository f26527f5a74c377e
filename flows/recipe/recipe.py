"""The recipe: one pydantic model of everything a user can choose, read from TOML."""

from __future__ import annotations

import difflib
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from memoirist.data.composition.conversations import ComposeSettings
from memoirist.data.curation.pairing import CurateSettings
from memoirist.data.passages.segmentation import PassageSettings
from memoirist.data.schema.errors import RecipeError
from memoirist.flows.recipe.tables import FlowSettings, Persona, RefreshSettings, SourcesSettings
from memoirist.generators.settings import InterviewSettings
from memoirist.train.presets import PRESETS
from memoirist.train.settings import EvaluateSettings, MergeSettings, TrainSettings

# Keys that saved recipes of earlier versions may hold.
_REMOVED_KEYS = (("interview", "hedged_share"),)


class Recipe(BaseModel):
    """Everything that a build depends on; the resolved recipe is saved with each run."""

    model_config = ConfigDict(extra="forbid")

    persona: Persona = Field(default_factory=lambda: Persona.model_validate({}))
    sources: SourcesSettings = Field(default_factory=SourcesSettings)
    passages: PassageSettings = Field(default_factory=lambda: PassageSettings.model_validate({}))
    interview: InterviewSettings = Field(default_factory=InterviewSettings)
    curate: CurateSettings = Field(default_factory=lambda: CurateSettings.model_validate({}))
    compose: ComposeSettings = Field(default_factory=lambda: ComposeSettings.model_validate({}))
    train: TrainSettings = Field(default_factory=TrainSettings)
    merge: MergeSettings = Field(default_factory=MergeSettings)
    evaluate: EvaluateSettings = Field(default_factory=EvaluateSettings)
    refresh: RefreshSettings = Field(default_factory=lambda: RefreshSettings.model_validate({}))
    flow: FlowSettings = Field(default_factory=lambda: FlowSettings.model_validate({}))


class Overrides(dict[str, Any]):
    """Recipe keys from the command line; `flags` tells by which flag each was given."""

    def __init__(self, values: Mapping[str, Any], flags: Mapping[str, str]) -> None:
        """Take the values by dotted key, and the flags by the same keys."""
        super().__init__(values)
        self.flags = dict(flags)

    def over(self, values: Mapping[str, Any]) -> Overrides:
        """Return these keys laid over others, which no flag gave."""
        return Overrides({**values, **self}, self.flags)


def load(path: Path | None, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Return the recipe of a TOML file, or the defaults, with dotted keys set over it.

    Relative sources are resolved against the file's folder. Raises RecipeError for a file that
    is missing or no TOML, an unknown key (with the nearest known ones) and a wrong value.
    """
    values = _read(path) if path is not None else {}
    _drop_removed_keys(values, path)
    if path is not None:
        include = values.get("sources", {}).get("include")
        if isinstance(include, list):
            values["sources"]["include"] = [_anchored(str(s), path.parent) for s in include]
        for mix in values.get("sources", {}).get("mix", []):
            if isinstance(mix, dict) and isinstance(mix.get("source"), str):
                mix["source"] = _anchored(mix["source"], path.parent)
    for key, value in (overrides or {}).items():
        *tables, last = _parts(key)
        place = values
        for table in tables:
            if not isinstance(place.get(table), dict):
                place[table] = {}
            place = place[table]
        place[last] = value
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        flags = overrides.flags if isinstance(overrides, Overrides) else {}
        raise _refusal(error, path, flags) from error


def _drop_removed_keys(values: dict[str, Any], path: Path | None) -> None:
    """Take keys of earlier versions out of a recipe, and say so in a line on stderr."""
    for table, key in _REMOVED_KEYS:
        if isinstance(values.get(table), dict) and key in values[table]:
            del values[table][key]
            sys.stderr.write(f"note: {table}.{key} in {str(path)!r} has no effect any more\n")


def _parts(key: str) -> list[str]:
    """Return the parts of a dotted key as TOML reads it: a quoted part may hold dots."""
    try:
        place: Any = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        return key.split(".")
    parts: list[str] = []
    while isinstance(place, dict):
        (part,) = place
        parts.append(part)
        place = place[part]
    return parts


def dump(recipe: Recipe) -> str:
    """Return the recipe as TOML, only what differs from the defaults."""
    values = recipe.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    if recipe.train.preset:
        # A key that equals its default may have been given to win over the preset's.
        given = recipe.train.model_fields_set & PRESETS[recipe.train.preset].keys()
        values["train"] |= recipe.train.model_dump(mode="json", include=given, exclude_none=True)
    return tomli_w.dumps(values)


def document_keys() -> str:
    """Return every key with its default and its effect, as a TOML file to start from."""
    lines: list[str] = []
    _describe(Recipe, "", lines)
    return "\n".join(lines).strip() + "\n"


def _describe(model: type[BaseModel], prefix: str, lines: list[str]) -> None:
    plain = {
        k: f for k, f in model.model_fields.items() if not _is_table(f.annotation) and not f.exclude
    }
    if plain and prefix:
        lines += ["", f"[{prefix}]"]
    for key, field in plain.items():
        default = field.get_default(call_default_factory=True)
        shown = "" if default is None else tomli_w.dumps({"v": _plain(default)})[4:].strip()
        lines.append(f"# {field.description or ''}".rstrip())
        lines.append(f"# {key} = {shown}" if shown else f"# {key} =  (unset)")
    for key, field in model.model_fields.items():
        if _is_table(field.annotation):
            table = cast("type[BaseModel]", field.annotation)
            _describe(table, f"{prefix}.{key}".strip("."), lines)


def _plain(value: object) -> object:
    return value if isinstance(value, bool | int | float | str | list) else str(value)


def _is_table(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(
            f"there is no recipe at {str(path)!r}",
            "check the path, or print one with `memoirist plan --recipe-keys`",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"the recipe {str(path)!r} is no TOML: {error}", "mend that line and run it again"
        ) from error


def _anchored(pointer: str, folder: Path) -> str:
    if "://" in pointer or Path(pointer).expanduser().is_absolute():
        return pointer
    return str(folder.resolve() / pointer)


def _refusal(error: ValidationError, path: Path | None, flags: Mapping[str, str]) -> RecipeError:
    """Tell the first fault in one line, an unknown key with its nearest known ones.

    What a flag gave is laid to the flag, and not to the file that it was laid over.
    """
    fault = error.errors()[0]
    key = ".".join(str(part) for part in fault["loc"])
    given = [f for name, f in flags.items() if f"{key}.".startswith(f"{name}.")]
    # A fault of a whole table: any of its keys may be the wrong one.
    given = given or [f for name, f in flags.items() if name.startswith(f"{key}.")]
    where = f" in {str(path)!r}" if path is not None and not given else ""
    by = f"{', '.join(given)}: " if given else ""
    if fault["type"] == "extra_forbidden":
        near = _nearest([str(part) for part in fault["loc"]])
        hint = f"did you mean {near}?" if near else "`memoirist plan --recipe-keys` lists all keys"
        return RecipeError(f"{by}the recipe has no key {key!r}{where}", hint)
    message = str(fault["msg"]).removeprefix("Value error, ")
    shown = "" if fault["type"] == "value_error" else f" = {fault['input']!r}"
    return RecipeError(
        f"{by}the recipe's {key or 'file'}{shown}{where} is refused: {message}",
        "mend the value; `memoirist plan --recipe-keys` explains every key",
    )


def _nearest(parts: Sequence[str]) -> str:
    model: type[BaseModel] = Recipe
    for part in parts[:-1]:
        field = model.model_fields.get(part)
        if field is None or not _is_table(field.annotation):
            break
        model = cast("type[BaseModel]", field.annotation)
    everywhere = {
        key: f"{table}.{key}"
        for table, field in Recipe.model_fields.items()
        if _is_table(field.annotation)
        for key in cast("type[BaseModel]", field.annotation).model_fields
    }
    wrong = parts[-1]
    if wrong in everywhere:
        near = [everywhere[wrong]]  # a right key in the wrong table
    else:
        near = difflib.get_close_matches(wrong, model.model_fields, n=2) or [
            everywhere[key] for key in difflib.get_close_matches(wrong, everywhere, n=2)
        ]
    return " or ".join(repr(key) for key in near)

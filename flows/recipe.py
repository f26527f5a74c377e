"""The recipe: one pydantic model of everything a user can choose, read from TOML."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import tomli_w
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from data.chapters import ChapterSettings
from data.compose import ComposeSettings
from data.curate import CurateSettings
from data.disclosure import words_of
from data.errors import RecipeError
from data.passages import PassageSettings
from data.rights import checked
from extractors.settings import ExtractSettings
from generators.settings import InterviewSettings
from train.presets import PRESETS
from train.settings import EvaluateSettings, MergeSettings, TrainSettings


class Persona(BaseModel):
    """Who speaks."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field("", description="The person's full name, as it stands in the sources.")
    aliases: list[str] = Field(
        default_factory=list, description="Other names, such as a transcript's speaker label."
    )
    lang: str = Field(
        "auto", description="ISO 639-1 code of the persona's language; auto: the sources' own."
    )
    system: str | None = Field(
        None, description="System prompt of every conversation; {name} is filled in."
    )

    def system_prompt(self, lang: str) -> str:
        """Return the system prompt in the persona's language, disclosing that it is an AI."""
        text = self.system if self.system is not None else words_of(lang).system
        return text.replace("{name}", self.name)


class LedgerEntry(BaseModel):
    """What is known of the sources that a pattern names; unset keys leave what is noted."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(description="A path, a file's name, or a pattern such as 'letters/*.txt'.")
    title: str | None = Field(None, description="Its title.")
    author: str | None = Field(None, description="Its author.")
    rights: str | None = Field(
        None,
        description="public-domain:COUNTRY, licence:ID, own-work, permission:WHOSE or unknown.",
    )
    living: bool | None = Field(None, description="Whether a living person speaks in it.")
    consent: str | None = Field(None, description="Who agreed, when, to what.")

    @field_validator("rights")
    @classmethod
    def _known_form(cls, told: str | None) -> str | None:
        return None if told is None else checked(told)


class Mixed(BaseModel):
    """A dataset that is not the persona's: a share of what is trained on comes from it."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(description="A file or a hub id (hf://org/name).")
    share: float = Field(gt=0, lt=1, description="Its share of the train conversations.")


class SourcesSettings(BaseModel):
    """What is read, and how."""

    model_config = ConfigDict(extra="forbid")

    include: list[str] = Field(
        default_factory=list,
        description="Files, folders and globs; relative ones start at the recipe's folder.",
    )
    speakers: dict[str, str] = Field(
        default_factory=dict,
        description="Who a transcript's label is: LABEL = NAME, or 'FILE:LABEL' = NAME.",
    )
    limit: int | None = Field(
        None, ge=1, description="Newest episodes that are taken of each podcast feed; unset: all."
    )
    ledger: list[LedgerEntry] = Field(
        default_factory=list, description="Rights and persons, as [[sources.ledger]] tables."
    )
    map: dict[str, str] = Field(
        default_factory=dict,
        description="A dataset's columns by part (system, question, context, answer, messages,"
        " text), where they are not found: {question = 'instruction', answer = 'output'}.",
    )
    text_as: Literal["interview", "completion"] = Field(
        "interview",
        description="Raw text rows of datasets: asked about like prose, or learnt as they stand.",
    )
    fill: dict[str, str] = Field(
        default_factory=dict,
        description="What stands for {{author}} and other placeholders of datasets; {{name}} is"
        " the persona's name.",
    )
    mix: list[Mixed] = Field(
        default_factory=list,
        description="Datasets that keep general abilities, as [[sources.mix]] tables.",
    )
    extract: ExtractSettings = Field(
        default_factory=ExtractSettings, description="How pages and transcripts are read."
    )
    chapters: ChapterSettings = Field(
        default_factory=ChapterSettings, description="Which chapters are taken in."
    )

    @model_validator(mode="after")
    def _leaves_room(self) -> SourcesSettings:
        if sum(each.share for each in self.mix) > 0.9:
            raise ValueError("the shares of sources.mix leave less than a tenth to the persona")
        return self


class RefreshSettings(BaseModel):
    """When new sources are worth a new training."""

    model_config = ConfigDict(extra="forbid")

    min_new_pairs: int = Field(
        50, ge=1, description="Fewer new pairs than this wait for the next refresh."
    )
    cron: str = Field("0 3 * * *", description="When `serve` refreshes, as a cron line.")
    timezone: str = Field("UTC", description="The cron line's time zone, such as Europe/Berlin.")


class FlowSettings(BaseModel):
    """How the flows run."""

    model_config = ConfigDict(extra="forbid")

    retries: int = Field(1, ge=0, description="Times Prefect runs a failed extract task again.")
    retry_delay_seconds: float = Field(2.0, ge=0, description="Pause before such a retry.")
    batch_rows: int = Field(
        200, ge=1, description="Rows that are written in one transaction while questions arrive."
    )
    batch_seconds: float = Field(
        2.0, gt=0, description="Questions that have arrived are written at least so often."
    )


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
    if path is not None:
        include = values.get("sources", {}).get("include")
        if isinstance(include, list):
            values["sources"]["include"] = [_anchored(str(each), path.parent) for each in include]
        for each in values.get("sources", {}).get("mix", []):
            if isinstance(each, dict) and isinstance(each.get("source"), str):
                each["source"] = _anchored(each["source"], path.parent)
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

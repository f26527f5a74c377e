"""Define the recipe, a pydantic model of all settings, and read and write it as TOML."""

from __future__ import annotations

import difflib
import json
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from memoirist.data.atomic_write import replacing
from memoirist.data.composition.conversations import ComposeSettings
from memoirist.data.composition.disclosure import disclosure_texts
from memoirist.data.curation.pairing import CurateSettings
from memoirist.data.passages.settings import ChapterSettings, PassageSettings
from memoirist.data.provenance.rights import checked
from memoirist.data.schema.errors import RecipeError
from memoirist.extractors.settings import ExtractSettings
from memoirist.generators.settings import InterviewSettings
from memoirist.train.settings import PRESETS, EvaluateSettings, MergeSettings, TrainSettings


class Persona(BaseModel, extra="forbid"):
    """The person whose voice the model learns."""

    name: str = Field("", description="The person's full name, as written in the sources.")
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
        text = self.system if self.system is not None else disclosure_texts(lang).system
        return text.replace("{name}", self.name)


class LedgerEntry(BaseModel, extra="forbid"):
    """Facts about the sources that a pattern names; unset keys change nothing."""

    source: str = Field(description="A path, a file's name, or a pattern such as 'letters/*.txt'.")
    title: str | None = Field(None, description="Its title.")
    author: str | None = Field(None, description="Its author.")
    rights: str | None = Field(
        None,
        description="public-domain:COUNTRY, licence:ID, own-work, permission:WHOSE or unknown.",
    )
    living: bool | None = Field(None, description="Whether a living person speaks in it.")
    consent: str | None = Field(None, description="Who agreed to what, and when.")

    @field_validator("rights")
    @classmethod
    def _known_form(cls, rights: str | None) -> str | None:
        return None if rights is None else checked(rights)


class Mixed(BaseModel, extra="forbid"):
    """A dataset that is not the persona's, mixed into the train conversations by a share."""

    source: str = Field(description="A file or a hub id (hf://org/name).")
    share: float = Field(gt=0, lt=1, description="Its share of the train conversations.")
    tools: bool = Field(
        False,
        description="Whether calls of tools and their results are learnt, too, and not left out; it"
        " needs train.template = 'native' and a base whose chat template has tools.",
    )


class SourcesSettings(BaseModel, extra="forbid"):
    """The sources to read, and how to read them."""

    include: list[str] = Field(
        default_factory=list,
        description="Files, folders and globs; relative ones start at the recipe's folder.",
    )
    speakers: dict[str, str] = Field(
        default_factory=dict,
        description="Who a speaker label of a transcript is: LABEL = NAME, or 'FILE:LABEL' = NAME.",
    )
    limit: int | None = Field(
        None, ge=1, description="Number of newest episodes taken from a podcast feed; unset: all."
    )
    ledger: list[LedgerEntry] = Field(
        default_factory=list, description="Rights and persons, as [[sources.ledger]] tables."
    )
    map: dict[str, str] = Field(
        default_factory=dict,
        description="The column of a dataset for each part (system, question, context, answer,"
        " messages, text), if not recognised: {question = 'instruction', answer = 'output'}.",
    )
    text_as: Literal["interview", "completion"] = Field(
        "interview",
        description="Raw text rows of datasets: asked about like prose, or learnt as they are.",
    )
    fill: dict[str, str] = Field(
        default_factory=dict,
        description="What replaces {{author}} and other placeholders of datasets; {{name}} is"
        " the persona's name.",
    )
    mix: list[Mixed] = Field(
        default_factory=list,
        description="Datasets that keep general abilities, as [[sources.mix]] tables of source,"
        " share and tools: true keeps conversations with tools whole, calls and results included"
        " (it needs train.template = 'native' and a base whose chat template has tools).",
    )
    extract: ExtractSettings = Field(
        default_factory=ExtractSettings, description="How pages, transcripts and chats are read."
    )
    chapters: ChapterSettings = Field(
        default_factory=ChapterSettings, description="Which chapters are taken in."
    )

    @model_validator(mode="after")
    def _leaves_room(self) -> SourcesSettings:
        if sum(mix.share for mix in self.mix) > 0.9:
            raise ValueError("the shares of sources.mix leave less than a tenth for the persona")
        return self


class RefreshSettings(BaseModel, extra="forbid"):
    """When new sources are worth a new training."""

    min_new_pairs: int = Field(
        50, ge=1, description="Fewer new pairs than this wait for the next refresh."
    )
    cron: str = Field("0 3 * * *", description="When `schedule` refreshes, as a cron line.")
    timezone: str = Field("UTC", description="The cron line's time zone, such as Europe/Berlin.")


class FlowSettings(BaseModel, extra="forbid"):
    """How the flows run."""

    retries: int = Field(1, ge=0, description="Times that Prefect retries a failed extract task.")
    retry_delay_seconds: float = Field(2.0, ge=0, description="Pause before a retry.")
    batch_rows: int = Field(
        200, ge=1, description="Rows written in one transaction while questions arrive."
    )
    batch_seconds: float = Field(
        1.0, gt=0, description="Longest time before replies that have arrived are written."
    )


# Keys that saved recipes of earlier versions may hold.
_REMOVED_KEYS = (("interview", "hedged_share"),)


class Recipe(BaseModel, extra="forbid"):
    """All settings of a build; the resolved recipe is saved with each run."""

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
    """Recipe keys from the command line; `flags` holds the flag that gave each of them."""

    def __init__(self, values: Mapping[str, Any], flags: Mapping[str, str]) -> None:
        """Take values and flags by dotted key."""
        super().__init__(values)
        self.flags = dict(flags)

    def over(self, values: Mapping[str, Any]) -> Overrides:
        """Return these keys merged over others, which no flag gave."""
        return Overrides({**values, **self}, self.flags)


def load(path: Path | None, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Return the recipe of a TOML file, or the defaults, with dotted keys set over it.

    Relative sources are resolved against the file's folder. Raises RecipeError for a file that
    is missing or is not TOML, an unknown key (with the nearest known ones) and a wrong value.
    """
    values = _read(path) if path is not None else {}
    if path is not None:
        _anchor_sources(values, path.parent)
    flags = overrides.flags if isinstance(overrides, Overrides) else {}
    for key, value in (overrides or {}).items():
        _refuse_undecodable(value, flags.get(key, key))
        *tables, last = _parts(key)
        table = values
        for name in tables:
            if not isinstance(table.get(name), dict):
                table[name] = {}
            table = table[name]
        table[last] = value
    _drop_removed_keys(values, path)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise _refusal(error, path, flags) from error


def _refuse_undecodable(value: object, flag: str) -> None:
    """Raise RecipeError for text from command line bytes that are no UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        raise RecipeError(
            f"{flag!a}: {value!r} is not UTF-8 text",
            "write it in UTF-8; for a file of such a name, name its folder",
        ) from error


def _drop_removed_keys(values: dict[str, Any], path: Path | None) -> None:
    """Take keys of earlier versions out of a recipe, and say so in a line on stderr."""
    for table, key in _REMOVED_KEYS:
        if isinstance(values.get(table), dict) and key in values[table]:
            del values[table][key]
            place = repr(str(path)) if path else "--set"
            sys.stderr.write(f"note: {table}.{key} in {place} no longer has an effect\n")


def _anchor_sources(values: dict[str, Any], folder: Path) -> None:
    """Resolve relative sources against `folder`; wrong values are left to the validation."""
    sources = values.get("sources")
    if not isinstance(sources, dict):
        return
    if isinstance(sources.get("include"), list):
        sources["include"] = [_anchored(str(source), folder) for source in sources["include"]]
    mixed = sources.get("mix")
    for mix in mixed if isinstance(mixed, list) else ():
        if isinstance(mix, dict) and isinstance(mix.get("source"), str):
            mix["source"] = _anchored(mix["source"], folder)


def _parts(key: str) -> list[str]:
    """Return the parts of a dotted key as TOML reads it: a quoted part may contain dots."""
    try:
        value: Any = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        value = {}
    if not value:  # no key of TOML, such as a comment
        return key.split(".")
    parts: list[str] = []
    while isinstance(value, dict):
        ((part, value),) = value.items()
        parts.append(part)
    return parts


def dump(recipe: Recipe) -> str:
    """Return the keys that differ from the defaults, as TOML."""
    values = recipe.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    if recipe.train.preset:
        # The user may have set a key to its default to override the preset.
        keys = recipe.train.model_fields_set & PRESETS[recipe.train.preset].keys()
        values["train"] |= recipe.train.model_dump(mode="json", include=keys, exclude_none=True)
    return tomli_w.dumps(values)


def document_keys() -> str:
    """Return every key with its default and its description, as a TOML file to start from."""
    return "\n".join(_described_keys(Recipe, "")).strip() + "\n"


def _described_keys(model: type[BaseModel], prefix: str) -> Iterator[str]:
    tables = _tables(model)
    keys = {k: f for k, f in model.model_fields.items() if k not in tables and not f.exclude}
    if keys and prefix:
        yield from ("", f"[{prefix}]")
    for key, field in keys.items():
        default = field.get_default(call_default_factory=True)
        # TOML has no null, and the library writes a table on lines of its own.
        values = {} if default is None else {"v": default}
        text = "{}" if default == {} else tomli_w.dumps(values)[4:].strip()
        yield f"# {field.description or ''}".rstrip()
        yield f"# {key} = {text}" if text else f"# {key} =  (unset)"
    for key, table in tables.items():
        yield from _described_keys(table, f"{prefix}.{key}".strip("."))


def _tables(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """Return the keys of a model that are tables themselves."""
    types = {key: field.annotation for key, field in model.model_fields.items()}
    return {k: t for k, t in types.items() if isinstance(t, type) and issubclass(t, BaseModel)}


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
            f"the recipe {str(path)!r} is not valid TOML: {error}",
            "correct that line and run it again",
        ) from error


def _anchored(pointer: str, folder: Path) -> str:
    if "://" in pointer or Path(pointer).expanduser().is_absolute():
        return pointer
    return str(folder.resolve() / pointer)


def _refusal(error: ValidationError, path: Path | None, flags: Mapping[str, str]) -> RecipeError:
    """Describe the first fault in one line, an unknown key with the nearest known ones.

    A value of a flag is blamed on the flag, not on the file.
    """
    fault = error.errors()[0]
    key = ".".join(str(part) for part in fault["loc"])
    causes = [f for name, f in flags.items() if f"{key}.".startswith(f"{name}.")]
    # If the whole table is refused, any of its keys may be the wrong one.
    causes = causes or [f for name, f in flags.items() if name.startswith(f"{key}.")]
    where = f" in {str(path)!r}" if path is not None and not causes else ""
    by = f"{', '.join(causes)}: " if causes else ""
    if fault["type"] == "extra_forbidden":
        near = _nearest_keys([str(part) for part in fault["loc"]])
        hint = f"did you mean {near}?" if near else "`memoirist plan --recipe-keys` lists all keys"
        return RecipeError(f"{by}the recipe has no key {key!r}{where}", hint)
    message = str(fault["msg"]).removeprefix("Value error, ")
    value = "" if fault["type"] == "value_error" else f" = {fault['input']!r}"
    return RecipeError(
        f"{by}the recipe's {key or 'file'}{value}{where} is refused: {message}",
        "correct the value; `memoirist plan --recipe-keys` explains every key",
    )


def _nearest_keys(parts: Sequence[str]) -> str:
    model: type[BaseModel] = Recipe
    for part in parts[:-1]:
        model = _tables(model).get(part, model)
    all_keys = {
        key: f"{name}.{key}"
        for name, table in _tables(Recipe).items()
        for key in table.model_fields
    }
    wrong = parts[-1]
    if wrong in all_keys:
        return repr(all_keys[wrong])  # a right key in the wrong table
    near = difflib.get_close_matches(wrong, model.model_fields, n=2) or [
        all_keys[key] for key in difflib.get_close_matches(wrong, all_keys, n=2)
    ]
    return " or ".join(repr(key) for key in near)


def merged_sources(path: Path | None, sources: Sequence[str]) -> list[str]:
    """Return the recipe's sources, then the new ones: absolute and without repeats."""
    saved = load(path).sources.include if path is not None else []
    return list(dict.fromkeys([*saved, *as_saved(sources)]))


def merged_speakers(path: Path | None, assignments: Sequence[str]) -> dict[str, str]:
    """Return the recipe's speakers with `LABEL=NAME` set over them; an empty name removes one.

    Raise RecipeError for a wrong assignment.
    """
    speakers = dict(load(path).sources.speakers) if path is not None else {}
    for assignment in assignments:
        label, equals, name = (part.strip() for part in assignment.rpartition("="))
        if not equals or not label:
            raise RecipeError(
                f"--speaker {assignment!r} is not LABEL=NAME",
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


def write(recipe: Recipe, path: Path) -> Path | None:
    """Write a recipe to a file, unless it has the same text.

    Return the copy that is made of a file that somebody has written: the new text has no comments.
    """
    text = dump(recipe)
    old = path.read_text("utf-8") if path.exists() else ""
    if old == text:
        return None
    copy = None
    if not _is_dumped(old):
        copy = path.with_name(f"{path.name}.bak")
        copy.write_text(old, "utf-8")
    with replacing(path) as partial:
        partial.write_text(text, "utf-8")
    return copy


def _is_dumped(text: str) -> bool:
    """Tell whether a text is written as `dump` does it, without comments."""
    try:
        return tomli_w.dumps(tomllib.loads(text)) == text
    except tomllib.TOMLDecodeError:
        return False

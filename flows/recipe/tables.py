"""Define the recipe's tables of persona, sources, refresh and flow."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from memoirist.data.composition.disclosure import disclosure_texts
from memoirist.data.passages.chapters import ChapterSettings
from memoirist.data.provenance.rights import checked
from memoirist.extractors.settings import ExtractSettings


class Persona(BaseModel):
    """The person whose voice the model learns."""

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
        text = self.system if self.system is not None else disclosure_texts(lang).system
        return text.replace("{name}", self.name)


class LedgerEntry(BaseModel):
    """Facts about the sources that a pattern names; unset keys change nothing."""

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
    def _known_form(cls, rights: str | None) -> str | None:
        return None if rights is None else checked(rights)


class Mixed(BaseModel):
    """A dataset that is not the persona's, mixed into the train conversations by a share."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(description="A file or a hub id (hf://org/name).")
    share: float = Field(gt=0, lt=1, description="Its share of the train conversations.")


class SourcesSettings(BaseModel):
    """The sources to read, and how to read them."""

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
        if sum(mix.share for mix in self.mix) > 0.9:
            raise ValueError("the shares of sources.mix leave less than a tenth to the persona")
        return self


class RefreshSettings(BaseModel):
    """When new sources are worth a new training."""

    model_config = ConfigDict(extra="forbid")

    min_new_pairs: int = Field(
        50, ge=1, description="Fewer new pairs than this wait for the next refresh."
    )
    cron: str = Field("0 3 * * *", description="When `schedule` refreshes, as a cron line.")
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
        1.0, gt=0, description="Replies that have arrived are written at least so often."
    )

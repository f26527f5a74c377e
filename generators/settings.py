"""The settings of the interview: the LLM endpoint, its limits, and how questions are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from memoirist.data.schema.settings_base import SettingsBase
from memoirist.generators.client.pricing import Price
from memoirist.generators.prompts.source_kinds import Kind


class Example(SettingsBase):
    """A question of the kind that is wanted, with the passage that answers it."""

    passage: str = Field(min_length=1)
    """What the person said or wrote."""

    question: str = Field(min_length=1)
    """The question that it answers well."""


class InterviewSettings(SettingsBase):
    """Hold the recipe's `[interview]` table; the API key comes from OPENAI_API_KEY alone."""

    model_config = ConfigDict(validate_default=True)

    base_url: str | None = None
    """Address of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1; unset:
    OPENAI_BASE_URL, or api.openai.com when OPENAI_API_KEY is set."""

    model: str | None = None
    """Name of the model; unset: the only model that the server lists."""

    max_concurrency: int = Field(16, ge=1, le=4096)
    """Most requests in flight at the same time."""

    request_timeout_seconds: float = Field(120.0, gt=0)
    """Longest time in seconds of one request, from sending to the last byte."""

    mode: Literal["live", "batch"] = "live"
    """batch: requests are sent as files to the provider's Batch API, at half the price with most
    providers, and answered within a day; if the run is stopped, the next one fetches them."""

    batch_requests: int = Field(20_000, ge=1, le=50_000)
    """Most requests in one file of the Batch API."""

    batch_price: float = Field(0.5, ge=0, le=1)
    """What the Batch API costs, as a share of the price."""

    batch_poll_seconds: float = Field(60.0, gt=0)
    """Pause in seconds between two requests for the state of a batch."""

    max_attempts: int = Field(8, ge=1, le=50)
    """Times that a request is sent before its failure becomes a verdict."""

    max_backoff_seconds: float = Field(30.0, ge=0)
    """Longest pause in seconds before a request is sent again."""

    circuit_opens_seconds: float = Field(15.0, ge=0)
    """Seconds without a success after which the run pauses and tries one request at a time."""

    circuit_stops_seconds: float = Field(300.0, gt=0)
    """Seconds without a success after which the run stops, keeping what it has."""

    max_repairs: int = Field(2, ge=0, le=5)
    """Times that a request is repeated after an unusable reply."""

    max_reply_tokens: int = Field(1024, ge=64)
    """Most tokens of a reply; a model that thinks first needs more."""

    budget_usd: float | None = Field(None, ge=0)
    """Most that one run may cost, in US dollars; unset or 0: no limit."""

    max_requests: int | None = Field(None, ge=0)
    """Most requests that one run sends; unset or 0: no limit."""

    max_tokens: int | None = Field(None, ge=0)
    """Most tokens of one run, prompts and replies together; unset or 0: no limit. The
    length of one reply is limited by max_reply_tokens."""

    prices: dict[str, Price] = Field(default_factory=dict)
    """US dollars for a million tokens by model, in place of those of the bundled list:
    {'my-model' = {input = 0.1, output = 0.4}}."""

    seed: int = 42
    """Seed for the choice between questions of equal score."""

    second_share: float = Field(0.2, ge=0, le=1)
    """Largest share of passages with a second question."""

    opener_share: float = Field(0.08, gt=0, le=1)
    """Largest share of all questions that begin with the same two words."""

    temperature: float | None = Field(0.8, ge=0, le=2)
    """Sampling temperature; null leaves it to the server."""

    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Additional keys of each request, named as the server names them; they replace
    Memoirist's own: {reasoning_effort = 'low'}, or {chat_template_kwargs = {enable_thinking =
    false}}."""

    prompt: Path | None = None
    """Your own prompt file in place of the default one."""

    answers: Literal["verbatim", "polished"] = "verbatim"
    """polished: an LLM corrects dangling openings, fillers, misheard words and broken sentences of
    each answer; larger changes are refused, and both texts are kept."""

    polish_max_change: float = Field(0.15, gt=0, le=0.5)
    """Largest share of an answer's words that polishing changes."""

    polish_prompt: Path | None = None
    """Your own prompt file for polishing in place of the default one."""

    follow_up_share: float = Field(0.0, ge=0, le=1)
    """Share of neighbouring passages that are joined into one conversation, whose later
    questions are follow-ups."""

    follow_up_turns: int = Field(3, ge=2, le=5)
    """Most exchanges of a conversation that is joined so; compose.max_exchanges and
    compose.max_words apply too."""

    kind: Kind | Literal["auto"] = "auto"
    """Kind of the sources, which decides how the LLM asks: autobiography, essay, fiction (a tale
    told by its narrator), talk, or prose (about a topic, in the third person); auto: detected
    from each source's format, title and use of the first person."""

    kinds: dict[str, Kind] = Field(default_factory=dict)
    """Other kinds for single sources: FILE, TITLE or PATTERN = KIND."""

    examples: list[Example] = Field(default_factory=list, max_length=12)
    """Model questions, as [[interview.examples]] with passage and question."""

    language: str | None = None
    """Language of the questions, such as en or zh; unset: each passage's own."""

    @field_validator("base_url")
    @classmethod
    def _check_base_url(cls, value: str | None) -> str | None:
        """Refuse an address without a scheme, or with a password in it."""
        if not value:
            return None  # "" removes the address of a recipe
        if not value.startswith(("http://", "https://")):
            raise ValueError(f"{value!r} is not an address; write http://HOST:PORT/v1")
        if "@" in value.split("//", 1)[1].split("/", 1)[0]:
            raise ValueError("the address contains a password; put the key into OPENAI_API_KEY")
        return value.rstrip("/")

    @field_validator("budget_usd", "max_requests", "max_tokens")
    @classmethod
    def _no_limit(cls, value: float | None) -> float | None:
        """Read 0 as no limit: it removes the limit of a recipe."""
        return value or None

    @model_validator(mode="after")
    def _check_prompt(self) -> Self:
        """Refuse a prompt file that does not exist."""
        for path in (self.prompt, self.polish_prompt):
            if path is not None and not path.is_file():
                raise ValueError(f"there is no prompt file at {str(path)!r}; check the path")
        return self

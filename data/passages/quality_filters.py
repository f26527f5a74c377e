"""Hold the thresholds of the gates, which drop passages by their signals, for each language."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from memoirist.data.text.language_rules import gate_values


class GateSettings(BaseModel):
    """The measured ranges of real prose and speech; a passage outside them is dropped.

    The figures come from 16 public-domain books and 4,000 podcast turns (QUALITY, "Passages"), all
    English. Limits of other languages stand in data/text/languages, and the recipe wins over both.
    """

    model_config = ConfigDict(extra="forbid")

    min_stop_share: float = Field(
        0.22, description="Least share of function words; an index has none."
    )
    min_zlib_ratio: float = Field(
        0.42, description="Least compression ratio; contents and lists repeat."
    )
    max_zlib_ratio: float = Field(
        0.68, description="Largest compression ratio; names and codes are noise."
    )
    min_letter_share: float = Field(
        0.68, description="Least share of letters among all characters."
    )
    max_digit_share: float = Field(
        0.04, description="Largest share of digits among all characters."
    )
    min_type_token: float = Field(
        0.35, description="Least share of different words among all words."
    )
    max_quoted_share: float = Field(
        0.5, description="Largest share of text in quotation marks (books)."
    )
    max_repeated_share: float = Field(
        0.15, description="Largest share of words in a repeated run of five."
    )
    max_upper_share: float = Field(
        0.12, description="Largest share of capitals among letters; flagged, not dropped."
    )
    min_sentence_words: float = Field(
        4, description="Least mean of words per sentence; flagged, not dropped."
    )
    max_sentence_words: float = Field(
        80, description="Largest mean of words per sentence; flagged, not dropped."
    )
    signal_words: int = Field(
        80, description="Passages with fewer words are too short to be judged by ratios."
    )


def of_language(settings: GateSettings, lang: str) -> GateSettings:
    """Return the limits for a language, its own wherever the recipe sets no value."""
    own = gate_values(lang)
    update = {key: value for key, value in own.items() if key not in settings.model_fields_set}
    return settings.model_copy(update=update)

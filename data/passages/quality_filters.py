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

    min_stop_share: float = Field(0.22, description="Share of function words; an index has none.")
    min_zlib_ratio: float = Field(0.42, description="Lower is repetition: contents, lists.")
    max_zlib_ratio: float = Field(0.68, description="Higher is noise: names, codes, addresses.")
    min_letter_share: float = Field(0.68, description="Letters among all characters.")
    max_digit_share: float = Field(0.04, description="Digits among all characters.")
    min_type_token: float = Field(0.35, description="Different words among all words.")
    max_quoted_share: float = Field(0.5, description="Characters in quotation marks (books).")
    max_repeated_share: float = Field(0.15, description="Words inside a repeated run of five.")
    max_upper_share: float = Field(
        0.12, description="Capitals among letters; flagged, not dropped."
    )
    min_sentence_words: float = Field(4, description="Mean words a sentence; flagged only.")
    max_sentence_words: float = Field(80, description="Mean words a sentence; flagged only.")
    signal_words: int = Field(
        80, description="A shorter passage is not judged by ratios: they need some text."
    )


def of_language(settings: GateSettings, lang: str) -> GateSettings:
    """Return the limits for a language, its own wherever the recipe sets no value."""
    own = gate_values(lang)
    update = {key: value for key, value in own.items() if key not in settings.model_fields_set}
    return settings.model_copy(update=update)

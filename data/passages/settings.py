"""Declare how documents are cut into passages, and which chapters are used."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class PassageSettings(BaseModel):
    """How blocks become passages. Sizes are words; a Chinese character counts as 2/3 of one."""

    model_config = ConfigDict(extra="forbid")

    target_words: int = Field(120, ge=10, description="Size that passages aim at.")
    soft_max_words: int = Field(
        350, ge=20, description="Passages get longer only to keep together what belongs together."
    )
    min_words: int = Field(80, ge=1, description="Prose with fewer words in a row is dropped.")
    max_words: int = Field(500, ge=30, description="Longer blocks are divided between sentences.")
    min_spoken_words: int = Field(15, ge=1, description="Shorter spoken answers are dropped.")
    min_reply_words: int = Field(
        20, ge=0, description="Shorter answers to a turn that asks nothing are dropped."
    )
    min_untied_words: int = Field(
        30,
        ge=0,
        description="Shorter answers that ignore the turn before, or ask back, are dropped.",
    )
    min_comment_words: int = Field(
        15,
        ge=0,
        description="An answer continues after a shorter turn of another that asks nothing.",
    )
    max_interruption_words: int = Field(
        24,
        ge=0,
        description="An answer cut off inside a sentence continues after a turn of this size.",
    )
    min_question_words: int = Field(
        3, ge=0, description="An answer continues after a shorter question of another."
    )
    max_aside_words: int = Field(
        10, ge=0, description="Most words of others between a question and its answer."
    )
    min_chat_words: int = Field(4, ge=1, description="Shorter answers in a chat are dropped.")
    min_chat_reply_words: int = Field(
        8, ge=0, description="Shorter answers in a chat to a message that asks nothing are dropped."
    )
    max_chat_pause_minutes: float = Field(
        60.0,
        gt=0,
        description="Longest pause in minutes within one answer in a chat.",
    )
    cut_courtesies: bool = Field(
        True, description="Drop short answers that greet, thank or say goodbye."
    )
    max_question_words: int = Field(
        60, ge=10, description="A longer turn before an answer is shortened to its last question."
    )
    stock_min_words: int = Field(
        13, ge=5, description="This many words in a row, in several episodes, are stock text."
    )
    stock_min_episodes: int = Field(
        3, ge=2, description="Text that occurs in this many episodes is stock text, and is cut."
    )
    cut_ads: bool = Field(True, description="Cut what hosts read for sponsors.")
    mask_personal: bool = Field(
        True, description="Mask mail addresses, phone, card and account numbers."
    )
    mask_secrets: bool = Field(
        True, description="Mask keys, tokens and passwords: sk-..., private keys, password: ..."
    )
    voice: bool = Field(
        True,
        description="Drop what others wrote in a book: an editor's preface, letters, comments.",
    )
    standalone: bool = Field(
        True, description="Drop passages whose first words refer to something outside them."
    )
    group_passages: int = Field(
        10, ge=2, description="Passages that form one group where a book has no chapters."
    )

    @model_validator(mode="after")
    def _ordered(self) -> PassageSettings:
        if not self.min_words <= self.target_words <= self.soft_max_words <= self.max_words:
            raise ValueError("min_words <= target_words <= soft_max_words <= max_words must hold")
        return self


class ChapterSettings(BaseModel):
    """Patterns of chapters to keep or drop; they win over every other rule.

    A pattern is a part of the title, or a glob where it holds *, ? or [; case does not matter.
    "book.pdf: pattern" applies to one source, by its file's name or its title.
    """

    model_config = ConfigDict(extra="forbid")

    include: list[str] = Field(
        default_factory=list,
        description="Titles of chapters to keep whatever the rules or `exclude` say.",
    )
    exclude: list[str] = Field(
        default_factory=list, description='Titles of chapters to drop; "*" drops all but `include`.'
    )

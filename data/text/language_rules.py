"""Load the rules of each language: first person, section titles, letters, abbreviations."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

CODES = ("en", "de", "fr", "es", "zh")
_FOLDER = Path(__file__).parent / "languages"
_NEVER = re.compile(r"(?!)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """The patterns of one language, compiled; every one ignores case.

    Titles match as a whole: `own` is the author's by name, `other` another's by name, `by` and
    `letter` name a person in their first group, `apparatus` is no prose, and `doubtful` may be
    anybody's until its text tells.
    """

    code: str
    first_person: re.Pattern[str]
    author: re.Pattern[str]
    other_surname: frozenset[str]
    own: re.Pattern[str]
    other: re.Pattern[str]
    by: re.Pattern[str]
    apparatus: re.Pattern[str]
    doubtful: re.Pattern[str]
    letter: re.Pattern[str]
    salutation: re.Pattern[str]
    closing: re.Pattern[str]
    signed: re.Pattern[str]
    note_signs: frozenset[str]
    own_signs: frozenset[str]
    role_signs: frozenset[str]


@cache
def language(code: str | None) -> Language:
    """Return the rules of a language by its ISO 639-1 code, English for an unknown one."""
    path = _FOLDER / f"{code}.toml"
    if not code or not path.exists():
        return language("en")
    table = tomllib.loads(path.read_text("utf-8"))
    titles: dict[str, Any] = table["titles"]
    letters: dict[str, Any] = table["letters"]

    def pattern(source: str | list[str]) -> re.Pattern[str]:
        joined = source if isinstance(source, str) else "|".join(source)
        filled = joined.replace("ROLES", titles["roles"]).replace("PIECES", titles["pieces"])
        return re.compile(filled, re.IGNORECASE) if filled else _NEVER

    return Language(
        code=code,
        first_person=pattern(table["first_person"]),
        author=pattern(table["author"]),
        other_surname=frozenset(table["other_surname"]),
        own=pattern(titles["own"]),
        other=pattern(titles["other"]),
        by=pattern(titles["by"]),
        apparatus=pattern(titles["apparatus"]),
        doubtful=pattern(titles["doubtful"]),
        letter=pattern(titles["letter"]),
        salutation=pattern(letters["salutation"]),
        closing=pattern(letters["closing"]),
        signed=pattern(letters["signed"]),
        note_signs=frozenset(letters["note_signs"]),
        own_signs=frozenset(letters["own_signs"]),
        role_signs=frozenset(letters["role_signs"]),
    )


@cache
def sentence_words(code: str) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Return a language's abbreviations and the words behind an ordinal number ("3. Mai").

    The first never end a sentence, the second end one before a capital.
    """
    table = tomllib.loads((_FOLDER / f"{code}.toml").read_text("utf-8"))["sentences"]
    never, maybe, ordinal = (frozenset(table[k].split()) for k in ("never", "maybe", "ordinal"))
    return never, maybe, ordinal


@cache
def gate_values(code: str) -> dict[str, float]:
    """Return the limits of prose in a language that differ from English; Chinese for its likes."""
    path = _FOLDER / f"{'zh' if code in {'ja', 'ko'} else code}.toml"
    table = tomllib.loads(path.read_text("utf-8")) if path.exists() else {}
    return dict(table.get("gates", {}))


@cache
def adverbs(code: str) -> re.Pattern[str] | None:
    """Return the pattern of a language's adverbs, None for an unknown language."""
    path = _FOLDER / f"{code}.toml"
    if not path.exists():
        return None
    pattern: str = tomllib.loads(path.read_text("utf-8"))["style"]["adverb"]
    return re.compile(pattern, re.IGNORECASE)

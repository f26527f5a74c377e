"""Load the rules of each language: first person, section titles, letters, abbreviations."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

CODES = ("en", "de", "fr", "es", "zh")
_FOLDER = Path(__file__).parent / "languages"
_WORD_SETS = {"other_surname", "note_signs", "own_signs", "role_signs"}
_NEVER = re.compile(r"(?!)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """The patterns of one language, compiled; every one ignores case. Sets of words are folded.

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
    saying: re.Pattern[str]
    own_subject: re.Pattern[str]
    impersonal: re.Pattern[str]
    received: re.Pattern[str]
    item: re.Pattern[str]
    note_signs: frozenset[str]
    own_signs: frozenset[str]
    role_signs: frozenset[str]


def fold(text: str) -> str:
    """Return the text without case and without accents, its apostrophes straight."""
    plain = unicodedata.normalize("NFKD", text.casefold().replace("’", "'"))
    return "".join(c for c in plain if not unicodedata.combining(c))


@cache
def _table(code: str | None) -> dict[str, Any]:
    path = _FOLDER / f"{code}.toml"
    return tomllib.loads(path.read_text("utf-8")) if path.exists() else {}


@cache
def language(code: str | None) -> Language:
    """Return the rules of a language by its ISO 639-1 code, English for an unknown one."""
    table = _table(code)
    if not code or not table:
        return language("en")
    titles, letters = table["titles"], table["letters"]

    def pattern(source: str | list[str]) -> re.Pattern[str]:
        joined = source if isinstance(source, str) else "|".join(source)
        filled = joined.replace("ROLES", titles["roles"]).replace("PIECES", titles["pieces"])
        return re.compile(filled, re.IGNORECASE) if filled else _NEVER

    texts = {**table, **titles, **letters}
    names = {field.name for field in fields(Language)} - {"code"}
    sets: dict[str, Any] = {name: frozenset(map(fold, texts[name])) for name in names & _WORD_SETS}
    patterns: dict[str, Any] = {name: pattern(texts[name]) for name in names - _WORD_SETS}
    return Language(code=code, **patterns, **sets)


@cache
def sentence_words(code: str) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Return a language's abbreviations and the words behind an ordinal number ("3. Mai").

    The first never end a sentence, the second end one before a capital.
    """
    table = _table(code)["sentences"]
    never, maybe, ordinal = (frozenset(table[k].split()) for k in ("never", "maybe", "ordinal"))
    return never, maybe, ordinal


@cache
def opening_rules(code: str | None) -> dict[str, re.Pattern[str]]:
    """Return a language's patterns of beginnings that point to what was told before, by rule.

    An unknown language has none.
    """
    table = dict(_table(code).get("openings", {}))
    time, relative = table.pop("time", ""), table.pop("relative", "")
    return {
        rule: re.compile(pattern.replace("TIME", time).replace("RELATIVE", relative))
        for rule, pattern in table.items()
    }


@cache
def gate_values(code: str) -> dict[str, float]:
    """Return the limits of prose in a language that differ from English; Chinese for its likes."""
    return dict(_table("zh" if code in {"ja", "ko"} else code).get("gates", {}))


def phone_rules(code: str) -> dict[str, Any]:
    """Return the countries of a language's telephone numbers and their least digits, if known."""
    return dict(_table(code).get("phone", {}))


def name_words(kind: str) -> list[str]:
    """Return the words of one kind that stand in names or for them, such as `titles`."""
    return str(_table("names")[kind]).split()


@cache
def adverbs(code: str) -> re.Pattern[str] | None:
    """Return the pattern of a language's adverbs, None for an unknown language."""
    table = _table(code)
    return re.compile(table["style"]["adverb"], re.IGNORECASE) if table else None


@cache
def phrase_pattern(path: Path, kind: str) -> re.Pattern[str]:
    """Return the pattern of all phrases of a kind in a file of lines of kind, tab and pattern."""
    lines = path.read_text("utf-8").splitlines()
    patterns = [line.split("\t", 1)[1] for line in lines if line.startswith(f"{kind}\t")]
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE)

"""Classify a section's title by who wrote the section."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from memoirist.data.authorship.signatures import Names, is_persona, looks_like_name
from memoirist.data.text.language_rules import Language, language
from memoirist.data.text.words import fold

TitleKind = Literal["own", "other", "apparatus", "letter", "doubtful", "plain"]

_NUMBERING = re.compile(
    r"^(?:(?:chapter|part|book|section|kapitel|teil|buch|chapitre|partie|livre|capítulo|parte|libro)"
    r"\b\.?\s*)?(?:[ivxlcdm]+|\d+)?\s*[.:)–—-]\s+",
    re.IGNORECASE,
)
_WITH = re.compile(r"\s+(?:with|to|mit|an|avec|à|con|a)\s")
_PARTS = re.compile(r"\s*[:|/—–]\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class TitleClass:
    """The kind of a title, and the person whom it names, if any."""

    kind: TitleKind
    person: str | None = None


def classify_title(title: str | None, lang: str | None, names: Names) -> TitleClass:
    """Classify a title by the patterns of the document's language, then by those of English.

    A preface "by" the persona is "own"; "by" somebody else it is "other". Where a title has
    several parts ("Book I: Introduction"), the last part counts if the whole says nothing.
    """
    if not title:
        return TitleClass(kind="plain")
    languages = dict.fromkeys([language(lang), language("en")])
    for part in dict.fromkeys([_plain(title), _plain(_PARTS.split(title)[-1])]):
        for rules in languages:
            result = _classify(part, rules, names)
            if result.kind != "plain":
                return result
    return TitleClass(kind="plain")


def _plain(title: str) -> str:
    text = unicodedata.normalize("NFKC", title).replace("’", "'").replace("ſ", "s")
    text = _NUMBERING.sub("", text.strip(' "“”«»„*_[]()'))
    text = re.sub(r"[^\w\s'\-&.]|\.(?=\s|$)|_", " ", text)
    return " ".join(text.split())


def _classify(title: str, lang: Language, names: Names) -> TitleClass:
    if lang.own.fullmatch(title):
        return TitleClass(kind="own")
    match = lang.by.fullmatch(title)
    if match and _names_person(match.group(1), lang):
        person = match.group(1)
        if is_persona(person, names) or fold(person) in lang.own_signs:
            return TitleClass(kind="own", person=person)
        return TitleClass(kind="other", person=person)
    if lang.other.fullmatch(title):
        return TitleClass(kind="other")
    letter = lang.letter.fullmatch(title)
    writer = _WITH.split(letter.group(1))[0] if letter else ""
    if writer and _names_person(writer, lang):
        return TitleClass(kind="own" if is_persona(writer, names) else "letter", person=writer)
    if lang.apparatus.fullmatch(title):
        return TitleClass(kind="apparatus")
    return TitleClass(kind="doubtful" if lang.doubtful.fullmatch(title) else "plain")


def _names_person(text: str, lang: Language) -> bool:
    return (
        looks_like_name(text)
        or fold(text) in lang.role_signs | lang.own_signs
        or (lang.code == "zh" and 2 <= len(text) <= 4)
    )

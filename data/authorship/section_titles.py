"""What a section's title says about whose voice it is."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from memoirist.data.authorship.signatures import Names, fold, is_persona, looks_like_name
from memoirist.data.text.language_rules import Language, language

TitleKind = Literal["own", "other", "apparatus", "letter", "doubtful", "plain"]

_NUMBERING = re.compile(
    r"^(?:(?:chapter|part|book|section|kapitel|teil|buch|chapitre|partie|livre|capítulo|parte|libro)"
    r"\b\.?\s*)?(?:[ivxlcdm]+|\d+)?\s*[.:)–—-]\s+",
    re.IGNORECASE,
)
_WITH = re.compile(r"\s+(?:with|to|mit|an|avec|à|con|a)\s")
_PARTS = re.compile(r"\s*[:|/—–]\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class TitleWord:
    """What the title says, and the person whom it names, if any."""

    kind: TitleKind
    person: str | None = None


def read_title(title: str | None, lang: str | None, names: Names) -> TitleWord:
    """Return what a title says, by the document's language and by English.

    A preface "by" the persona is his own; "by" somebody else it is another's. Of a title in
    several parts ("Book I: Introduction") the last part may speak as well.
    """
    if not title:
        return TitleWord(kind="plain")
    known = list(dict.fromkeys([language(lang), language("en")]))
    whole = _plain(title)
    parts = [whole, *(_plain(part) for part in _PARTS.split(title)[-1:])]
    for part in dict.fromkeys(parts):
        for tongue in known:
            word = _word(part, tongue, names)
            if word.kind != "plain":
                return word
    return TitleWord(kind="plain")


def _plain(title: str) -> str:
    text = unicodedata.normalize("NFKC", title).replace("’", "'").replace("ſ", "s")
    text = _NUMBERING.sub("", text.strip(' "“”«»„*_[]()'))
    text = re.sub(r"[^\w\s'\-&.]|\.(?=\s|$)|_", " ", text)
    return " ".join(text.split())


def _word(title: str, lang: Language, names: Names) -> TitleWord:
    if lang.own.fullmatch(title):
        return TitleWord(kind="own")
    named = lang.by.fullmatch(title)
    if named and _names_person(named.group(1), lang):
        person = named.group(1)
        if is_persona(person, names) or fold(person) in lang.own_signs:
            return TitleWord(kind="own", person=person)
        return TitleWord(kind="other", person=person)
    if lang.other.fullmatch(title):
        return TitleWord(kind="other")
    letter = lang.letter.fullmatch(title)
    writer = _WITH.split(letter.group(1))[0] if letter else ""
    if writer and _names_person(writer, lang):
        return TitleWord(kind="own" if is_persona(writer, names) else "letter", person=writer)
    if lang.apparatus.fullmatch(title):
        return TitleWord(kind="apparatus")
    return TitleWord(kind="doubtful" if lang.doubtful.fullmatch(title) else "plain")


def _names_person(text: str, lang: Language) -> bool:
    return (
        looks_like_name(text)
        or fold(text) in lang.role_signs | lang.own_signs
        or (lang.code == "zh" and 2 <= len(text) <= 4)
    )

"""Recognise names, signatures and section titles, and tell whether they are the persona's."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from memoirist.data.text.language_rules import Language, fold, language, name_words
from memoirist.data.text.words import has_han, simplified

_TITLES = frozenset(name_words("titles"))
_PARTICLES = frozenset(name_words("particles"))
_NO_NAMES = frozenset(name_words("no_names"))
_SUFFIXES = re.compile(
    r",? ?\b(?:Jr|Sr|Esq|Esquire|M\.? ?D|D\. ?D|LL\. ?D|Ph\. ?D|M\. ?A|B\. ?A|F\. ?R\. ?S)\b\.?"
)
RANK = re.compile(
    r",\s*(?:(?:brevet|lieutenant|major|brigadier|captain|colonel|general|commanding|secretary"
    r"|president|governor|chairman|editor|adjutant|chief|of|the|war|state|staff|u\.? ?s\.? ?a?"
    r"|com'?d'?g)[\s,.\-–—]*)+$",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"[^\W\d_]\.(?:[^\W\d_]\.)*|[^\W\d_]+(?:['’\-][^\W\d_]+)*\.?")
_CJK = re.compile(r"[\u3400-\u9fff]")


def name_parts(name: str) -> tuple[str, ...]:
    """Return the folded parts of a name, without titles and suffixes; initials as one letter."""
    bare = _SUFFIXES.sub("", name)
    parts: list[str] = []
    for token in _TOKEN.findall(bare):
        pieces = token.split(".") if re.fullmatch(r"(?:[^\W\d_]\.)+", token) else [token]
        parts += [fold(piece.strip(".")) for piece in pieces if piece.strip(".")]
    return tuple(p for p in parts if p not in _TITLES)


def looks_like_name(text: str) -> bool:
    """Tell whether a short text is only a person's name, of two parts or more."""
    bare = _SUFFIXES.sub("", RANK.sub("", text.strip(" \"'“”‘’—–-_,.;()[]")))
    if not bare or len(bare) > 60 or re.search(r"[\d!?:;,]", bare):
        return False
    tokens = bare.split()
    if not 2 <= len(tokens) <= 6 or _TOKEN.sub("", bare).strip(" &"):
        return False
    capitals = [t for t in tokens if t.casefold() not in _PARTICLES]
    if tokens[0].casefold().strip(".") in _NO_NAMES:
        return False
    return len(capitals) >= 2 and all(t[0].isupper() for t in capitals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The persona's names in the forms that comparisons need; empty names match nothing.

    `full` is for messages; where a name has Han characters (`han`), `mention` matches simplified
    ones.
    """

    full: tuple[str, ...]
    parts: tuple[tuple[str, ...], ...]
    mention: re.Pattern[str] | None
    han: bool = False

    @property
    def surname(self) -> str:
        """Return the surname, as reasons name the persona."""
        return self.full[0].split()[-1] if self.full else ""


@cache
def names_of(names: tuple[str, ...]) -> Names:
    """Return a persona's names from the full name and the aliases."""
    full = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
    bare = [simplified(_SUFFIXES.sub("", name).strip()) for name in full]
    forms = {name for name in bare if len(name) > 2 or _CJK.search(name)}
    forms |= {name.split()[-1] for name in bare if " " in name and len(name.split()[-1]) > 2}
    forms |= {form.upper() for form in forms}
    alternatives = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
    edge = "" if any(_CJK.search(form) for form in forms) else r"\b"
    mention = re.compile(rf"{edge}(?:{alternatives}){edge}") if alternatives else None
    return Names(
        full=full,
        parts=tuple(p for n in full if (p := name_parts(n))),
        mention=mention,
        han=any(map(has_han, full)),
    )


def is_persona(signature: str, names: Names) -> bool:
    """Tell whether a signature can be the persona's: the same surname and no other first name."""
    if _CJK.search(signature):
        signed = simplified(signature)
        return any(simplified(name) in signed for name in names.full)
    return any(_same_person(name_parts(signature), parts) for parts in names.parts)


def _same_person(signed: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    if not signed or not parts:
        return False
    if all(len(p) == 1 for p in signed):
        # Initials alone: a subsequence of the name's own, with the same first and last.
        initials = [p[0] for p in parts]
        own = [p for p in initials if p in signed]
        return signed[-1] == initials[-1] and signed[0] == initials[0] and len(own) >= len(signed)
    if signed[-1] != parts[-1]:
        return False
    if len(signed) == 1 or len(parts) == 1:
        return True
    # "S. Grant" may be Ulysses S. Grant; "Francis Darwin" is not Charles.
    return any(_same_given_name(signed[0], name) for name in parts[:-1])


def _same_given_name(signed: str, name: str) -> bool:
    shorter = min(len(signed), len(name))
    return signed == name or (signed[0] == name[0] and (shorter <= 2 or name.startswith(signed)))


def count_mentions(text: str, names: Names, lang: Language) -> int:
    """Count how often the text names the persona, or says "our author".

    "Mrs. Darwin" and "Josiah Franklin" are other people: a surname after a first name that is not
    the persona's does not count.
    """
    n_mentions = len(lang.author.findall(text))
    if names.mention is None:
        return n_mentions
    if names.han:
        text = simplified(text)
    firsts = {part for parts in names.parts for part in parts[:-1]}
    for match in names.mention.finditer(text):
        before = text[max(0, match.start() - 24) : match.start()].split()
        # "was called to Salt": a small word, or one that ends a sentence, is no first name.
        word = before[-1] if before else ""
        bare = fold(word.strip("."))
        if bare in lang.other_surname:
            continue
        given = word[:1].isupper() and not word.endswith((",", ";", ":", '"', "”"))
        allowed = bare in _TITLES or bare in firsts or any(f.startswith(bare) for f in firsts)
        if given and len(before) > 1 and not allowed and not before[-2].endswith((".", "!", "?")):
            continue
        n_mentions += 1
    return n_mentions


def signature_at_end(paragraphs: Sequence[str], lang: Language) -> str | None:
    """Return the name at the end of a text, before or after a line of place and date; else None."""
    for text in (paragraph.strip() for paragraph in reversed(paragraphs[-4:])):
        bare = fold(text.strip(" \"'“”‘’—–-_,.;()[]"))
        if bare in lang.own_signs or bare in lang.role_signs:
            return text.strip(" \"'“”—–-_.")
        if looks_like_name(text):
            return text.strip(" \"'“”‘’—–_,.()[]")
        if len(text.split()) > 12 or len(_CJK.findall(text)) > 40:
            return _inline_signature(text)
        # A name before its place and date: "W. E. CHANNING, Boston, May 1845."
        head = text.split(",")[0]
        if re.search(r"\d{4}", text) and looks_like_name(head) and re.search(r"[A-Z]\.", head):
            return head.strip()
        if name := _inline_signature(text):
            return name
    return None


_AT_END = re.compile(
    r"(?:(?<![A-Z])[.!?…]|\d{4}[.,]?)[\"'”’»)]*\s+[—–-]?\s*((?:[A-Z][\w'’\-]*\.?\s+){1,4}[A-Z][\w'’\-]+\.?)$"
)
_CJK_SIGN = re.compile(r"[。，、\s]([\u3400-\u9fff]{2,4}?)(?:[记記序识識题題跋]|[谨謹][识識启啟])")


def _inline_signature(text: str) -> str | None:
    """Return a name in capitals after the last sentence of a paragraph."""
    cjk = _CJK_SIGN.search(text[-40:]) if _CJK.search(text) else None
    if cjk:
        return cjk.group(1)
    match = _AT_END.search(text)
    if match is None:
        return None
    name = match.group(1)
    letters = [c for c in name if c.isalpha()]
    return name.strip() if all(c.isupper() for c in letters) and looks_like_name(name) else None


TitleKind = Literal["own", "other", "apparatus", "letter", "doubtful", "plain"]

_NUMBERING = re.compile(
    r"^(?:(?:chapter|part|book|section|kapitel|teil|buch|chapitre|partie|livre|capítulo|parte|libro)"
    r"\b\.?\s*)?(?:[ivxlcdm]+|\d+)?\s*[.:)–—-]\s+",
    re.IGNORECASE,
)
_WITH = re.compile(r"\s+(?:with|to|mit|an|avec|à|con|a)\s")
_TITLE_PARTS = re.compile(r"\s*[:|/—–]\s+")


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
    for part in dict.fromkeys([_plain(title), _plain(_TITLE_PARTS.split(title)[-1])]):
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

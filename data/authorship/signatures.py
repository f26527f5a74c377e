"""Names at the end of a text: whether a signature is the persona's or another's."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from memoirist.data.text.chinese import has_han, simplified
from memoirist.data.text.language_rules import Language

_NAMES = Path(__file__).parents[1] / "text" / "languages" / "names.toml"
_WORDS = tomllib.loads(_NAMES.read_text("utf-8"))
_TITLES = frozenset(_WORDS["titles"].split())
_PARTICLES = frozenset(_WORDS["particles"].split())
_NO_NAMES = frozenset(_WORDS["no_names"].split())
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


def fold(text: str) -> str:
    """Return the text without case and without accents."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in plain if not unicodedata.combining(c))


def name_parts(name: str) -> tuple[str, ...]:
    """Return the folded parts of a name, without titles and suffixes; initials as one letter."""
    bare = _SUFFIXES.sub("", name)
    parts: list[str] = []
    for token in _TOKEN.findall(bare):
        pieces = token.split(".") if re.fullmatch(r"(?:[^\W\d_]\.)+", token) else [token]
        parts += [fold(piece.strip(".")) for piece in pieces if piece.strip(".")]
    return tuple(p for p in parts if p not in _TITLES)


def looks_like_name(text: str) -> bool:
    """Tell whether a short text is nothing but a person's name of two parts or more."""
    bare = _SUFFIXES.sub("", RANK.sub("", text.strip(" \"'“”‘’—–-_,.;()[]")))
    if not bare or len(bare) > 60 or re.search(r"[\d!?:;,]", bare):
        return False
    tokens = bare.split()
    if not 2 <= len(tokens) <= 6 or _TOKEN.sub("", bare).strip(" &"):
        return False
    capitals = [t for t in tokens if t.casefold() not in _PARTICLES]
    first = tokens[0].casefold().strip(".")
    common = first in _NO_NAMES
    return len(capitals) >= 2 and not common and all(t[0].isupper() for t in capitals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The persona's names, ready to compare with; empty names match nothing.

    `full` is for showing; where one of them is `han`, `mention` matches simplified characters.
    """

    full: tuple[str, ...]
    parts: tuple[tuple[str, ...], ...]
    mention: re.Pattern[str] | None
    han: bool = False

    @property
    def surname(self) -> str:
        """Return the name by which reasons speak of the persona."""
        return self.full[0].split()[-1] if self.full else ""


@cache
def names_of(named: tuple[str, ...]) -> Names:
    """Return a persona's names, from the full name and the aliases."""
    full = tuple(dict.fromkeys(name.strip() for name in named if name.strip()))
    bare = [simplified(_SUFFIXES.sub("", name).strip()) for name in full]
    words = {name for name in bare if len(name) > 2 or _CJK.search(name)}
    words |= {n.split()[-1] for n in bare if " " in n and len(n.split()[-1]) > 2}
    words |= {word.upper() for word in words}
    alternatives = "|".join(re.escape(w) for w in sorted(words, key=len, reverse=True))
    edge = "" if any(_CJK.search(w) for w in words) else r"\b"
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
    return any(_same(name_parts(signature), parts) for parts in names.parts)


def _same(signed: tuple[str, ...], parts: tuple[str, ...]) -> bool:
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
    return any(_fits(signed[0], known) for known in parts[:-1])


def _fits(first: str, known: str) -> bool:
    short = min(len(first), len(known))
    return first == known or (first[0] == known[0] and (short <= 2 or known.startswith(first)))


def count_mentions(text: str, names: Names, lang: Language) -> int:
    """Count how often the text speaks of the persona: by name, or as "our author".

    "Mrs. Darwin" is another, and so is "Josiah Franklin": a surname behind a first name that is
    not the persona's does not count.
    """
    found = len(lang.author.findall(text))
    if names.mention is None:
        return found
    if names.han:
        text = simplified(text)
    firsts = {part for parts in names.parts for part in parts[:-1]}
    for match in names.mention.finditer(text):
        before = text[max(0, match.start() - 24) : match.start()].split()
        # "was called to Salt" and "Salt's": a new sentence or a small word says nothing.
        word = before[-1] if before else ""
        bare = fold(word.strip("."))
        if bare in lang.other_surname:
            continue
        given = word[:1].isupper() and not word.endswith((",", ";", ":", '"', "”"))
        allowed = bare in _TITLES or bare in firsts or any(f.startswith(bare) for f in firsts)
        if given and len(before) > 1 and not allowed and not before[-2].endswith((".", "!", "?")):
            continue
        found += 1
    return found


def signature_at_end(paragraphs: Sequence[str], lang: Language) -> str | None:
    """Return the name that closes a text, with or without a line of place and date; else None."""
    tail = [p.strip() for p in paragraphs[-4:]]
    for text in reversed(tail):
        bare = fold(text.strip(" \"'“”‘’—–-_,.;()[]"))
        if bare in lang.own_signs or bare in lang.role_signs:
            return text.strip(" \"'“”—–-_.")
        if looks_like_name(text):
            return text.strip(" \"'“”‘’—–_,.()[]")
        if len(text.split()) > 12 or _cjk_long(text):
            return _inline_signature(text)
        # A name before its place and date: "W. E. CHANNING, Boston, May 1845."
        head = text.split(",")[0]
        if re.search(r"\d{4}", text) and looks_like_name(head) and re.search(r"[A-Z]\.", head):
            return head.strip()
        closed = _inline_signature(text)
        if closed:
            return closed
    return None


def _cjk_long(text: str) -> bool:
    return len(_CJK.findall(text)) > 40


_AT_END = re.compile(
    r"(?:(?<![A-Z])[.!?…]|\d{4}[.,]?)[\"'”’»)]*\s+[—–-]?\s*((?:[A-Z][\w'’\-]*\.?\s+){1,4}[A-Z][\w'’\-]+\.?)$"
)
_CJK_SIGN = re.compile(r"[。，、\s]([\u3400-\u9fff]{2,4}?)(?:[记記序识識题題跋]|[谨謹][识識启啟])")


def _inline_signature(text: str) -> str | None:
    """Return a name in capitals behind the last sentence of a paragraph."""
    cjk = _CJK_SIGN.search(text[-40:]) if _CJK.search(text) else None
    if cjk:
        return cjk.group(1)
    match = _AT_END.search(text)
    if match is None:
        return None
    name = match.group(1)
    letters = [c for c in name if c.isalpha()]
    return name.strip() if all(c.isupper() for c in letters) and looks_like_name(name) else None

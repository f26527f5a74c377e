"""The signals of a passage: cheap figures that tell prose from contents, indexes and noise."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from data.text import sentences, stop_words, words

_QUOTED = (
    re.compile(r"“[^”]*(?:”|$)"),
    re.compile(r"\"[^\"]*(?:\"|$)"),
    re.compile(r"«[^»]*(?:»|$)"),
    re.compile(r"„[^“”]*(?:[“”]|$)"),
    re.compile(r"「[^」]*(?:」|$)"),
    re.compile(r"『[^』]*(?:』|$)"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """Shares lie in [0, 1]; `None` where the text is too short or the language has no list."""

    n_words: int
    stop_share: float | None
    zlib_ratio: float
    letter_share: float
    digit_share: float
    upper_share: float
    sentence_words: float
    type_token: float
    quoted_share: float
    repeated_share: float


def measure(text: str, lang: str) -> Signals:
    """Compute the signals of QUALITY's table of passages; FineWeb's repetition among them."""
    found = words(text)
    letters = sum(character.isalpha() for character in text)
    encoded = text.encode("utf-8")
    stops = stop_words(lang)
    return Signals(
        n_words=len(found),
        stop_share=sum(w in stops for w in found) / len(found) if stops and found else None,
        zlib_ratio=len(zlib.compress(encoded, 9)) / len(encoded) if encoded else 0.0,
        letter_share=letters / len(text) if text else 0.0,
        digit_share=sum(character.isdigit() for character in text) / len(text) if text else 0.0,
        upper_share=sum(c.isupper() for c in text) / letters if letters else 0.0,
        sentence_words=len(found) / max(1, len(sentences(text))),
        type_token=len(set(found)) / len(found) if found else 0.0,
        quoted_share=quoted_share(text),
        repeated_share=repeated_share(found),
    )


def quoted_share(text: str) -> float:
    """Return the share of characters inside quotation marks, by the style that quotes most.

    A paragraph that opens a quotation and does not close it goes on being quoted to its end, as
    printers do in a speech of several paragraphs. Single quotes are told from apostrophes by
    their sides, and count only where no double ones stand.
    """
    if not text:
        return 0.0
    if "“" not in text:
        # Some typesetters set the closing mark on both sides.
        text = text.replace("”", '"')
    paragraphs = text.split("\n\n")
    most = max(sum(len(m.group()) for p in paragraphs for m in q.finditer(p)) for q in _QUOTED)
    if most == 0:
        single = re.compile(r"(?<!\w)[‘'](?=\S).*?(?<=[\w.,!?])[’'](?!\w)", re.DOTALL)
        most = sum(len(m.group()) for p in paragraphs for m in single.finditer(p))
    return min(1.0, most / len(text))


def repeated_share(found: Sequence[str], n: int = 5) -> float:
    """Return the share of words in n-grams that stood before; the first occurrence is free.

    FineWeb's rule, with words for characters: a book that often names "the Army of the Potomac"
    repeats itself less than a list does.
    """
    seen: set[tuple[str, ...]] = set()
    inside: set[int] = set()
    for place in range(len(found) - n + 1):
        gram = tuple(found[place : place + n])
        if gram in seen:
            inside.update(range(place, place + n))
        seen.add(gram)
    return len(inside) / len(found) if found else 0.0

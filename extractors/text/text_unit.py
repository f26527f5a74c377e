"""The unit that all texts are brought to before they become blocks, and what prose looks like."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

from memoirist.data.schema.records import BlockKind
from memoirist.data.text.words import count_words, ends_sentence, is_cjk

_SPACES = re.compile(r"[^\S\n]+")
_AROUND_BREAK = re.compile(r" ?\n ?")
# Soft hyphens, word joiners and marks of byte order are no part of the words.
_UNSEEN = str.maketrans(dict.fromkeys("\u00ad\u2060\ufeff\u200b"))
_LETTERS = re.compile(r"[^\W\d_]+")
_PROSE_WORDS = 14
_DASHES = re.compile(r"--|[—–]")


@dataclass(slots=True, kw_only=True)
class Unit:
    """One paragraph, heading or other piece of a text, in reading order.

    `level` is a heading's depth from 1, 0 for all else. `gap` is the white space above, in lines
    beyond what parts paragraphs. `sure` units keep their kind: the source itself named it.
    `links` is the share of the text that stands inside links; `label` a note's mark; `page` the
    number printed on the page where it begins.
    """

    kind: BlockKind
    text: str
    level: int = 0
    gap: int = 0
    page: str | None = None
    sure: bool = False
    links: float = 0.0
    label: str | None = None
    anchors: list[str] = field(default_factory=list)
    chapter: str | None = None

    @property
    def verse(self) -> bool:
        """Whether line breaks are part of the text."""
        return "\n" in self.text


def tidied(text: str) -> str:
    """Return the text in NFC with single spaces, none beside a line break, and nothing unseen."""
    plain = unicodedata.normalize("NFC", text.translate(_UNSEEN))
    return _AROUND_BREAK.sub("\n", _SPACES.sub(" ", plain)).strip()


def bare(text: str) -> str:
    """Return the letters and digits of a title alone, folded, to compare it with another."""
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def size(text: str) -> int:
    """Count words; in Chinese two characters count as one."""
    return count_words(text) // 2 if is_cjk(text) else count_words(text)


def is_prose(unit: Unit) -> bool:
    """Tell whether the unit is a paragraph of running sentences, not a title or a list's row."""
    if unit.kind not in {"paragraph", "quote"} or unit.links > 0.5 or unit.verse:
        return False
    words = size(unit.text)
    if words < _PROSE_WORDS or unit.text.isupper():
        return False
    dashes = len(_DASHES.findall(unit.text))
    return ends_sentence(unit.text) and dashes * 6 < words


def has_letters(text: str) -> bool:
    """Tell whether the text holds a letter; ornaments and rules hold none."""
    return _LETTERS.search(text) is not None


def spread(text: str) -> frozenset[str]:
    """Return the words of a list that is written as one line."""
    return frozenset(text.split())

"""Define the unit that every text format is read into, and clean, count and compare its words."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

from memoirist.data.schema.records import BlockKind
from memoirist.data.text.words import count_words, ends_sentence, is_cjk

_SPACES = re.compile(r"[^\S\n]+")
_AROUND_BREAK = re.compile(r" ?\n ?")
# Soft hyphens, word joiners and byte order marks are not part of the words.
_INVISIBLE = str.maketrans(dict.fromkeys("\u00ad\u2060\ufeff\u200b"))
_LETTERS = re.compile(r"[^\W\d_]+")
_PROSE_WORDS = 14
_DASHES = re.compile(r"--|[—–]")


@dataclass(slots=True, kw_only=True)
class Unit:
    """One paragraph, heading or other piece of a text, in reading order.

    `level` is a heading's depth from 1, 0 for all else. `gap` counts the blank lines above beyond
    those that separate paragraphs. `fixed` units keep their kind: the source itself states it.
    `link_share` is the share of the text inside links; `label` a note's mark; `page` the number
    printed on the page where the unit begins.
    """

    kind: BlockKind
    text: str
    level: int = 0
    gap: int = 0
    page: str | None = None
    fixed: bool = False
    link_share: float = 0.0
    label: str | None = None
    anchors: list[str] = field(default_factory=list)
    chapter: str | None = None

    @property
    def verse(self) -> bool:
        """Whether line breaks are part of the text."""
        return "\n" in self.text


def clean_text(text: str) -> str:
    """Return the text in NFC with single spaces, none beside a line break, none invisible."""
    visible = unicodedata.normalize("NFC", text.translate(_INVISIBLE))
    return _AROUND_BREAK.sub("\n", _SPACES.sub(" ", visible)).strip()


def letters_of(text: str) -> str:
    """Return the letters and digits of a title alone, case-folded, to compare it with another."""
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def word_count(text: str) -> int:
    """Count words; in Chinese two characters count as one."""
    return count_words(text) // 2 if is_cjk(text) else count_words(text)


def is_prose(unit: Unit) -> bool:
    """Tell whether the unit is a paragraph of sentences, not a title or an entry of a list."""
    if unit.kind not in {"paragraph", "quote"} or unit.link_share > 0.5 or unit.verse:
        return False
    n_words = word_count(unit.text)
    if n_words < _PROSE_WORDS or unit.text.isupper():
        return False
    return ends_sentence(unit.text) and len(_DASHES.findall(unit.text)) * 6 < n_words


def has_letters(text: str) -> bool:
    """Tell whether the text holds a letter; ornaments and rules hold none."""
    return _LETTERS.search(text) is not None

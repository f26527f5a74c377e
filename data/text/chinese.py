"""Convert Chinese to simplified characters, and find Chinese texts without sentence marks."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opencc import OpenCC
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from memoirist.data.schema.records import Block
from memoirist.data.text.words import CJK_CHARACTER, is_cjk

_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003134f]")


def has_han(text: str) -> bool:
    """Tell whether the text has a Han character."""
    return _HAN.search(text) is not None


def simplified(text: str) -> str:
    """Return Chinese in simplified characters, by OpenCC; other text as it is.

    To compare with, never to show or to learn: several traditional characters become one.
    """
    return _converter().convert(text) if has_han(text) else text


@cache
def _converter() -> OpenCC:
    # Loaded for Chinese names alone: everything else starts without it.
    from opencc import OpenCC

    return OpenCC("t2s")


_MARK = re.compile(r"[。！？…．｡!?.]")
# Printed Chinese has a mark in every 15 to 50 characters; a stray one is a note's or a scan's.
_CHARACTERS_A_MARK = 300
_MIN_CHARACTERS = 100
# Where so many paragraphs have one length, a program cut the text and not its author.
_EVEN_SHARE, _EVEN_COUNT = 0.3, 4


def is_unmarked(text: str) -> bool:
    """Tell whether a Chinese text of some length has practically no sentence marks."""
    if text.isascii():
        return False
    characters = len(CJK_CHARACTER.findall(text))
    if characters < _MIN_CHARACTERS or not is_cjk(text):
        return False
    return len(_MARK.findall(text)) * _CHARACTERS_A_MARK <= characters


def unmarked_chapters(blocks: Iterable[Block]) -> frozenset[str | None]:
    """Return the chapters without sentence marks, where paragraph ends serve as sentence ends.

    `blocks` are the prose. A chapter of paragraphs with one length is left out, because these do
    not end where sentences do.
    """
    chapters: defaultdict[str | None, list[str]] = defaultdict(list)
    for block in blocks:
        chapters[block.chapter].append(block.text)
    return frozenset(
        chapter
        for chapter, texts in chapters.items()
        if is_unmarked("\n".join(texts)) and not _even(texts)
    )


def _even(texts: Sequence[str]) -> bool:
    _, most = Counter(map(len, texts)).most_common(1)[0]
    return most >= max(_EVEN_COUNT, _EVEN_SHARE * len(texts))

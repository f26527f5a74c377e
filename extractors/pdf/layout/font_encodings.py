"""TeX's bitmap fonts do not say what their glyphs mean; the encoding they were made for does."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from memoirist.extractors.pdf.layout.geometry import Glyph

UNKNOWN = "\ufffd"
# An engine gives a code without a meaning as a private character, until the page is whole.
_PRIVATE = 0xE000
_PRIVATE_USE = re.compile("[\ue000-\uf8ff]")

# Knuth's own encoding (OT1) and the one for European languages (T1, "Cork"), where they leave
# ASCII; from 0xC0 on T1 is Latin-1 but for four letters.
_OT1 = dict(enumerate("ΓΔΘΛΞΠΣΥΦΨΩ")) | dict(enumerate(("ff", "fi", "fl", "ffi", "ffl"), 11))
_OT1 |= {16: "ı", 25: "ß", 26: "æ", 27: "œ", 28: "ø", 29: "Æ", 30: "Œ", 31: "Ø"}
_OT1_ASCII = str.maketrans({'"': "”", "\\": "“", "{": "–", "|": "—", "<": "¡", ">": "¿"})
_QUOTES = {39: "’", 96: "‘"}
_T1 = dict(enumerate("“”„«»–—", 16)) | dict(enumerate(("ff", "fi", "fl", "ffi", "ffl"), 27))
_T1 |= {13: "‚", 14: "‹", 15: "›", 25: "ı", 127: "-", 159: "§", 189: "¡", 190: "¿", 191: "£"}
_T1 |= {code: chr(code) for code in range(0xC0, 0x100)}
_T1 |= {0xD7: "Œ", 0xDF: "SS", 0xF7: "œ", 0xFF: "ß"}


def coded(code: int) -> str:
    """Return what stands for a code of a bitmap font until its encoding is known."""
    if code in _QUOTES:
        return _QUOTES[code]
    return chr(code) if 32 <= code < 127 else chr(_PRIVATE + min(code, 0x1FFF))


def decoded(glyphs: Iterable[Glyph]) -> list[Glyph]:
    """Return the glyphs of one page with the codes of its bitmap fonts, whose name is empty, read.

    Codes 11 to 15 are the f-ligatures of OT1, 27 to 31 those of T1: the more frequent decide.
    What neither encoding knows becomes U+FFFD, and so does all that is not mostly plain letters.
    """
    found = list(glyphs)
    codes = Counter(
        ord(char) - _PRIVATE
        for glyph in found
        if not glyph.font
        for char in glyph.text
        if ord(char) >= _PRIVATE
    )
    knuth = sum(codes[n] for n in range(11, 16)) > sum(codes[n] for n in range(27, 32))
    if not codes:
        return found
    letters = sum(
        char.isascii() and char.isalpha()
        for glyph in found
        if not glyph.font
        for char in glyph.text
    )
    if codes.total() > letters:
        # Not text in either encoding with a ligature here and there, but something else.
        return [
            glyph if glyph.font else glyph._replace(text=_PRIVATE_USE.sub(UNKNOWN, glyph.text))
            for glyph in found
        ]
    return [
        glyph if glyph.font else glyph._replace(text=_read(glyph.text, knuth)) for glyph in found
    ]


def _read(text: str, knuth: bool) -> str:
    table = _OT1 if knuth else _T1
    parts = [
        table.get(ord(char) - _PRIVATE, UNKNOWN) if ord(char) >= _PRIVATE else char
        for char in (text.translate(_OT1_ASCII) if knuth else text)
    ]
    return "".join(parts)

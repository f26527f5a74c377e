"""Read the codes of fonts that do not say what their characters mean: TeX's fonts.

TeX's bitmap fonts have neither names nor meanings; the encoding that they were made for tells.
TeX's fonts of signs are known by name. Their encodings are those of Knuth's Computer Modern: OML
(letters), OMS (signs) and OMX (large signs and the pieces that they are built of), and those of
the two fonts of signs by the AMS.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from memoirist.extractors.pdf.layout.geometry import UNKNOWN, Glyph
from memoirist.extractors.word_tables import table

# An engine gives a code without a meaning as a private character, until the page is whole.
_PRIVATE = 0xE000
_PRIVATE_CHAR = re.compile("[\ue000-\uf8ff]")

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

# A stroke over the sign that comes next: with "=" after it, "is not equal".
STROKE = "\u0338"
ENCODINGS: dict[str, str] = table("tex_fonts")
# A quarter plus half of the depth: of delimiters in four sizes, of operators in text and display.
_HANGS = (
    ({0x5A, 0x49}, 1.36),
    ({0x47, 0x4B, 0x4D, 0x4F, *range(0x58, 0x60), 0x61}, 0.95),
    ({0x46, 0x48, 0x4A, 0x4C, 0x4E, *range(0x50, 0x58), 0x60}, 0.75),
    ({*range(0x0C), 0x0E, 0x0F, 0x70}, 0.81),
    ({0x10, 0x11, 0x2E, 0x2F, 0x44, 0x45, *range(0x68, 0x70), 0x71}, 1.11),
    ({*range(0x12, 0x20), 0x72}, 1.41),
    ({*range(0x20, 0x2E), 0x73}, 1.71),
)
# Fonts of arrow tips, lines and curves, by LaTeX's picture environment and by Xy-pic.
_DRAWING = r"LINEW?(?=\d)|LCIRCLEW?(?=\d)|XY[A-Z]{3,4}"
_NAME = re.compile(rf"(?:[A-Z]{{6}}\+)?(?:({'|'.join(ENCODINGS)})B?|{_DRAWING})(?:\d|-|$)")
# The signs over which TeX draws the stroke, and the arrows that it builds of two pieces.
_STRUCK = "=<>∈∋⊂⊃⊆⊇≡∼≈≃≤≥≺≻⊑⊒∃|∥⊢←→↔⇐⇒⇔"
_STROKE_FIRST = re.compile(rf"{STROKE} ?([{_STRUCK}])")
_STROKE_LAST = re.compile(rf"([{_STRUCK}]) {STROKE}")
_ARROW = re.compile("([↦↪]) ?→|← ?(↩)")


def bitmap_char(code: int) -> str:
    """Return what stands for a code of a bitmap font until its encoding is known."""
    if code in _QUOTES:
        return _QUOTES[code]
    return chr(code) if 32 <= code < 127 else chr(_PRIVATE + min(code, 0x18FF))


def decode_bitmap_fonts(glyphs: Sequence[Glyph]) -> Sequence[Glyph]:
    """Return the glyphs of one page with the codes of its bitmap fonts, whose name is empty, read.

    Codes 11 to 15 are the f-ligatures of OT1, 27 to 31 those of T1: the more frequent decide.
    What neither encoding knows becomes U+FFFD, and so does all that is not mostly plain letters.
    """
    chars = Counter(char for glyph in glyphs if not glyph.font for char in glyph.text)
    codes = Counter(
        {ord(char) - _PRIVATE: n for char, n in chars.items() if _PRIVATE_CHAR.match(char)}
    )
    if not codes:
        return glyphs
    is_ot1 = sum(codes[n] for n in range(11, 16)) > sum(codes[n] for n in range(27, 32))
    n_letters = sum(n for char, n in chars.items() if char.isascii() and char.isalpha())
    table = _OT1 if is_ot1 else _T1
    if codes.total() > n_letters:
        # Not text in either encoding with a ligature here and there, but something else.
        table, is_ot1 = {}, False

    def meaning(text: str) -> str:
        text = text.translate(_OT1_ASCII) if is_ot1 else text
        return _PRIVATE_CHAR.sub(lambda char: table.get(ord(char[0]) - _PRIVATE, UNKNOWN), text)

    return [glyph if glyph.font else glyph._replace(text=meaning(glyph.text)) for glyph in glyphs]


def is_sign_font(font: str) -> bool:
    """Tell whether a font's name is that of one of TeX's fonts of signs."""
    return bool(_NAME.match(font))


def sign_of(font: str, code: int) -> str:
    """Return what stands at a code of a font: empty where it only draws, U+FFFD when not known."""
    name = _NAME.match(font)
    if name is None:
        return UNKNOWN
    if name[1] is None:
        return ""
    encoding = ENCODINGS[name[1]]
    return encoding[code].replace("\0", "") if code < len(encoding) else UNKNOWN


def hang_ems(font: str, code: int) -> float:
    """Return how far above its line a large sign hangs from, in ems of its font.

    TeX sets a sign of OMX with its middle on the axis, a quarter of an em above the baseline; the
    depths are those of the font's own metrics. Pieces of built signs stay where they are.
    """
    name = _NAME.match(font)
    if name is None or name[1] != "CMEX":
        return 0.0
    return next((ems for codes, ems in _HANGS if code in codes), 0.0)


def compose_signs(text: str) -> str:
    """Return `text` with signs as one that TeX draws as two: what is negated, arrows with tails."""
    if STROKE in text:
        text = _STROKE_FIRST.sub(rf"\1{STROKE}", text)
        text = _STROKE_LAST.sub(rf"\1{STROKE}", text)
    return _ARROW.sub(lambda pieces: pieces[1] or pieces[2], text)

"""TeX's fonts of mathematics are known by name, and so is what stands at each of their codes.

Such fonts rarely say what their signs mean, and libraries know few of the names inside of them.
The encodings are those of Knuth's Computer Modern: OML (letters), OMS (signs) and OMX (large signs
and the pieces that they are built of), and those of the two fonts of signs by the AMS.
"""

from __future__ import annotations

import re

from memoirist.extractors.pdf.layout.font_encodings import UNKNOWN

# A stroke over the sign that comes next: with "=" after it, "is not equal".
STROKE = "\u0338"
_UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_GREEK = "ΓΔΘΛΞΠΣΥΦΨΩαβγδϵζηθικλμνξπρστυϕχψωεϑϖϱςφ"
_OML = f"{_GREEK}↼↽⇀⇁↪↩▷◁0123456789.,</>⋆∂{_UPPER}♭♮♯⌣⌢ℓ{_UPPER.lower()}ıȷ℘\u20d7⁀"
_OMS = (
    "−·×∗÷⋄±∓⊕⊖⊗⊘⊙◯∘•≍≡⊆⊇≤≥⪯⪰∼≈⊂⊃≪≫≺≻←→↑↓↔↗↘≃⇐⇒⇑⇓⇔↖↙∝"
    f"′∞∈∋△▽{STROKE}↦∀∃¬∅ℜℑ⊤⊥ℵ{_UPPER}∪∩⊎∧∨⊢⊣⌊⌋⌈⌉{{}}⟨⟩|∥↕⇕\\≀√⨿∇∫⊔⊓⊑⊒§†‡¶♣♢♡♠"
)
_BRACKETS = "()[]⌊⌋⌈⌉{}⟨⟩"
# The tips of braces above and below a formula (122 to 125) draw and say nothing.
_OMX = (
    f"{_BRACKETS}|∥/\\(){_BRACKETS}/\\{_BRACKETS}/\\/\\"
    "⎛⎞⎡⎤⎣⎦⎢⎥⎧⎫⎩⎭⎨⎬⎪⏐⎝⎠⎜⎟⟨⟩⊔⊔∮∮⊙⊙⊕⊕⊗⊗∑∏∫⋃⋂⊎⋀⋁∑∏∫⋃⋂⊎⋀⋁∐∐ˆˆˆ˜˜˜[]⌊⌋⌈⌉{}√√√√√√√∥↑↓\0\0\0\0⇑⇓"
)
_MSAM = (
    "⊡⊞⊠□■⋅◊⧫↻↺⇌⇋⊟⊩⊪⊨↠↞⇇⇉⇈⇊↾⇂↿⇃↣↢⇆⇄↰↱⇝↭↫↬≗≿≳⪆⊸∴∵≑≜≾≲⪅⪕⪖⋞⋟≼≦⩽≶‵\ufffd≓≒≽≧⩾≷"
    "⊏⊐⊳⊲⊵⊴★≬▼▶◀\ufffd\ufffd△▲▽≖⋚⋛⪋⪌¥⇛⇚✓⊻⊼⩞∠∡∢∝⌣⌢⋐⋑⋓⋒⋏⋎⋋⋌⫅⫆≏≎⋘⋙⌜⌝®Ⓢ⋔∔∽⋍⌞⌟✠∁⊺⊚⊛⊝"
)
_MSBM = (
    "≨≩≰≱≮≯⊀⊁≨≩≰≱⪇⪈⋠⋡⋨⋩⋦⋧≰≱⪵⪶⪹⪺⪉⪊≁≇╱╲⊊⊋⊈⊉⫋⫌⫋⫌⊊⊋⊈⊉∦∤∤∦⊬⊮⊭⊯⋭⋬⋪⋫↚↛⇍⇏⇎↮⋇∅"
    f"∄{_UPPER}ˆˆ˜˜\ufffdℲ⅁\ufffd\ufffd\ufffd\ufffd℧ð≂ℶℷℸ⋖⋗⋉⋊∣∥∖∼≈≊⪸⪷↶↷ϝϰkℏℏ϶"
)
ENCODINGS = {"CMMI": _OML, "CMSY": _OMS, "CMEX": _OMX, "MSAM": _MSAM, "MSBM": _MSBM}
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


def is_mathematical(font: str) -> bool:
    """Tell whether a font's name is that of one of TeX's fonts of signs."""
    return bool(_NAME.match(font))


def sign(font: str, code: int) -> str:
    """Return what stands at a code of a font: empty where it only draws, U+FFFD when not known."""
    named = _NAME.match(font)
    if named is None:
        return UNKNOWN
    if named[1] is None:
        return ""
    encoding = ENCODINGS[named[1]]
    return encoding[code].replace("\0", "") if code < len(encoding) else UNKNOWN


def hang(font: str, code: int) -> float:
    """Return how far above its line a large sign hangs from, in ems of its font.

    TeX sets a sign of OMX with its middle on the axis, a quarter of an em above the baseline; the
    depths are those of the font's own metrics. Pieces of built signs stay where they are.
    """
    named = _NAME.match(font)
    if named is None or named[1] != "CMEX":
        return 0.0
    return next((ems for codes, ems in _HANGS if code in codes), 0.0)


def composed(text: str) -> str:
    """Return `text` with signs as one that TeX draws as two: what is negated, arrows with tails."""
    if STROKE in text:
        text = _STROKE_FIRST.sub(rf"\1{STROKE}", text)
        text = _STROKE_LAST.sub(rf"\1{STROKE}", text)
    return _ARROW.sub(lambda pieces: pieces[1] or pieces[2], text)

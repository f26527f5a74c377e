"""Bind the PDFium functions that are called for every run of text, at as little cost as possible.

A book needs some hundred thousand of these calls. pypdfium2's own bindings make a pointer object
of every result; here handles are plain integers, and results that come through pointers are
written to buffers that are made once.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_char_p, c_double, c_float, c_int, c_ulong, c_ushort, c_void_p
from typing import Any

import pypdfium2_raw

_LIBRARY = pypdfium2_raw.bindings._libs["pdfium"]


class _Matrix(ctypes.Structure):
    _fields_ = tuple((name, c_float) for name in "abcdef")


class _Rect(ctypes.Structure):
    _fields_ = tuple((name, c_float) for name in ("left", "top", "right", "bottom"))


def _bound(name: str, result: Any, *arguments: Any) -> Any:  # noqa: ANN401 - ctypes has no types
    # Indexing a library makes a new function, so that nobody else's prototype is changed.
    function = _LIBRARY[name]
    function.restype, function.argtypes = result, arguments
    return function


text_object = _bound("FPDFText_GetTextObject", c_void_p, c_void_p, c_int)
has_map_error = _bound("FPDFText_HasUnicodeMapError", c_int, c_void_p, c_int)
font_size = _bound("FPDFText_GetFontSize", c_double, c_void_p, c_int)
font_of = _bound("FPDFTextObj_GetFont", c_void_p, c_void_p)

_count_chars = _bound("FPDFText_CountChars", c_int, c_void_p)
_code_point = _bound("FPDFText_GetUnicode", ctypes.c_uint, c_void_p, c_int)
_all_text = _bound("FPDFText_GetText", c_int, c_void_p, c_int, c_int, POINTER(c_ushort))
_font_name = _bound("FPDFFont_GetBaseFontName", ctypes.c_size_t, c_void_p, c_char_p, c_ulong)
_doubles = (POINTER(c_double), POINTER(c_double))
_origin = _bound("FPDFText_GetCharOrigin", c_int, c_void_p, c_int, *_doubles)
_loose_box = _bound("FPDFText_GetLooseCharBox", c_int, c_void_p, c_int, POINTER(_Rect))
_char_matrix = _bound("FPDFText_GetMatrix", c_int, c_void_p, c_int, POINTER(_Matrix))

_x, _y, _matrix, _rect = c_double(), c_double(), _Matrix(), _Rect()
_at_x, _at_y, _at_matrix, _at_rect = byref(_x), byref(_y), byref(_matrix), byref(_rect)


def handle_of(pointer: Any) -> int:  # noqa: ANN401 - ctypes has no types
    """Return the plain handle of what pypdfium2 holds as a pointer."""
    return ctypes.cast(pointer, c_void_p).value or 0


def origin(text: int, index: int) -> tuple[float, float]:
    """Return where a character stands on its baseline, in the page's own space."""
    _origin(text, index, _at_x, _at_y)
    return _x.value, _y.value


def loose_box(text: int, index: int) -> tuple[float, float, float, float]:
    """Return left, bottom, right and top of a character by its advance and its font's height."""
    _loose_box(text, index, _at_rect)
    return _rect.left, _rect.bottom, _rect.right, _rect.top


def matrix(text: int, index: int) -> tuple[float, float, float, float]:
    """Return a, b, c and d of a character's matrix; the font's size is not in it."""
    _char_matrix(text, index, _at_matrix)
    return _matrix.a, _matrix.b, _matrix.c, _matrix.d


def characters(text: int) -> str:
    """Return the characters of a page, each at the index by which PDFium knows it."""
    count = _count_chars(text)
    buffer = (c_ushort * (count + 1))()
    n_units = _all_text(text, 0, count, buffer)
    chars = bytes(buffer)[: 2 * max(n_units - 1, 0)].decode("utf-16-le", "surrogatepass")
    if len(chars) == count:
        return chars
    # Some characters have no text or two code units: then each is asked for its own.
    codes = (_code_point(text, n) for n in range(count))
    return "".join("\ufffe" if code == 2 else chr(code or 0xFFFD) for code in codes)


def font_name(font: int) -> str:
    """Return a font's name, empty for a Type 3 font."""
    buffer = ctypes.create_string_buffer(128)
    size = _font_name(font, buffer, 128)
    return buffer.raw[: max(min(size, 128) - 1, 0)].decode("utf-8", "replace")


def wide_text(function: Any, *arguments: Any) -> str:  # noqa: ANN401 - ctypes has no types
    """Return the text that a function of pypdfium2.raw writes; what is no text becomes U+FFFD."""
    size = function(*arguments, None, 0)
    buffer = ctypes.create_string_buffer(size)
    function(*arguments, buffer, size)
    return buffer.raw[: max(size - 2, 0)].decode("utf-16-le", "replace")

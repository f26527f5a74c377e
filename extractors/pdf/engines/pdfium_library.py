"""PDFium's library, with functions that are bound for many calls.

They are called for every run of text, bound at as little cost as possible: a book needs some
hundred thousand of these calls. pypdfium2's own bindings make a pointer object of every result;
here handles are plain integers, and results that come through pointers are written to buffers that
are made once.
"""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_int, c_ulong, c_void_p
from typing import Any

import pypdfium2_raw

_LIBRARY = pypdfium2_raw.bindings._libs["pdfium"]


def bound(name: str, result: Any, *arguments: Any) -> Any:  # noqa: ANN401 - ctypes has no types
    """Return a function of PDFium of its own prototype."""
    # Indexing a library makes a new function, so that nobody else's prototype is changed.
    function = _LIBRARY[name]
    function.restype, function.argtypes = result, arguments
    return function


def handle_of(pointer: Any) -> int:  # noqa: ANN401 - ctypes has no types
    """Return the plain handle of what pypdfium2 holds as a pointer."""
    return ctypes.cast(pointer, c_void_p).value or 0


text_object_of = bound("FPDFText_GetTextObject", c_void_p, c_void_p, c_int)
font_handle = bound("FPDFTextObj_GetFont", c_void_p, c_void_p)
_name_arguments = (c_void_p, c_char_p, c_ulong)
_base_name = bound("FPDFFont_GetBaseFontName", ctypes.c_size_t, *_name_arguments)
_family_name = bound("FPDFFont_GetFamilyName", ctypes.c_size_t, *_name_arguments)


def font_name(font: int) -> str:
    """Return a font's name, empty for a Type 3 font."""
    return _name(_base_name, font)


def family_name(font: int) -> str:
    """Return the family of the face with which PDFium draws a font."""
    return _name(_family_name, font)


def _name(function: Any, font: int) -> str:  # noqa: ANN401 - ctypes has no types
    buffer = ctypes.create_string_buffer(128)
    size = function(font, buffer, 128)
    return buffer.raw[: max(min(size, 128) - 1, 0)].decode("utf-8", "replace")

"""The calls into PDFium, bound once and lean: a book needs some hundred thousand of them.

pypdfium2's own bindings make a pointer of every answer; here handles are plain integers, and
answers that come through pointers land in buffers that are made once.
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


def _bound(name: str, answer: Any, *arguments: Any) -> Any:  # noqa: ANN401 - ctypes has no types
    # Indexing a library makes a new function, so that nobody else's prototype is changed.
    function = _LIBRARY[name]
    function.restype, function.argtypes = answer, arguments
    return function


_start = _bound("FPDF_InitLibrary", None)
open_file = _bound("FPDF_LoadDocument", c_void_p, c_char_p, c_char_p)
last_error = _bound("FPDF_GetLastError", c_ulong)
close_file = _bound("FPDF_CloseDocument", None, c_void_p)
count_pages = _bound("FPDF_GetPageCount", c_int, c_void_p)
open_page = _bound("FPDF_LoadPage", c_void_p, c_void_p, c_int)
close_page = _bound("FPDF_ClosePage", None, c_void_p)
rotation = _bound("FPDFPage_GetRotation", c_int, c_void_p)
open_text = _bound("FPDFText_LoadPage", c_void_p, c_void_p)
close_text = _bound("FPDFText_ClosePage", None, c_void_p)
count_chars = _bound("FPDFText_CountChars", c_int, c_void_p)
owner = _bound("FPDFText_GetTextObject", c_void_p, c_void_p, c_int)
has_map_error = _bound("FPDFText_HasUnicodeMapError", c_int, c_void_p, c_int)
code_point = _bound("FPDFText_GetUnicode", ctypes.c_uint, c_void_p, c_int)
font_size = _bound("FPDFText_GetFontSize", c_double, c_void_p, c_int)
font_of = _bound("FPDFTextObj_GetFont", c_void_p, c_void_p)
first_child = _bound("FPDFBookmark_GetFirstChild", c_void_p, c_void_p, c_void_p)
next_sibling = _bound("FPDFBookmark_GetNextSibling", c_void_p, c_void_p, c_void_p)
count_objects = _bound("FPDFPage_CountObjects", c_int, c_void_p)
page_object = _bound("FPDFPage_GetObject", c_void_p, c_void_p, c_int)
count_inner = _bound("FPDFFormObj_CountObjects", c_int, c_void_p)
inner_object = _bound("FPDFFormObj_GetObject", c_void_p, c_void_p, c_ulong)
object_type = _bound("FPDFPageObj_GetType", c_int, c_void_p)
TEXT, IMAGE, FORM = 1, 3, 5
WRONG_PASSWORD = 4

_all_text = _bound("FPDFText_GetText", c_int, c_void_p, c_int, c_int, POINTER(c_ushort))
_font_name = _bound("FPDFFont_GetBaseFontName", ctypes.c_size_t, c_void_p, c_char_p, c_ulong)
_meta = _bound("FPDF_GetMetaText", c_ulong, c_void_p, c_char_p, c_void_p, c_ulong)
_title = _bound("FPDFBookmark_GetTitle", c_ulong, c_void_p, c_void_p, c_ulong)
_label = _bound("FPDF_GetPageLabel", c_ulong, c_void_p, c_int, c_void_p, c_ulong)
_box = _bound("FPDF_GetPageBoundingBox", c_int, c_void_p, POINTER(_Rect))
_origin = _bound(
    "FPDFText_GetCharOrigin", c_int, c_void_p, c_int, POINTER(c_double), POINTER(c_double)
)
_loose = _bound("FPDFText_GetLooseCharBox", c_int, c_void_p, c_int, POINTER(_Rect))
_matrix = _bound("FPDFText_GetMatrix", c_int, c_void_p, c_int, POINTER(_Matrix))

_x, _y, _m, _r = c_double(), c_double(), _Matrix(), _Rect()
_at_x, _at_y, _at_m, _at_r = byref(_x), byref(_y), byref(_m), byref(_r)

_start()


def origin(text: int, index: int) -> tuple[float, float]:
    """Return where a character stands on its baseline, in the page's own space."""
    _origin(text, index, _at_x, _at_y)
    return _x.value, _y.value


def loose_box(text: int, index: int) -> tuple[float, float, float, float]:
    """Return left, bottom, right and top of a character by its advance and its font's height."""
    _loose(text, index, _at_r)
    return _r.left, _r.bottom, _r.right, _r.top


def matrix(text: int, index: int) -> tuple[float, float, float, float]:
    """Return a, b, c and d of a character's matrix; the font's size is not in it."""
    _matrix(text, index, _at_m)
    return _m.a, _m.b, _m.c, _m.d


def page_box(page: int) -> tuple[float, float, float, float]:
    """Return left, bottom, right and top of the visible page before its rotation."""
    _box(page, _at_r)
    return _r.left, _r.bottom, _r.right, _r.top


def page_text(text: int, count: int) -> str:
    """Return the page's characters; as long as `count` unless some take two code units."""
    buffer = (c_ushort * (count + 1))()
    written = _all_text(text, 0, count, buffer)
    return bytes(buffer)[: 2 * max(written - 1, 0)].decode("utf-16-le", "surrogatepass")


def font_name(font: int) -> str:
    """Return a font's name, empty for a Type 3 font."""
    buffer = ctypes.create_string_buffer(128)
    size = _font_name(font, buffer, 128)
    return buffer.raw[: max(min(size, 128) - 1, 0)].decode("utf-8", "replace")


def meta(document: int, key: str) -> str:
    """Return an entry of the file's own description."""
    return _wide(_meta, document, key.encode())


def page_label(document: int, index: int) -> str:
    """Return the number that the file gives to a page, counted from 0; empty without one."""
    return _wide(_label, document, index)


def bookmark_title(bookmark: int) -> str:
    """Return the title of one entry of the outline."""
    return _wide(_title, bookmark)


def _wide(function: Any, *arguments: int | bytes) -> str:  # noqa: ANN401
    size = function(*arguments, None, 0)
    buffer = ctypes.create_string_buffer(size)
    function(*arguments, buffer, size)
    return buffer.raw[: max(size - 2, 0)].decode("utf-16-le", "replace")

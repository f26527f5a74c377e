"""Find the text that PDFium leaves out as its font is neither in the file nor on the machine.

PDFium draws such a font with a face of its own that has little more than Latin letters. A text
object of other letters has no extent then, and PDFium drops it from the text of the page where it
is one character wide, or repeats what stands near it (`CPDF_TextPage::ProcessTextObject`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from ctypes import POINTER, byref, c_float, c_int, c_ulong, c_void_p
from dataclasses import dataclass

from pypdfium2 import PdfPage, raw

from memoirist.extractors.pdf.engines.pdfium_library import (
    bound,
    family_name,
    font_handle,
    font_name,
    handle_of,
)

# The face that stands for any font: "Chrome Sans MM" or "Chrome Serif MM"; the fourteen standard
# fonts have faces of their own.
_ANY_FACE = ("Chrome", "MM")
_NO_EXTENT = 0.01  # points
_MAX_DEPTH = 5

_count_objects = bound("FPDFPage_CountObjects", c_int, c_void_p)
_object_at = bound("FPDFPage_GetObject", c_void_p, c_void_p, c_int)
_count_within = bound("FPDFFormObj_CountObjects", c_int, c_void_p)
_object_within = bound("FPDFFormObj_GetObject", c_void_p, c_void_p, c_ulong)
_type_of = bound("FPDFPageObj_GetType", c_int, c_void_p)
_is_embedded = bound("FPDFFont_GetIsEmbedded", c_int, c_void_p)
_bounds_of = bound("FPDFPageObj_GetBounds", c_int, c_void_p, *[POINTER(c_float)] * 4)
_edges = tuple(c_float() for _ in range(4))
_at_edges = tuple(byref(edge) for edge in _edges)


@dataclass(slots=True)
class _Use:
    """How often PDFium reads and drops the text objects of a missing font."""

    name: str
    n_read: int = 0
    n_dropped: int = 0


def lost_fonts(page: PdfPage, read: Collection[int]) -> tuple[str, ...]:
    """Return the names of the missing fonts of which text is lost; `read` are the objects read.

    A space by itself has no extent either. It is told from a letter by the font: one that draws
    more objects than it drops is one whose letters are there.
    """
    uses: dict[int, _Use | None] = {}
    for text_object in _text_objects(page):
        font = font_handle(text_object)
        if font not in uses:
            uses[font] = _Use(font_name(font)) if _is_missing(font) else None
        use = uses[font]
        if use is None:
            continue
        _bounds_of(text_object, *_at_edges)
        has_height = _edges[3].value - _edges[1].value > _NO_EXTENT
        use.n_read += has_height
        use.n_dropped += not has_height and text_object not in read
    lost = {use.name or "unnamed" for use in uses.values() if use and use.n_dropped > use.n_read}
    return tuple(sorted(lost))


def _is_missing(font: int) -> bool:
    if _is_embedded(font) != 0:
        return False
    family = family_name(font)
    return family.startswith(_ANY_FACE[0]) and family.endswith(_ANY_FACE[1])


def _text_objects(page: PdfPage) -> Iterator[int]:
    """Yield the handles of a page's text objects, those within forms too."""
    handle = handle_of(page.raw)
    found = [(_object_at(handle, n), 0) for n in range(_count_objects(handle))]
    while found:
        item, depth = found.pop()
        kind = _type_of(item)
        if kind == raw.FPDF_PAGEOBJ_TEXT:
            yield item
        elif kind == raw.FPDF_PAGEOBJ_FORM and depth < _MAX_DEPTH:
            found += [(_object_within(item, n), depth + 1) for n in range(_count_within(item))]

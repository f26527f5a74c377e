"""Recognise text in UTF-16 and UTF-32, and write it again as UTF-8."""

from __future__ import annotations

import codecs
from pathlib import Path

_BLOCK_CHARS = 1 << 20
# UTF-32's mark begins with UTF-16's; without a mark the first letters are ASCII, as in any JSON
# (RFC 4627, 3).
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NULS = {
    (False, True, True, True): "utf-32-le",
    (True, True, True, False): "utf-32-be",
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
}


def wide_encoding(head: bytes) -> str | None:
    """Return the encoding of a text that begins so, None where a character may have one byte."""
    by_mark = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    return by_mark or _NULS.get(tuple(byte == 0 for byte in head[:4]))  # type: ignore[arg-type]


def as_utf8(path: Path, encoding: str, folder: Path) -> Path:
    """Write a file again as UTF-8 into a folder; what is broken becomes bytes that are no UTF-8."""
    target = folder / path.name
    codecs.register_error("memoirist-broken", lambda error: ("\udcff", error.end))  # type: ignore[attr-defined]
    with (
        path.open(encoding=encoding, errors="memoirist-broken", newline="") as wide,
        target.open("w", encoding="utf-8", errors="surrogateescape", newline="") as narrow,
    ):
        while text := wide.read(_BLOCK_CHARS):
            narrow.write(text)
    return target

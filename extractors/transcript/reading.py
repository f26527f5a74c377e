"""Read a transcript's bytes as text, in the encoding they are in."""

from __future__ import annotations

import codecs
from pathlib import Path

from data.errors import SourceUnreadable

# Word-level JSON of a ten-hour recording stays below 20 MB.
MAX_BYTES = 64 << 20
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read_text(path: Path) -> str:
    """Return a whole transcript; raise SourceUnreadable where it is too large to be one."""
    if path.stat().st_size > MAX_BYTES:
        raise SourceUnreadable(
            f"the transcript {str(path)!r} has more than {MAX_BYTES >> 20} MB",
            "split it into its episodes",
        )
    return decode(path.read_bytes())


def read_head(path: Path, n_bytes: int = 1 << 18) -> str:
    """Return the beginning of a file as text, empty where it cannot be opened."""
    try:
        with path.open("rb") as file:
            return decode(file.read(n_bytes), whole=False)
    except OSError:
        return ""


def decode(raw: bytes, *, whole: bool = True) -> str:
    """Return bytes as text: by their byte order mark, else UTF-8, UTF-16 or Windows-1252."""
    for mark, encoding in _BOMS:
        if raw.startswith(mark):
            return _decoded(raw[len(mark) :], encoding, whole=whole)
    if guess := _wide(raw):
        return _decoded(raw, guess, whole=whole)
    text = _decoded(raw, "utf-8", whole=whole)
    broken = text.count("�")
    # A few broken bytes in UTF-8 are damage; when most of what is not ASCII breaks, it never was.
    if broken and broken * 4 > sum(ord(c) > 127 for c in text):
        return raw.decode("cp1252", "replace")
    return text


def _decoded(raw: bytes, encoding: str, *, whole: bool) -> str:
    return codecs.getincrementaldecoder(encoding)("replace").decode(raw, final=whole)


def _wide(raw: bytes) -> str | None:
    """Tell UTF-16 without a mark by its zero bytes, every other one in Latin text."""
    head = raw[:2000]
    if head.count(0) * 3 < len(head):
        return None
    return "utf-16-be" if head[::2].count(0) > head[1::2].count(0) else "utf-16-le"

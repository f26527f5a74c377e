"""Read a transcript's bytes as text, in the encoding they are in."""

from __future__ import annotations

import codecs
from pathlib import Path

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.extractors.text.encoding import decode

# Word-level JSON of a ten-hour recording stays below 20 MB.
MAX_BYTES = 64 << 20


def read_text(path: Path) -> str:
    """Return a whole transcript; raise SourceUnreadable where it is too large to be one."""
    if path.stat().st_size > MAX_BYTES:
        raise SourceUnreadable(
            f"the transcript {str(path)!r} has more than {MAX_BYTES >> 20} MB",
            "split it into its episodes",
        )
    return decode(path.read_bytes()).text


def doubt_of(path: Path) -> str | None:
    """Return what is uncertain about a transcript's encoding, None for plain UTF-8."""
    content = path.read_bytes()
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return decode(content).doubt
    return None


def read_head(path: Path, n_bytes: int = 1 << 18) -> str:
    """Return the beginning of a file as text, empty where it cannot be opened."""
    try:
        with path.open("rb") as file:
            content = file.read(n_bytes)
    except OSError:
        return ""
    if len(content) < n_bytes or b"\x00" in content[:4000]:
        return decode(content).text
    # The last character may be cut in two, which is no damage.
    try:
        return codecs.getincrementaldecoder("utf-8-sig")("strict").decode(content)
    except UnicodeDecodeError:
        return decode(content[: content.rfind(b"\n") + 1] or content).text

"""Define what every reader of transcripts returns, and read a transcript's text and times."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.extractors.text.encoding import decode

# Word-level JSON of a ten-hour recording stays below 20 MB.
MAX_BYTES = 64 << 20
# Hours are optional; so is what follows the seconds.
TIME = r"(?:\d{1,3}:)?\d{1,3}:\d{2}(?:[.,]\d{1,6})?"
_CLOCK = re.compile(r"^(?:(?:(\d+):)?(\d+):)?(\d+(?:[.,]\d+)?)\s*s?$")
# A thousand days: a larger number is no time of a talk.
_MAX_SECONDS = 8.64e7


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """What one voice says in one piece, with seconds where the transcript has them.

    `new_turn` marks the start of a turn without a name (a dash, ">>"); `paragraph` begins a
    paragraph of its speaker; a cue of the kind `boilerplate` is nobody's speech.
    """

    text: str
    speaker: str | None = None
    start: float | None = None
    end: float | None = None
    new_turn: bool = False
    paragraph: bool = False
    chapter: str | None = None
    kind: Literal["turn", "heading", "boilerplate"] = "turn"


@dataclass(frozen=True, slots=True)
class Fault:
    """One broken place of a transcript; `keep` tells that its words are kept all the same."""

    where: str
    rule: str
    reason: str
    next_step: str
    keep: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One episode as it was read; `key` tells the episodes of one file apart."""

    cues: Sequence[Cue]
    faults: Sequence[Fault] = ()
    title: str | None = None
    published: date | None = None
    key: str | None = None


def bad_row(where: str, reason: str) -> Fault:
    """Return the fault of an entry without words."""
    return Fault(where, "bad_row", reason, "correct the row, or leave it out")


def bad_time(where: str, reason: str, next_step: str) -> Fault:
    """Return the fault of an entry whose time is impossible; its words are kept."""
    return Fault(where, "bad_time", f"{reason}; its words are kept", next_step, keep=True)


def seconds(value: object) -> float | None:
    """Return a time such as 01:02:03.456, 2:03 or 62,5 in seconds.

    None for what is no time: no number, negative, not finite.
    """
    if isinstance(value, bool) or value is None:
        return None
    if not isinstance(value, int | float):
        match = _CLOCK.match(str(value).strip().strip("[]()"))
        if match is None or len(match.group()) > 40:
            return None
        hours, minutes, rest = match.groups()
        value = int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(rest.replace(",", "."))
    try:
        number = float(value)
    except OverflowError:
        return None
    return round(number, 3) if math.isfinite(number) and 0 <= number < _MAX_SECONDS else None


def read_text(path: Path) -> str:
    """Return a whole transcript; raise SourceUnreadable where it is too large to be one."""
    if path.stat().st_size > MAX_BYTES:
        raise SourceUnreadable(
            f"the transcript {str(path)!r} has more than {MAX_BYTES >> 20} MB",
            "split it into its episodes",
        )
    return decode(path.read_bytes()).text


def encoding_doubt(path: Path) -> str | None:
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

"""The fields of a transcript's JSON entries, under the names that different programs give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memoirist.extractors.transcript.formats.base import Fault
from memoirist.extractors.transcript.times import seconds

TEXT = ("text", "body", "content", "transcript")
SPEAKER = ("voice", "speaker", "speaker_name", "speakerName", "speaker_label", "from")
START = ("start", "startTime", "start_time", "begin")
END = ("end", "endTime", "end_time")
_NEXT_STEP = "mend the row, or leave it out"


def value_of(entry: dict[str, Any], keys: Sequence[str]) -> object:
    """Return the first of an entry's values that is there and not empty."""
    return next((entry[key] for key in keys if entry.get(key) not in (None, "")), None)


def times_of(entry: dict[str, Any]) -> tuple[float | None, float | None]:
    """Return an entry's (start, end) in seconds, each None where it is none."""
    stamps = entry.get("timestamps")
    if isinstance(stamps, dict):
        return seconds(stamps.get("from")), seconds(stamps.get("to"))
    return seconds(value_of(entry, START)), seconds(value_of(entry, END))


def speaker_of(entry: dict[str, Any]) -> str | None:
    """Return who speaks an entry: a name, or SPEAKER_NN for a number."""
    value = value_of(entry, SPEAKER)
    if isinstance(value, dict):
        value = value.get("name") or value.get("label")
    if isinstance(value, int) and not isinstance(value, bool):
        value = f"SPEAKER_{value:02}"
    return " ".join(value.split()) or None if isinstance(value, str) else None


def bad_row(where: str, reason: str) -> Fault:
    """Return the fault of an entry that cannot be read."""
    return Fault(where=where, rule="bad_row", reason=reason, next_step=_NEXT_STEP)


def bad_time(where: str, entry: dict[str, Any]) -> Fault:
    """Return the fault of an entry whose times cannot be."""
    told = {key: entry[key] for key in (*START, *END) if key in entry}
    return Fault(
        where=where,
        rule="bad_time",
        reason=f"its times cannot be ({str(told)[:80]}); its words are kept",
        next_step="mend the times where the second matters",
        keep=True,
    )

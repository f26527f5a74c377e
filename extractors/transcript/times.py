"""Times as transcripts write them: 01:02:03.456, 2:03, 62,5, numbers of seconds."""

from __future__ import annotations

import math
import re

# Hours are optional; so is what follows the seconds.
TIME = r"(?:\d{1,3}:)?\d{1,3}:\d{2}(?:[.,]\d{1,6})?"
_CLOCK = re.compile(r"^(?:(?:(\d+):)?(\d+):)?(\d+(?:[.,]\d+)?)\s*s?$")


def seconds(value: object) -> float | None:
    """Return a time in seconds, None for what is none: no number, negative, not finite."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return _finite(value)
    match = _CLOCK.match(str(value).strip().strip("[]()"))
    if match is None or len(match.group()) > 40:
        return None
    hours, minutes, rest = match.groups()
    return _finite(int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(rest.replace(",", ".")))


def _finite(value: float) -> float | None:
    try:
        number = float(value)
    except OverflowError:
        return None
    # A thousand days: whatever claims more is no time of a talk.
    return round(number, 3) if math.isfinite(number) and 0 <= number < 8.64e7 else None

"""The pause before a request is sent again: Retry-After (429, 503), else exponential backoff."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}
_FIRST_SECONDS = 0.1


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of Retry-After (a number or a date) or retry-after-ms."""
    milliseconds, header = headers.get("retry-after-ms"), headers.get("retry-after")
    try:
        if milliseconds:
            return max(0.0, float(milliseconds) / 1000)
        return max(0.0, float(header)) if header else None
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header or "").timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def allowance_seconds(headers: Mapping[str, str]) -> float:
    """Return the seconds until a used-up allowance (x-ratelimit-*) is renewed, else 0.

    Spans are written as OpenAI does, such as 6m0s or 20ms.
    """
    wait = 0.0
    for unit in ("requests", "tokens"):
        remaining = headers.get(f"x-ratelimit-remaining-{unit}", "").strip()
        if not remaining.lstrip("-").isdigit() or int(remaining) > 0:
            continue
        reset = headers.get(f"x-ratelimit-reset-{unit}", "")
        wait = max(wait, sum(float(n) * _UNITS[name] for n, name in _SPAN.findall(reset)))
    # Some servers give a time (seconds since 1970) and not a span.
    return wait if wait < 1e8 else max(0.0, wait - time.time())


def pause_seconds(retry_after: float | None, n_failures: int, longest: float) -> float:
    """Return the pause before the next attempt: Retry-After, else doubled from 0.1 s, with jitter.

    `n_failures` counts the request's failures without Retry-After.
    """
    if retry_after is not None:
        return retry_after + 0.03 * random.random()
    doubled = _FIRST_SECONDS * 2 ** min(n_failures - 1, 30)
    return float(min(longest, doubled) * (0.5 + random.random() / 2))

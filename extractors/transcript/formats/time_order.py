"""Put the cues of a transcript into the order of their starts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Protocol, TypeVar

from memoirist.extractors.transcript.formats.base import Fault

# The rules of the notes: the cues are sorted; the cues stay, whatever their times say.
TIME_NOTES = OUT_OF_ORDER, BEGIN_ANEW = ("out_of_order", "times_begin_anew")
# Who talks into another's words may be listed a little late by formats that separate the speakers.
OVERLAP_SECONDS = 2.0
# Recordings joined without shifting their times: long runs of cues, most of which lie over others.
_MIN_RUN_CUES = 10
_MIN_OVERLAY = 0.5


class Timed(Protocol):
    """What stands in a transcript with its seconds."""

    @property
    def start(self) -> float | None:
        """Return its first second."""

    @property
    def end(self) -> float | None:
        """Return its last second."""


T = TypeVar("T", bound=Timed)


def in_time_order(
    items: Sequence[T], faults: list[Fault], slack: float = 0.0, numbers: Sequence[str] = ()
) -> list[T]:
    """Return the items sorted by start, those of one start as they stand; `faults` gets a note.

    What has no start or no length stays behind the item before it, and all stay where no item is
    more than `slack` seconds late, or where the times begin anew, as may their
    `numbers`.
    """
    starts: list[float] = []
    for item in items:
        known = item.start is not None and item.end != item.start
        starts.append(item.start if known and item.start is not None else (starts or [0.0])[-1])
    latest = list(accumulate(starts, max))
    late = [at for at, start in enumerate(starts) if start < latest[at]]
    if not late or max(latest[at] - starts[at] for at in late) <= slack:
        return list(items)
    counts = f"{len(late):,} of {len(items):,} cues"
    if _begin_anew(items, starts) or _count_anew(starts, numbers):
        reason = f"{counts} overlap the times of others; their order is kept"
        step = "put each recording into its own file, or shift the times of the later ones"
        faults.append(Fault("times", BEGIN_ANEW, reason, step, keep=True))
        return list(items)
    reason = f"{counts} were out of time order and were sorted by their start"
    step = "nothing; correct the times if one is wrong"
    faults.append(Fault("times", OUT_OF_ORDER, reason, step, keep=True))
    return [items[at] for at in sorted(range(len(items)), key=starts.__getitem__)]


def _begin_anew(items: Sequence[Timed], starts: Sequence[float]) -> bool:
    """Tell whether the times are those of several recordings that follow each other."""
    n_runs = 1 + sum(later < start for start, later in pairwise(starts))
    if len(items) < n_runs * _MIN_RUN_CUES:
        return False
    spans = sorted(
        (item.start, item.end)
        for item in items
        if item.start is not None and item.end is not None and item.end > item.start
    )
    n_overlaid = sum(later[0] < before[1] for before, later in pairwise(spans))
    # Of two recordings that lie over each other each cue meets another: half of the neighbours.
    return n_overlaid >= _MIN_OVERLAY * (len(spans) - 1) > 0


def _count_anew(starts: Sequence[float], numbers: Sequence[str]) -> bool:
    """Tell whether numbers and times go back to their beginning together, as in joined files."""
    firsts = [at for at, pair in enumerate(pairwise(numbers)) if pair == ("1", "2")]
    return len(firsts) > 1 and all(starts[at] < starts[at - 1] for at in firsts[1:])

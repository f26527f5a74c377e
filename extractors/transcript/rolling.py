"""Rolling captions, as YouTube writes them: each line is shown twice or grows word by word."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

_TAG = re.compile(r"<[^<>]{0,300}>")
# Speakers repeat themselves; a caption that rolls does so in nearly every cue.
_MIN_ROLLING_SHARE = 0.3
_MIN_CUES = 3
_REACH_SECONDS = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The lines that one cue puts on the screen, tags and all."""

    number: int
    lines: tuple[str, ...]
    start: float | None
    end: float | None


def unrolled(shown: Sequence[Shown]) -> Iterable[Shown]:
    """Return the cues with each line once, where the captions roll; others as they are."""
    if any("<v" in line for cue in shown for line in cue.lines):
        return shown  # captions with voices do not roll: who repeats a word says it again
    pairs = list(itertools.pairwise(shown))
    again = sum(_rolls(_keys(one), _keys(two)) for one, two in pairs if _touch(one, two))
    if len(shown) < _MIN_CUES or again < _MIN_ROLLING_SHARE * len(pairs):
        return shown
    return _each_once(shown)


def _rolls(before: Sequence[str], keys: Sequence[str]) -> bool:
    if not before or not keys:
        return False
    return _repeats(before, keys) > 0 or keys[0].startswith(f"{before[-1]} ")


def _each_once(shown: Sequence[Shown]) -> Iterator[Shown]:
    before: list[str] = []
    last: Shown | None = None
    for cue in shown:
        keys = _keys(cue)
        n_old = _repeats(before, keys) if last is not None and _touch(last, cue) else 0
        lines = [line for line in cue.lines if _key(line)][n_old:]
        if n_old == 0 and before and last is not None and _touch(last, cue):
            lines = _grown(before[-1], lines)
        if lines:
            yield replace(cue, lines=tuple(lines))
        before, last = keys, cue


def _grown(before: str, lines: list[str]) -> list[str]:
    """Return the lines without the words that the cue before has shown of the first one."""
    old, new = before.split(), _key(lines[0]).split() if lines else []
    if len(new) >= len(old) >= 1 and new[: len(old)] == old:
        rest = " ".join(new[len(old) :])
        return [rest, *lines[1:]] if rest else lines[1:]
    return lines


def _repeats(before: Sequence[str], keys: Sequence[str]) -> int:
    """Return how many of a cue's first lines are the last ones of the cue before."""
    for n in range(min(len(before), len(keys)), 0, -1):
        if list(before[-n:]) == list(keys[:n]):
            return n
    return 0


def _touch(one: Shown, two: Shown) -> bool:
    """Tell whether two cues follow without a pause, as the steps of one rolling line do."""
    if one.end is None or two.start is None:
        return True
    return two.start - one.end < _REACH_SECONDS


def _keys(cue: Shown) -> list[str]:
    return [key for line in cue.lines if (key := _key(line))]


def _key(line: str) -> str:
    return " ".join(_TAG.sub("", line).split())

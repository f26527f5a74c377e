"""How many requests may be in flight: adapts to what the server takes, without asyncio or waiting.

Three ideas. A refusal takes its slot out until the next reply comes, so no refusal is answered by
another request at once. A cap is told from chance by `Levels`: only under a cap are requests
refused the more, the more are in flight. Whatever else looks like overload (many refusals at every
level, replies that queue) is tried out: fewer in flight for one window, kept only if it helped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count, takewhile
from typing import Literal

from memoirist.generators.levels import Levels
from memoirist.generators.windows import Trial, Window

_FIRST_LEVEL = 64
_CUT = 0.7
_HIGH_REFUSED_SHARE = 0.3
_QUEUEING = 3.0
_BUSY_SHARE = 0.35
_NO_SLOWER = 0.93
_LONGEST_HOLD_SECONDS = 60.0
_LONGEST_PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """A request in flight: its number in the run, and how many there were with it."""

    number: int
    level: int


class Pace:
    """The number of requests in flight, and the most that there may be now (`limit`)."""

    def __init__(
        self,
        most: int,
        clock: Callable[[], float] = time.monotonic,
        work: Callable[[], float] = time.process_time,
    ) -> None:
        """Begin at `most`, or at 64 where that is more: higher levels are grown into.

        `work` tells our own CPU seconds: replies that wait for us are no queue at the server.
        """
        self.most = most
        self._open: dict[Slot, None] = {}  # in the order in which they were sent
        self._numbers = count()
        self.limit = min(most, _FIRST_LEVEL)
        self.ceiling = most
        self._clock = clock
        self._work = work
        self._levels = Levels(most)
        self._window = Window(clock(), work())
        self._trial: Trial | None = None
        self._hold_until = 0.0
        self._in_a_row = 0
        self._fastest = float("inf")
        self._step = 1
        self._rise_seconds = 1.0
        self._rise_at = 0.0
        self._patience_seconds = 4.0
        self._try_at = 0.0

    @property
    def in_flight(self) -> int:
        """Return how many requests have no answer yet."""
        return len(self._open)

    def wait_seconds(self) -> float | None:
        """Return 0 when a request may start, the seconds until then, or None: after a reply."""
        if self.in_flight >= self.limit:
            return None
        return max(0.0, self._hold_until - self._clock())

    def start(self) -> Slot:
        """Count a request that goes out; return its slot, to be given back when it ends."""
        slot = Slot(next(self._numbers), self.in_flight + 1)
        self._open[slot] = None
        return slot

    def replied(self, slot: Slot, seconds: float) -> None:
        """Count a reply that came `seconds` after its request."""
        del self._open[slot]
        self._levels.count(slot.level, refused=False)
        self._in_a_row = 0
        self._fastest = min(self._fastest, seconds)
        if self.limit < self.ceiling:
            self.limit += 1
        self._window.replies += 1
        self._window.taken += slot.level <= self.ceiling
        self._window.seconds += seconds
        trial = self._trial
        if trial is not None and trial.kind == "rise" and slot.level > trial.ceiling:
            trial.taken += 1
            self._judge_rise(trial)
        self._turn_window()

    def refused(self, slot: Slot, retry_after: float | None = None) -> None:
        """Count a request that the server was too busy for (429 and 503)."""
        full = self.in_flight >= self.limit
        del self._open[slot]
        self._in_a_row += 1
        self._window.refused += slot.level <= self.ceiling
        self._levels.count(slot.level, refused=True)
        if full:
            self.limit = max(1, min(self.limit, self.in_flight))
        if self.limit == 1 and self.in_flight == 0 and self._in_a_row > 1:
            # Nothing is taken at all: wait as told, instead of sending one after the other.
            pause = 0.25 * 2 ** min(self._in_a_row, 7) if retry_after is None else retry_after
            self.hold(pause)
        trial = self._trial
        if trial is not None and trial.kind == "rise" and slot.level > trial.ceiling:
            trial.refused += 1
            self._judge_rise(trial)
        else:
            self._look_for_cap(slot)
        self._turn_window()

    def ended(self, slot: Slot, *, slow: bool = False) -> None:
        """Count a request that ended without a word on load; `slow` when its deadline passed."""
        del self._open[slot]
        self._window.refused += slow
        self._turn_window()

    def hold(self, seconds: float) -> None:
        """Start nothing for some seconds: the server said that its allowance is used up."""
        until = self._clock() + min(seconds, _LONGEST_HOLD_SECONDS)
        self._hold_until = max(self._hold_until, until)

    def _look_for_cap(self, refused: Slot) -> None:
        taken = takewhile(lambda slot: slot.number < refused.number, self._open)
        cap = self._levels.cap(slot.level for slot in taken)
        if cap is None:
            return
        # So many are in flight right now: while a burst of refusals lasts, their number falls
        # to what the server has taken, which no count of refusals tells as exactly.
        cap = max(cap, self.in_flight)
        if cap >= self.ceiling:
            return
        self._trial = None
        self._set_ceiling(cap)
        self._window = Window(
            self._clock(), self._work()
        )  # what the cap explains is no other overload
        self._rise_at = self._clock() + self._rise_seconds

    def _judge_rise(self, trial: Trial) -> None:
        """Take a higher ceiling back when most of the requests above the old one are refused."""
        if trial.refused >= 2 and trial.refused > trial.taken:
            self._trial = None
            self._step = 1
            self._set_ceiling(trial.ceiling)
            self._later_rise()
        elif trial.taken >= 5 + 3 * trial.refused:
            self._trial = None
            self._levels.forget_above(self.ceiling)
            if trial.refused:
                self._step = 1
                self._later_rise()
            else:
                self._step *= 2
                self._rise_seconds = 1.0
                self._rise_at = self._clock()

    def _later_rise(self) -> None:
        self._rise_at = self._clock() + self._rise_seconds
        self._rise_seconds = min(2 * self._rise_seconds, _LONGEST_PATIENCE_SECONDS)

    def _set_ceiling(self, ceiling: int) -> None:
        self.ceiling = max(1, min(ceiling, self.most))
        self.limit = min(self.limit, self.ceiling)

    def _turn_window(self) -> None:
        """At the end of a window, end a trial or begin one."""
        window, now = self._window, self._clock()
        if window.ended < max(20, 2 * self.limit):
            return
        self._window = Window(now, self._work())
        if self._trial is None:
            self._try_something(window, now)
        elif self._trial.kind != "rise":
            self._judge_cut(self._trial, window, now)

    def _try_something(self, window: Window, now: float) -> None:
        latency = window.seconds / max(1, window.replies)
        if now < self._try_at or self.limit < 2:
            pass
        elif window.share > _HIGH_REFUSED_SHARE:
            return self._cut("refusals", window)
        elif latency > _QUEUEING * self._fastest and not self._busy(window, now):
            return self._cut("queueing", window)
        if self.ceiling < self.most and now >= self._rise_at and self.in_flight + 1 >= self.ceiling:
            self._trial = Trial("rise", self.ceiling)
            self._set_ceiling(self.ceiling + self._step)
        return None

    def _busy(self, window: Window, now: float) -> bool:
        return self._work() - window.worked > _BUSY_SHARE * (now - window.began)

    def _cut(self, kind: Literal["refusals", "queueing"], before: Window) -> None:
        self._trial = Trial(kind, self.ceiling, before)
        self._set_ceiling(int(min(self.limit, self.ceiling) * _CUT))

    def _judge_cut(self, trial: Trial, window: Window, now: float) -> None:
        """Keep the lower level if fewer are refused, or if as much comes back as before."""
        self._trial = None
        before = trial.before
        if before is None:
            return
        if trial.kind == "refusals":
            helped = window.refused_less_than(before)
        else:
            helped = window.rate(now) > _NO_SLOWER * before.rate(window.began)
        if helped:
            self._later_rise()
            return
        self._set_ceiling(trial.ceiling)
        self._try_at = now + self._patience_seconds
        self._patience_seconds = min(2 * self._patience_seconds, _LONGEST_PATIENCE_SECONDS)

"""The limits of one run: requests, tokens and dollars, never passed and told when they are met.

One budget holds for everything that a run asks: questions, repairs, follow-ups, the judge.
Whatever is in flight is counted at its worst, with the longest reply that is allowed, so a limit
holds however many requests are under way; near a limit fewer of them are.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from memoirist.generators.settings import InterviewSettings


@dataclass(slots=True)
class Spend:
    """Requests, tokens and their price in US dollars."""

    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0

    @property
    def tokens(self) -> int:
        """Return all tokens."""
        return self.tokens_in + self.tokens_out

    def add(self, other: Spend, sign: int = 1) -> None:
        """Add another, or take it away with `sign` -1."""
        self.requests += sign * other.requests
        self.tokens_in += sign * other.tokens_in
        self.tokens_out += sign * other.tokens_out
        self.usd += sign * other.usd


@dataclass(slots=True)
class Budget:
    """What one run may spend and has spent; `stopped` says in words why nothing more is sent.

    It outlives the event loops of the run's steps, which come one after the other.
    """

    settings: InterviewSettings
    spent: Spend = field(default_factory=Spend)
    reserved: Spend = field(default_factory=Spend)
    stopped: str = ""
    interrupted: bool = False
    _settled: asyncio.Event = field(default_factory=asyncio.Event)

    async def reserve(self, worst: Spend) -> bool:
        """Wait until there is room for `worst`; return False where there never will be."""
        while not self.stopped:
            met = self._met(worst)
            if met is None:
                self.reserved.add(worst)
                return True
            if not self.reserved.requests:
                self.stop(met)
                break
            if self._settled.is_set():
                self._settled = asyncio.Event()  # an event belongs to the loop that awaits it
            await self._settled.wait()
        return False

    def may_send(self) -> bool:
        """Tell whether one more attempt may be sent, and count it."""
        most = self.settings.max_requests
        if most is not None and self.spent.requests >= most:
            self.stop(self._told("max_requests", most, f"{self.spent.requests:,} requests"))
            return False
        if self.interrupted:
            return False
        self.spent.requests += 1
        return True

    def interrupt(self) -> None:
        """Send nothing more, not even what waits for its turn or for another attempt."""
        self.interrupted = True
        self.stop("Ctrl-C")

    def settle(self, worst: Spend, actual: Spend) -> None:
        """Replace what was reserved by what it came to; requests were counted when sent."""
        self.reserved.add(worst, -1)
        self.spent.add(actual)
        self._settled.set()

    def stop(self, reason: str) -> None:
        """Let nothing more be sent; what is in flight goes on."""
        self.stopped = self.stopped or reason
        self._settled.set()

    def _met(self, more: Spend) -> str | None:
        """Return the limit that another request might pass, in words, or None."""
        limits = self.settings
        checks = (
            ("max_tokens", limits.max_tokens, "tokens", f"{self.spent.tokens:,} tokens"),
            ("budget_usd", limits.budget_usd, "usd", f"${self.spent.usd:.4f}"),
        )
        for name, limit, unit, told in checks:
            if limit is None:
                continue
            total = sum(getattr(each, unit) for each in (self.spent, self.reserved, more))
            if total > limit:
                return self._told(name, limit, told)
        return None

    @staticmethod
    def _told(name: str, limit: float, spent: str) -> str:
        return f"interview.{name} = {limit:,g} is reached with {spent} in this run"

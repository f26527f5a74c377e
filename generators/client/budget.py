"""The limits of one run: requests, tokens and US dollars, which it never exceeds.

One budget holds for all requests of a run: questions, repairs, follow-ups, the judge. A request in
flight is counted with the longest reply that is allowed, so a limit holds with any number of
requests in flight; near a limit fewer of them are sent at a time.
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
        """Add another spend; subtract it with `sign` -1."""
        self.requests += sign * other.requests
        self.tokens_in += sign * other.tokens_in
        self.tokens_out += sign * other.tokens_out
        self.usd += sign * other.usd


@dataclass(slots=True)
class Budget:
    """What one run may spend and has spent; `stopped` is the reason why nothing more is sent.

    The steps of a run share it, each with an event loop of its own.
    """

    settings: InterviewSettings
    spent: Spend = field(default_factory=Spend)
    reserved: Spend = field(default_factory=Spend)
    stopped: str = ""
    interrupted: bool = False
    _settled: asyncio.Event = field(default_factory=asyncio.Event)

    async def reserve(self, highest: Spend) -> bool:
        """Wait until `highest` fits into the limits; return False where it never will."""
        while not self.stopped:
            reached_limit = self._reached_limit(highest)
            if reached_limit is None:
                self.reserved.add(highest)
                return True
            if not self.reserved.requests:
                self.stop(reached_limit)
                break
            if self._settled.is_set():
                self._settled = asyncio.Event()  # an event belongs to the loop that awaits it
            await self._settled.wait()
        return False

    def may_send(self) -> bool:
        """Return whether one more attempt may be sent, and count it."""
        limit, n_sent = self.settings.max_requests, self.spent.requests
        if limit is not None and n_sent >= limit:
            self.stop(self._limit_message("max_requests", limit, f"{n_sent:,} requests"))
            return False
        if self.interrupted:
            return False
        self.spent.requests += 1
        return True

    def interrupt(self) -> None:
        """Send nothing more, no waiting request and no further attempt either."""
        self.interrupted = True
        self.stop("Ctrl-C")

    def settle(self, highest: Spend, spent: Spend) -> None:
        """Replace a reserved spend by the real one; requests were counted when sent."""
        self.reserved.add(highest, -1)
        self.spent.add(spent)
        self._settled.set()

    def stop(self, reason: str) -> None:
        """Send nothing more; requests in flight go on."""
        self.stopped = self.stopped or reason
        self._settled.set()

    def _reached_limit(self, more: Spend) -> str | None:
        """Return a message about a limit that another request might exceed, or None."""
        limits = self.settings
        checks = (
            ("max_tokens", limits.max_tokens, "tokens", f"{self.spent.tokens:,} tokens"),
            ("budget_usd", limits.budget_usd, "usd", f"${self.spent.usd:.4f}"),
        )
        for name, limit, unit, spent in checks:
            if limit is None:
                continue
            total = sum(getattr(part, unit) for part in (self.spent, self.reserved, more))
            if total > limit:
                return self._limit_message(name, limit, spent)
        return None

    @staticmethod
    def _limit_message(name: str, limit: float, spent: str) -> str:
        return f"interview.{name} = {limit:,g} is reached with {spent} in this run"

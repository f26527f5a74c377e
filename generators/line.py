"""The line to a model: its server and price, the run's budget, and who hears of every reply."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from memoirist.data.schema.records import Request, content_id
from memoirist.generators.batch_book import BatchBook
from memoirist.generators.budget import Budget, Spend
from memoirist.generators.client import Client, Completion, Endpoint, Withheld
from memoirist.generators.prices import Priced, estimate_tokens, price_of
from memoirist.generators.settings import InterviewSettings

# Tokenizers differ: what a prompt may be above its estimate before the server has counted one.
_PROMPT_MARGIN = 1.5
_CHAT_FRAME_TOKENS = 16


@dataclass(slots=True, kw_only=True)
class Line:
    """Where one purpose of a run is asked, and what it has spent of the run's budget.

    `client` is there while requests go on, for whoever watches them. `book` is where the batches
    of the workspace are written down; without one every request goes by itself. `journal` hears
    of every reply at once.
    """

    settings: InterviewSettings
    endpoint: Endpoint
    budget: Budget
    now: datetime
    run_id: str = ""
    book: BatchBook | None = None
    journal: Callable[[Request], None] | None = None
    client: Client | None = None
    priced: Priced | None = field(init=False)
    spent: Spend = field(default_factory=Spend)

    def __post_init__(self) -> None:
        """Look the price up."""
        self.run_id = self.run_id or content_id("run", self.now.isoformat())
        self.priced = price_of(self.endpoint.model, self.settings.prices)
        if self.priced is not None and self.settings.mode == "batch":
            self.priced = self.priced.times(self.settings.batch_price)

    def opened(self) -> Client:
        """Return a client that is to be entered: for single requests, or for files of them."""
        if self.settings.mode == "batch" and self.book is not None:
            from memoirist.generators.batch_client import BatchClient

            return BatchClient(self.settings, self.endpoint.base_url, self.book)
        return Client(self.settings, self.endpoint.base_url)

    def worst(self, prompt_tokens: int) -> Spend:
        """Return what one request may cost at most."""
        tokens_in = int(prompt_tokens * _PROMPT_MARGIN) + _CHAT_FRAME_TOKENS
        return self._spend(1, tokens_in, self.settings.max_reply_tokens)

    def usd(self, tokens_in: int, tokens_out: int) -> float | None:
        """Return the price of so many tokens, None where none is known."""
        return self.priced.price.of(tokens_in, tokens_out) if self.priced else None

    def _spend(self, requests: int, tokens_in: int, tokens_out: int) -> Spend:
        usd = self.usd(tokens_in, tokens_out) or 0.0
        return Spend(requests=requests, tokens_in=tokens_in, tokens_out=tokens_out, usd=usd)

    async def complete(
        self, client: Client, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any]
    ) -> tuple[Completion, Spend]:
        """Send one request within the budget; return the reply and what it came to.

        Tokens are estimated where the server has not counted them. Raise Withheld where no room
        is left, or what the client raises.
        """
        prompt_tokens = estimate_tokens(*(message["content"] for message in messages))
        worst = self.worst(prompt_tokens)
        if not await self.budget.reserve(worst):
            raise Withheld
        actual = Spend()
        try:
            got = await client.complete(messages, self.endpoint, schema)
            actual = self.counted(got, prompt_tokens)
            self.spent.add(actual)
        finally:
            self.budget.settle(worst, actual)
        return got, actual

    def counted(self, got: Completion, prompt_tokens: int) -> Spend:
        """Return what a reply came to."""
        tokens_in = prompt_tokens if got.tokens_in is None else got.tokens_in
        tokens_out = estimate_tokens(got.text) if got.tokens_out is None else got.tokens_out
        return self._spend(0, tokens_in, tokens_out)

"""The session of one purpose with a model: its endpoint, its price, and the run's budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from memoirist.data.schema.records import content_id
from memoirist.generators.client.batch import BatchClient, BatchStore
from memoirist.generators.client.budget import Budget, Spend
from memoirist.generators.client.client import Client, Endpoint
from memoirist.generators.client.errors import Withheld
from memoirist.generators.client.pricing import Priced, estimate_tokens, price_of
from memoirist.generators.client.responses import Completion
from memoirist.generators.settings import InterviewSettings

# Tokenizers differ: what a prompt may be above its estimate before the server has counted one.
_PROMPT_MARGIN = 1.5
_CHAT_FRAME_TOKENS = 16


@dataclass(slots=True, kw_only=True)
class Session:
    """Where one purpose of a run is asked, and what it has spent of the run's budget.

    `client` is there while requests go on, for whoever watches them. `batches` stores the batches
    of the workspace; without it every request goes by itself.
    """

    settings: InterviewSettings
    endpoint: Endpoint
    budget: Budget
    now: datetime
    run_id: str = ""
    batches: BatchStore | None = None
    client: Client | None = None
    priced: Priced | None = field(init=False)
    spent: Spend = field(default_factory=Spend)

    def __post_init__(self) -> None:
        """Look the price up."""
        self.run_id = self.run_id or content_id("run", self.now.isoformat())
        self.priced = price_of(self.endpoint.model, self.settings.prices)
        if self.priced is not None and self.settings.mode == "batch":
            self.priced = self.priced.times(self.settings.batch_price)

    def open(self) -> Client:
        """Return a client that is to be entered: for single requests, or for files of them."""
        if self.settings.mode == "batch" and self.batches is not None:
            return BatchClient(self.settings, self.endpoint.base_url, self.batches)
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
            completion = await client.complete(messages, self.endpoint, schema)
            actual = self.counted(completion, prompt_tokens)
            self.spent.add(actual)
        finally:
            self.budget.settle(worst, actual)
        return completion, actual

    def counted(self, completion: Completion, prompt_tokens: int) -> Spend:
        """Return what a reply came to."""
        tokens_in = prompt_tokens if completion.tokens_in is None else completion.tokens_in
        tokens_out = (
            estimate_tokens(completion.text)
            if completion.tokens_out is None
            else completion.tokens_out
        )
        return self._spend(0, tokens_in, tokens_out)

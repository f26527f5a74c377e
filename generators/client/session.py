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
from memoirist.generators.client.http_errors import Withheld
from memoirist.generators.client.pricing import Priced, estimate_tokens, price_of
from memoirist.generators.client.responses import Completion
from memoirist.generators.settings import InterviewSettings

# Tokenizers differ: a prompt may have this many times the estimated tokens.
_PROMPT_MARGIN = 1.5
_CHAT_FRAME_TOKENS = 16


@dataclass(slots=True, kw_only=True)
class Session:
    """The endpoint, price and budget of one purpose of a run, and what it has spent.

    `client` is set while requests are sent, for the progress line. `batches` stores the batches of
    the workspace; without it every request is sent by itself.
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
        """Set the run's id and the price."""
        self.run_id = self.run_id or content_id("run", self.now.isoformat())
        self.priced = price_of(self.endpoint.model, self.settings.prices)
        if self.priced is not None and self.settings.mode == "batch":
            self.priced = self.priced.times(self.settings.batch_price)

    def open(self) -> Client:
        """Return a client, not entered yet: for single requests, or for the Batch API."""
        if self.settings.mode == "batch" and self.batches is not None:
            return BatchClient(self.settings, self.endpoint.base_url, self.batches)
        return Client(self.settings, self.endpoint.base_url)

    def highest_spend(self, prompt_tokens: int) -> Spend:
        """Return the most that one request may cost."""
        tokens_in = int(prompt_tokens * _PROMPT_MARGIN) + _CHAT_FRAME_TOKENS
        return self._spend(1, tokens_in, self.settings.max_reply_tokens)

    def usd(self, tokens_in: int, tokens_out: int) -> float | None:
        """Return the price of so many tokens, None for a model without a known price."""
        return self.priced.price.usd(tokens_in, tokens_out) if self.priced else None

    def _spend(self, requests: int, tokens_in: int, tokens_out: int) -> Spend:
        usd = self.usd(tokens_in, tokens_out) or 0.0
        return Spend(requests=requests, tokens_in=tokens_in, tokens_out=tokens_out, usd=usd)

    async def complete(
        self, client: Client, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any]
    ) -> tuple[Completion, Spend]:
        """Send one request within the budget; return the reply and its spend.

        Tokens are estimated where the server has not counted them. Raise Withheld where a limit
        is reached, or the errors of the client.
        """
        prompt_tokens = estimate_tokens(*(message["content"] for message in messages))
        highest_spend, spent = self.highest_spend(prompt_tokens), Spend()
        if not await self.budget.reserve(highest_spend):
            raise Withheld
        try:
            completion = await client.complete(messages, self.endpoint, schema)
            spent = self.reply_spend(completion, prompt_tokens)
            self.spent.add(spent)
        finally:
            self.budget.settle(highest_spend, spent)
        return completion, spent

    def reply_spend(self, completion: Completion, prompt_tokens: int) -> Spend:
        """Return the tokens and the price of a reply."""
        tokens_in = prompt_tokens if completion.tokens_in is None else completion.tokens_in
        tokens_out = (
            estimate_tokens(completion.text)
            if completion.tokens_out is None
            else completion.tokens_out
        )
        return self._spend(0, tokens_in, tokens_out)

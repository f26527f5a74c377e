"""The session of one purpose with a model: its endpoint, its price, and the run's budget.

The budget limits a run's requests, tokens and US dollars. One holds for all of its requests:
questions, repairs, follow-ups, the judge. A request in flight is counted with the longest reply
that is allowed, so a limit holds with any number of requests in flight; near a limit fewer of them
are sent at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from memoirist.data.schema.records import content_id
from memoirist.generators.client.batch import BatchClient, BatchStore
from memoirist.generators.client.client import Client
from memoirist.generators.client.endpoint import UNSET, Endpoint, adapted, may_switch, next_switch
from memoirist.generators.client.http_errors import FormRefused, Withheld
from memoirist.generators.client.pricing import Priced, estimate_tokens, price_of
from memoirist.generators.client.responses import Completion
from memoirist.generators.settings import InterviewSettings

# Tokenizers differ: a prompt may have this many times the estimated tokens.
_PROMPT_MARGIN = 1.5
_CHAT_FRAME_TOKENS = 16


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
        return f"the limit interview.{name} = {limit:,g} is reached: {spent} in this run"


@dataclass(slots=True, kw_only=True)
class Session:
    """The endpoint, price and budget of one purpose of a run, and what it has spent.

    The endpoint changes where a reply or a refusal shows that it wants another form of request.
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
    # Replies with and without an answer since the form of the endpoint last changed.
    _n_answers: int = 0
    _n_vain: int = 0

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
            completion = await self._completion(client, messages, schema)
            spent = self.reply_spend(completion, prompt_tokens)
            self.spent.add(spent)
        finally:
            self.budget.settle(highest_spend, spent)
        return completion, spent

    async def _completion(
        self, client: Client, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any]
    ) -> Completion:
        """Send one request, again in the form that the server wants where it refuses this one."""
        endpoint = self.endpoint

        def endpoint_now() -> Endpoint:
            nonlocal endpoint
            endpoint = self.endpoint
            return endpoint

        while True:
            try:
                completion = await client.complete(messages, endpoint_now, schema)
            except FormRefused as refusal:
                fitting = adapted(endpoint, str(refusal))
                if fitting is None:
                    raise client.stop(str(refusal)) from None
                self._change(endpoint, fitting)
                continue
            if self.endpoint == endpoint:
                self._watch_thoughts(completion)
            return completion

    def _watch_thoughts(self, completion: Completion) -> None:
        """Turn thinking off once most replies, and more than one, hold thoughts and no answer."""
        self._n_vain += completion.thinks_in_vain
        self._n_answers += not completion.thinks_in_vain
        # A switch that does not work shows it at once.
        n_least = 2 if self.endpoint.thinking == UNSET else 1
        is_vain = self._n_vain >= n_least and self._n_vain > self._n_answers
        if is_vain and may_switch(self.endpoint, self.settings):
            self._change(self.endpoint, next_switch(self.endpoint))

    def _change(self, former: Endpoint, endpoint: Endpoint) -> None:
        """Use another form, unless another request has changed it already."""
        if self.endpoint == former:
            self.endpoint = endpoint
            self._n_answers = self._n_vain = 0

    def reply_spend(self, completion: Completion, prompt_tokens: int) -> Spend:
        """Return the tokens and the price of a reply."""
        tokens_in = prompt_tokens if completion.tokens_in is None else completion.tokens_in
        tokens_out = (
            estimate_tokens(completion.text)
            if completion.tokens_out is None
            else completion.tokens_out
        )
        return self._spend(0, tokens_in, tokens_out)

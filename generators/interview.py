"""Ask an LLM, in the interviewer's role, for the question that each passage answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from data.curate import CurateSettings
from data.nouns import Candidate, Passage, Question, Request, Verdict, content_id
from generators.batch_book import BatchBook
from generators.brief import Brief, load_prompt, write_brief
from generators.budget import Budget, Spend
from generators.client import Client, Completion, Endpoint, RequestFailed, Withheld
from generators.completion import read_completion
from generators.keys import Queries, Query, limits_of, question_id
from generators.prices import estimate_tokens, price_of
from generators.probe import probe
from generators.readings import Reader, Reading, Why
from generators.replies import SCHEMA, Reply, parse_reply, quoted
from generators.settings import InterviewSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What came of one passage; `final` is False when the same request may yet succeed later.

    `candidates` are all the questions that came back, `questions` the best of them by itself:
    which are asked is chosen over all replies (data/choose.py).
    """

    passage_id: str
    request: Request
    candidates: Sequence[Candidate] = ()
    questions: Sequence[Question] = ()
    verdicts: Sequence[Verdict] = ()
    final: bool = True


@dataclass(slots=True)
class Sitting:
    """One run of the interviewer: who is asked about, by which endpoint, and what it may spend.

    `client` is there while the run goes on, for whoever watches it. `book` is where the batches of
    the workspace are written down; without one every request goes by itself. `journal` hears of
    every reply at once.
    """

    persona: str
    settings: InterviewSettings
    now: datetime
    endpoint: Endpoint
    judging: CurateSettings = field(default_factory=lambda: CurateSettings.model_validate({}))
    run_id: str = ""
    budget: Budget = field(init=False)
    queries: Queries = field(init=False)
    reader: Reader = field(init=False)
    client: Client | None = None
    book: BatchBook | None = None
    journal: Callable[[Request], None] | None = None

    def __post_init__(self) -> None:
        """Make what the run's settings decide."""
        self.run_id = self.run_id or content_id("run", self.now.isoformat())
        priced = price_of(self.endpoint.model, self.settings.prices)
        if priced is not None and self.settings.mode == "batch":
            priced = priced.times(self.settings.batch_price)
        self.budget = Budget(self.settings, priced)
        self.queries = Queries(self.settings, self.persona, self.endpoint.model)
        self.reader = Reader(self.persona, self.judging)

    def opened(self) -> Client:
        """Return a client that is to be entered: for single requests, or for files of them."""
        if self.settings.mode == "batch" and self.book is not None:
            from generators.batch_client import BatchClient

            return BatchClient(self.settings, self.endpoint.base_url, self.book)
        return Client(self.settings, self.endpoint.base_url)


@dataclass(slots=True)
class _Tally:
    """The price of one passage over all its requests."""

    attempts: int = 0
    seconds: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    estimated: bool = False
    reply: str | None = None

    def add(self, completion: Completion, messages: Sequence[dict[str, str]]) -> tuple[int, int]:
        """Add one reply; return its tokens, estimated where the server has not counted them."""
        self.attempts += completion.attempts
        self.seconds += completion.seconds
        self.reply = completion.text
        counted_in, counted_out = completion.tokens_in, completion.tokens_out
        if counted_in is None or counted_out is None:
            self.estimated = True
        if counted_in is None:
            counted_in = estimate_tokens(*(message["content"] for message in messages))
        if counted_out is None:
            counted_out = estimate_tokens(completion.text)
        self.tokens_in += counted_in
        self.tokens_out += counted_out
        return counted_in, counted_out


_TALK: ContextVar[_Talk | None] = ContextVar("talk", default=None)


async def interview(
    passages: Sequence[Passage],
    persona: str,
    settings: InterviewSettings,
    now: datetime,
    endpoint: Endpoint | None = None,
) -> AsyncIterator[Asked]:
    """Yield what came of each passage as its reply arrives, in no promised order.

    Without `endpoint` the server is probed first; see `sit` for the rest.
    """
    if not passages:
        return
    load_prompt("en", settings.prompt)  # a fault in the user's own file shows before any request
    sitting = Sitting(persona, settings, now, endpoint or await probe(settings))
    async with aclosing(sit(passages, sitting)) as arrivals:
        async for asked in arrivals:
            yield asked


async def sit(passages: Sequence[Passage], sitting: Sitting) -> AsyncGenerator[Asked, None]:
    """Yield what came of each passage as its reply arrives, in no promised order.

    At most `settings.max_concurrency` requests are in flight, and no more finished passages wait
    than that, so a slow reader slows the requests; more passages are begun, as a refused request
    waits without a slot. `sitting.budget.stop` lets what is in flight
    finish and sends nothing more. Raise EndpointError, after yielding what had arrived, when the
    server refuses to go on. Closing the iterator, or cancelling its task, cancels the requests in
    flight.
    """
    settings = sitting.settings
    async with sitting.opened() as client:
        sitting.client = client
        client.ask_before_sending(sitting.budget.may_send)
        if sitting.journal is not None:
            client.tell_of_replies(_hear)
        arrived: asyncio.Queue[Asked | Exception | None] = asyncio.Queue(settings.max_concurrency)
        waiting = iter(passages)
        n_workers = min(client.at_once, len(passages))
        workers = [
            asyncio.create_task(_work(waiting, sitting, client, arrived)) for _ in range(n_workers)
        ]
        try:
            while n_workers:
                got = await arrived.get()
                if isinstance(got, Exception):
                    raise got
                if got is None:
                    n_workers -= 1
                else:
                    yield got
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            sitting.client = None


async def _work(
    waiting: Iterator[Passage],
    sitting: Sitting,
    client: Client,
    arrived: asyncio.Queue[Asked | Exception | None],
) -> None:
    """Take passages off the shared iterator until there is none left, or the run is stopped."""
    try:
        for passage in waiting:
            talk = _Talk(sitting, client, sitting.queries.of(passage))
            _TALK.set(talk)
            asked = await talk.ask()
            if asked is None:
                break
            if sitting.journal is not None and not (talk.noted and asked.candidates):
                sitting.journal(asked.request)
            await arrived.put(asked)
    except Exception as error:  # noqa: BLE001 - whatever ends a worker must reach the reader
        await arrived.put(error)
    await arrived.put(None)


def _hear(body: dict[str, Any], seconds: float) -> None:
    """Note a reply as it comes off the wire; whether it can be used is seen afterwards."""
    talk = _TALK.get()
    if talk is not None and talk.sitting.journal is not None:
        talk.note(read_completion(body, 1, seconds))


class _Talk:
    """The requests about one passage: again where the reply is unusable."""

    def __init__(self, sitting: Sitting, client: Client, query: Query) -> None:
        self.sitting = sitting
        self.client = client
        self.query = query
        self.tally = _Tally()
        self.noted = False

    def note(self, completion: Completion) -> None:
        """Write a reply to the journal as if it could be used."""
        journal = self.sitting.journal
        if journal is None or completion.fault is not None:
            return
        heard = replace(self.tally)
        heard.add(completion, ())
        before, self.tally = self.tally, heard
        request = self._request("ok")
        self.tally = before
        journal(request)
        self.noted = True

    async def ask(self) -> Asked | None:
        """Return what came of the passage, or None where the run stopped before it."""
        sitting, query = self.sitting, self.query
        brief = write_brief(query.passage, sitting.persona, query.lang, query.prompt)
        try:
            reply = await self._usable_reply(brief)
        except RequestFailed as failed:
            self.tally.attempts += failed.attempts
            self.tally.seconds += failed.seconds
            return self._failed(str(failed), lasting=failed.lasting)
        except Withheld:
            if not self.tally.attempts:
                return None
            return self._failed(f"the run was stopped: {sitting.budget.stopped}", lasting=False)
        if isinstance(reply, str):
            step = "name another --model, or raise interview.max_reply_tokens"
            why = Why(rule="unusable_reply", reason=reply, next_step=step)
            return self._without("unusable", why, final=True)
        return self._answered(sitting.reader.read(reply, query, brief))

    async def _usable_reply(self, brief: Brief) -> Reply | str:
        """Return a reply that parses, or after the last repair what was wrong with it."""
        messages = list(brief.messages)
        fault = ""
        for _ in range(self.sitting.settings.max_repairs + 1):
            completion = await self._complete(messages)
            parsed = completion.fault or parse_reply(completion.text)
            if isinstance(parsed, Reply):
                return parsed
            fault = parsed
            messages = list(brief.messages)
            if completion.text.strip():
                messages.append({"role": "assistant", "content": quoted(completion.text)})
            messages.append({"role": "user", "content": self.query.prompt.repair(fault)})
        return fault

    async def _complete(self, messages: Sequence[dict[str, str]]) -> Completion:
        """Send one request within the budget."""
        budget = self.sitting.budget
        worst = await budget.reserve(estimate_tokens(*(m["content"] for m in messages)))
        if worst is None:
            raise Withheld
        actual = Spend()
        try:
            completion = await self.client.complete(messages, self.sitting.endpoint, SCHEMA)
            tokens_in, tokens_out = self.tally.add(completion, messages)
            actual = budget.spend(0, tokens_in, tokens_out)
        finally:
            budget.settle(worst, actual)
        return completion

    def _answered(self, reading: Reading) -> Asked:
        """Return what came of a reply that can be used."""
        request = self.sitting.reader.marked(self._request("ok"), reading.reply, reading.why)
        best = reading.best
        return Asked(
            passage_id=self.query.passage.id,
            request=request,
            candidates=reading.candidates,
            questions=() if best is None else (self._question(best, request),),
            verdicts=() if reading.why is None else (self._verdict(reading.why),),
        )

    def _failed(self, reason: str, *, lasting: bool) -> Asked:
        """Return the verdict on a passage that got no reply in all its attempts."""
        step = (
            "name a --model with a longer context, or shorten passages.max_words"
            if lasting
            else "run `memoirist ask` again, with a smaller --max-concurrency"
        )
        said = f"no reply in {self.tally.attempts} attempts; the last one: {reason}"
        why = Why(rule="request_failed", reason=said, next_step=step)
        return self._without("failed", why, final=lasting)

    def _without(self, status: str, why: Why, *, final: bool) -> Asked:
        request = self.sitting.reader.marked(self._request(status, final=final), None, why)
        verdicts = (self._verdict(why),)
        return Asked(
            passage_id=self.query.passage.id, request=request, verdicts=verdicts, final=final
        )

    def _question(self, best: Candidate, request: Request) -> Question:
        return Question(
            id=question_id(self.query.passage.id, best.text),
            passage_id=self.query.passage.id,
            text=best.text,
            type=best.type,
            origin="generated",
            model=request.model,
            prompt_version=request.prompt_version,
            tokens_in=request.tokens_in,
            tokens_out=request.tokens_out,
            cost_usd=request.cost_usd,
            request_id=request.id,
            nth=1,
        )

    def _verdict(self, why: Why) -> Verdict:
        return Verdict(
            subject_id=self.query.passage.id,
            subject="passages",
            rule=why.rule,
            keep=False,
            reason=why.reason,
            created_at=self.sitting.now,
            next_step=why.next_step,
        )

    def _request(self, status: str, *, final: bool = True) -> Request:
        sitting, query, tally = self.sitting, self.query, self.tally
        price = sitting.budget.price
        return Request(
            # What failed stays beside what is answered later: it was paid for as well.
            id=query.key if status == "ok" else content_id(query.key, sitting.run_id),
            purpose="interview",
            model=sitting.endpoint.model,
            status=status,
            attempts=tally.attempts,
            subject_id=query.passage.id,
            tokens_in=tally.tokens_in,
            tokens_out=tally.tokens_out,
            cost_usd=price.of(tally.tokens_in, tally.tokens_out) if price else None,
            seconds=round(tally.seconds, 3),
            reply=tally.reply,
            key=query.key,
            passage_hash=query.passage_hash,
            prompt_version=query.prompt.version,
            source_id=query.passage.source_id,
            run_id=sitting.run_id,
            limits=limits_of(sitting.settings) if final else None,
            estimated=tally.estimated,
            created_at=sitting.now,
        )

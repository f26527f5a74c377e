"""Ask an LLM, in the interviewer's role, for the question that each passage answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from data.nouns import Passage, Question, Request, Verdict, content_id
from data.text import detect_language
from generators.brief import Brief, Prompt, Prompts, load_prompt, write_brief
from generators.choose import Openers, Wish, choose
from generators.client import Client, Completion, Endpoint, RequestFailed
from generators.probe import probe
from generators.replies import SCHEMA, Reply, Suggestion, parse_reply, quoted
from generators.settings import InterviewSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What came of one passage; `final` is False when the same request may yet succeed later."""

    passage_id: str
    request: Request
    questions: Sequence[Question] = ()
    verdicts: Sequence[Verdict] = ()
    final: bool = True


@dataclass(slots=True)
class _Tally:
    """The price of one passage over all its requests."""

    attempts: int = 0
    seconds: float = 0.0
    tokens_in: int | None = None
    tokens_out: int | None = None
    reply: str | None = None

    def add(self, completion: Completion) -> None:
        """Add one reply."""
        self.attempts += completion.attempts
        self.seconds += completion.seconds
        self.reply = completion.text
        if completion.tokens_in is not None:
            self.tokens_in = (self.tokens_in or 0) + completion.tokens_in
        if completion.tokens_out is not None:
            self.tokens_out = (self.tokens_out or 0) + completion.tokens_out


@dataclass(slots=True)
class _Desk:
    """What all the workers of one run share."""

    client: Client
    endpoint: Endpoint
    settings: InterviewSettings
    persona: str
    now: datetime
    prompts: Prompts
    openers: Openers = field(default_factory=Openers)


async def interview(
    passages: Sequence[Passage],
    persona: str,
    settings: InterviewSettings,
    now: datetime,
    endpoint: Endpoint | None = None,
) -> AsyncIterator[Asked]:
    """Yield what came of each passage as its reply arrives, in no promised order.

    At most `settings.max_concurrency` requests are in flight, and no more finished passages wait
    than that, so a slow reader slows the requests; more passages are begun, as a refused request
    waits without a slot. Without `endpoint` the server is probed first.
    Raise EndpointError, after yielding what had arrived, when the server refuses to go on.
    Closing the iterator, or cancelling its task, cancels the requests in flight.
    """
    if not passages:
        return
    load_prompt("en", settings.prompt)  # a fault in the user's own file shows before any request
    endpoint = endpoint or await probe(settings)
    async with Client(settings, endpoint.base_url) as client:
        desk = _Desk(client, endpoint, settings, persona, now, Prompts(settings))
        arrived: asyncio.Queue[Asked | Exception | None] = asyncio.Queue(settings.max_concurrency)
        waiting = iter(passages)
        n_workers = min(client.at_once, len(passages))
        workers = [asyncio.create_task(_work(waiting, desk, arrived)) for _ in range(n_workers)]
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


async def _work(
    waiting: Iterator[Passage], desk: _Desk, arrived: asyncio.Queue[Asked | Exception | None]
) -> None:
    """Take passages off the shared iterator until there is none left."""
    try:
        for passage in waiting:
            await arrived.put(await _ask(passage, desk))
    except Exception as error:  # noqa: BLE001 - whatever ends a worker must reach the reader
        await arrived.put(error)
    await arrived.put(None)


async def _ask(passage: Passage, desk: _Desk) -> Asked:
    """Ask about one passage, again where the reply is unusable, and choose a question."""
    lang = desk.settings.language or detect_language(passage.text)
    prompt = desk.prompts.of(passage, lang)
    brief = write_brief(passage, desk.persona, lang, prompt)
    tally = _Tally()
    outcome = _Outcome(passage, desk, prompt, tally)
    try:
        reply = await _usable_reply(brief, prompt, desk, tally)
    except RequestFailed as failed:
        tally.attempts += failed.attempts
        tally.seconds += failed.seconds
        return outcome.failed(str(failed), lasting=failed.lasting)
    if isinstance(reply, str):
        return outcome.dropped(
            "unusable_reply", reply, "name another --model, or raise interview.max_reply_tokens"
        )
    if not reply.is_answer:
        reason = f"the model says that it is no answer, confidence {reply.confidence:.2f}"
        step = "look at the passage; if it is a good answer, name another --model"
        return outcome.dropped("not_an_answer", reason, step)
    wish = Wish(passage=passage, persona=desk.persona, lang=lang, brief=brief)
    chosen = choose(reply, wish, desk.openers)
    if isinstance(chosen, Suggestion):
        desk.openers.add(chosen.text)
        return outcome.kept(chosen)
    rule, reason = chosen
    return outcome.dropped(
        rule,
        f"no question of {len(reply.questions)} passes; the last one: {reason}",
        "name another --model or prompt and run `memoirist ask` again",
    )


async def _usable_reply(brief: Brief, prompt: Prompt, desk: _Desk, tally: _Tally) -> Reply | str:
    """Return a reply that parses, or after the last repair what was wrong with it."""
    messages = list(brief.messages)
    fault = ""
    for _ in range(desk.settings.max_repairs + 1):
        completion = await desk.client.complete(messages, desk.endpoint, SCHEMA)
        tally.add(completion)
        parsed = completion.fault or parse_reply(completion.text)
        if isinstance(parsed, Reply):
            return parsed
        fault = parsed
        messages = list(brief.messages)
        if completion.text.strip():
            messages.append({"role": "assistant", "content": quoted(completion.text)})
        messages.append({"role": "user", "content": prompt.repair(fault)})
    return fault


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Turn what happened to one passage into rows."""

    passage: Passage
    desk: _Desk
    prompt: Prompt
    tally: _Tally

    def kept(self, chosen: Suggestion) -> Asked:
        """Return the question."""
        question = Question(
            id=content_id(self.passage.id, chosen.text),
            passage_id=self.passage.id,
            text=chosen.text,
            type=chosen.type,
            origin="generated",
            model=self.desk.endpoint.model,
            prompt_version=self.prompt.version,
            tokens_in=self.tally.tokens_in,
            tokens_out=self.tally.tokens_out,
        )
        return Asked(passage_id=self.passage.id, request=self._request("ok"), questions=(question,))

    def dropped(self, rule: str, reason: str, next_step: str) -> Asked:
        """Return the verdict on a passage whose reply gave no question."""
        status = "unusable" if rule == "unusable_reply" else "ok"
        return Asked(
            passage_id=self.passage.id,
            request=self._request(status, reason if status == "unusable" else None),
            verdicts=(self._verdict(rule, reason, next_step),),
        )

    def failed(self, reason: str, *, lasting: bool) -> Asked:
        """Return the verdict on a passage that got no reply in all its attempts."""
        step = (
            "name a --model with a longer context, or shorten passages.max_words"
            if lasting
            else "run `memoirist ask` again, with a smaller --max-concurrency"
        )
        said = f"no reply in {self.tally.attempts} attempts; the last one: {reason}"
        return Asked(
            passage_id=self.passage.id,
            request=self._request("failed", reason),
            verdicts=(self._verdict("request_failed", said, step),),
            final=lasting,
        )

    def _verdict(self, rule: str, reason: str, next_step: str) -> Verdict:
        return Verdict(
            subject_id=self.passage.id,
            subject="passages",
            rule=rule,
            keep=False,
            reason=reason,
            created_at=self.desk.now,
            next_step=next_step,
        )

    def _request(self, status: str, error: str | None = None) -> Request:
        endpoint, settings, tally = self.desk.endpoint, self.desk.settings, self.tally
        parameters = f"{settings.temperature} {settings.max_reply_tokens} {endpoint.structured}"
        return Request(
            id=content_id(self.passage.text, self.prompt.version, endpoint.model, parameters),
            purpose="interview",
            model=endpoint.model,
            status=status,
            attempts=tally.attempts,
            subject_id=self.passage.id,
            tokens_in=tally.tokens_in,
            tokens_out=tally.tokens_out,
            seconds=round(tally.seconds, 3),
            error=error,
            reply=tally.reply,
        )

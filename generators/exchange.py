"""One exchange with an LLM about one subject: what is asked, and asked again until it is of use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from data.nouns import Request, content_id
from generators.client.client import Client
from generators.client.errors import RequestFailed, Withheld
from generators.client.responses import Completion
from generators.client.session import Session
from generators.keys import limits_of
from generators.replies import quoted

T = TypeVar("T")
_LONGER = "name a --model with a longer context, or shorten passages.max_words"
_AGAIN = "run the same command again, with a smaller --max-concurrency"
_UNUSABLE = "name another --model, or raise interview.max_reply_tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One thing to ask: `key` stands for all that decides the reply, so it is found again.

    What follows the messages goes into the request's row; `repair` stands in place of the round's.
    """

    key: str
    subject_id: str
    messages: Sequence[Mapping[str, str]]
    source_id: str | None = None
    prompt_version: str | None = None
    passage_hash: str | None = None
    repair: Callable[[str], str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Round(Generic[T]):
    """What is alike for all of them: `read` returns a value, or what is wrong with a reply.

    `repair` words that for the model; `refuse` tells what is wrong with a value that could be read,
    as an answer to its task.
    """

    purpose: str
    schema: Mapping[str, Any]
    read: Callable[[str], T | str]
    repair: Callable[[str], str] = str
    refuse: Callable[[Task, T], str | None] | None = None

    def value(self, text: str, task: Task) -> T | str:
        """Return what a reply to a task says, or what is wrong with it."""
        value = self.read(text)
        if isinstance(value, str) or self.refuse is None:
            return value
        return self.refuse(task, value) or value


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Generic[T]):
    """What came back: a value, or None where `request` says by its rule and error why not."""

    task: Task
    request: Request
    value: T | None

    @property
    def answered(self) -> bool:
        """Tell whether a value came back."""
        return self.value is not None

    @property
    def rows(self) -> Sequence[object]:
        """Return what is to be kept."""
        return (self.request,)


class Exchange(Generic[T]):
    """The requests about one subject: again where the reply is unusable."""

    def __init__(self, task: Task, kind: Round[T], session: Session, client: Client) -> None:
        self.task, self.kind, self.session, self.client = task, kind, session, client
        self.messages: list[Mapping[str, str]] = list(task.messages)
        self.request = Request(
            id=task.key,
            key=task.key,
            purpose=kind.purpose,
            model=session.endpoint.model,
            status="ok",
            attempts=0,
            subject_id=task.subject_id,
            tokens_in=0,
            tokens_out=0,
            cost_usd=session.usd(0, 0),
            seconds=0.0,
            passage_hash=task.passage_hash,
            prompt_version=task.prompt_version,
            source_id=task.source_id,
            run_id=session.run_id,
            limits=limits_of(session.settings),
            estimated=False,
            created_at=session.now,
        )

    async def ask(self) -> Answered[T] | None:
        """Return what came of the task, or None where the run stopped before it."""
        fault = ""
        for _ in range(self.session.settings.max_repairs + 1):
            try:
                got, spent = await self.session.complete(
                    self.client, self.messages, self.kind.schema
                )
            except RequestFailed as failed:
                return self._failed(failed)
            except Withheld:
                return self._stopped() if self.request.attempts else None
            self.request = self._with(got, spent.tokens_in, spent.tokens_out)
            value = got.fault or self.kind.value(got.text, self.task)
            if not isinstance(value, str):
                return Answered(task=self.task, request=self.request, value=value)
            fault = value
            self._ask_for_repair(got.text, fault)
        return self._without("unusable", "unusable_reply", fault, _UNUSABLE)

    def _ask_for_repair(self, reply: str, fault: str) -> None:
        self.messages = list(self.task.messages)
        if reply.strip():
            self.messages.append({"role": "assistant", "content": quoted(reply)})
        repair = self.task.repair or self.kind.repair
        self.messages.append({"role": "user", "content": repair(fault)})

    def _with(self, got: Completion, tokens_in: int, tokens_out: int) -> Request:
        """Return the request with another reply and its price."""
        before = self.request
        all_in = (before.tokens_in or 0) + tokens_in
        all_out = (before.tokens_out or 0) + tokens_out
        return replace(
            before,
            attempts=before.attempts + got.attempts,
            seconds=round((before.seconds or 0.0) + got.seconds, 3),
            tokens_in=all_in,
            tokens_out=all_out,
            cost_usd=self.session.usd(all_in, all_out),
            estimated=before.estimated or got.tokens_in is None or got.tokens_out is None,
            reply=got.text,
        )

    def _failed(self, failed: RequestFailed) -> Answered[T]:
        """Return what is kept of a task that got no reply in all its attempts."""
        attempts = self.request.attempts + failed.attempts
        seconds = round((self.request.seconds or 0.0) + failed.seconds, 3)
        limits = self.request.limits if failed.lasting else None
        self.request = replace(self.request, attempts=attempts, seconds=seconds, limits=limits)
        said = f"no reply in {attempts} attempts; the last one: {failed}"
        step = _LONGER if failed.lasting else _AGAIN
        return self._without("failed", "request_failed", said, step)

    def _stopped(self) -> Answered[T]:
        self.request = replace(self.request, limits=None)
        said = f"the run was stopped: {self.session.budget.stopped}"
        return self._without("failed", "request_failed", said, "run the same command again")

    def _without(self, status: str, rule: str, error: str, next_step: str) -> Answered[T]:
        request = replace(
            self.request,
            # What failed stays beside what is answered later: it was paid for as well.
            id=content_id(self.task.key, self.session.run_id),
            status=status,
            rule=rule,
            error=error,
            next_step=next_step,
        )
        return Answered(task=self.task, request=request, value=None)

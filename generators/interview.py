"""Ask an LLM, in the interviewer's role, for the question that each passage answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime

from data.curate import CurateSettings
from data.nouns import Candidate, Passage, Question, Request, Verdict
from generators.brief import Brief, load_prompt, write_brief
from generators.client.budget import Budget
from generators.client.client import Endpoint
from generators.client.probe import probe
from generators.client.session import Session
from generators.keys import Queries, Query, question_id
from generators.readings import Reader, Why
from generators.replies import SCHEMA, Reply, parse_reply
from generators.rounds import Answered, Round, Task, ask_all
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

    @property
    def answered(self) -> bool:
        """Tell whether there is a question."""
        return bool(self.questions)

    @property
    def rows(self) -> Sequence[object]:
        """Return what is to be kept.

        The best question by itself is for whoever looks meanwhile: the choice over all comes last.
        """
        return (self.request, *self.candidates, *self.questions)


@dataclass(slots=True)
class Sitting:
    """One run of the interviewer: who is asked about, and in which session."""

    persona: str
    session: Session
    judging: CurateSettings = field(default_factory=lambda: CurateSettings.model_validate({}))
    queries: Queries = field(init=False)
    reader: Reader = field(init=False)

    def __post_init__(self) -> None:
        """Make what the run's settings decide."""
        self.queries = Queries(self.session.settings, self.persona, self.session.endpoint.model)
        self.reader = Reader(self.persona, self.judging)


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
    session = Session(
        settings=settings,
        endpoint=endpoint or await probe(settings),
        budget=Budget(settings),
        now=now,
    )
    async with aclosing(sit(passages, Sitting(persona, session))) as arrivals:
        async for asked in arrivals:
            yield asked


async def sit(passages: Sequence[Passage], sitting: Sitting) -> AsyncGenerator[Asked, None]:
    """Yield what came of each passage, as `ask_all` does, its questions judged by our rules."""
    under_way: dict[str, tuple[Query, Brief]] = {}

    def tasks() -> Iterator[Task]:
        for passage in passages:
            query = sitting.queries.of(passage)
            brief = write_brief(passage, sitting.persona, query.lang, query.prompt)
            under_way[passage.id] = query, brief
            yield Task(
                key=query.key,
                subject_id=passage.id,
                messages=brief.messages,
                source_id=passage.source_id,
                prompt_version=query.prompt.version,
                passage_hash=query.passage_hash,
                repair=query.prompt.repair,
            )

    kind = Round(purpose="interview", schema=SCHEMA, read=parse_reply)
    async with aclosing(ask_all(tasks(), kind, sitting.session)) as arrivals:
        async for answered in arrivals:
            query, brief = under_way.pop(answered.task.subject_id)
            yield _asked(sitting, answered, query, brief)


def _asked(sitting: Sitting, answered: Answered[Reply], query: Query, brief: Brief) -> Asked:
    """Judge the questions of a reply, or return why there is none."""
    request = answered.request
    if answered.value is None:
        why = Why(
            rule=request.rule or "",
            reason=request.error or "",
            next_step=request.next_step or "",
        )
        return Asked(
            passage_id=query.passage.id,
            request=sitting.reader.marked(request, None, why),
            verdicts=(_verdict(query, why, sitting.session.now),),
            final=request.limits is not None,
        )
    reading = sitting.reader.read(answered.value, query, brief)
    request = sitting.reader.marked(request, reading.reply, reading.why)
    best = reading.best
    return Asked(
        passage_id=query.passage.id,
        request=request,
        candidates=reading.candidates,
        questions=() if best is None else (_question(query, best, request),),
        verdicts=()
        if reading.why is None
        else (_verdict(query, reading.why, sitting.session.now),),
    )


def _question(query: Query, best: Candidate, request: Request) -> Question:
    return Question(
        id=question_id(query.passage.id, best.text),
        passage_id=query.passage.id,
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


def _verdict(query: Query, why: Why, now: datetime) -> Verdict:
    return Verdict(
        subject_id=query.passage.id,
        subject="passages",
        rule=why.rule,
        keep=False,
        reason=why.reason,
        created_at=now,
        next_step=why.next_step,
    )

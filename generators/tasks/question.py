"""The question task: ask an LLM, as the interviewer, for the question that a passage answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from memoirist.data.curation.pairing import CurateSettings
from memoirist.data.schema.records import Candidate, Passage, Question, Request
from memoirist.generators.prompts.prompt_templates import Brief, write_brief
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.tasks.base import LLMTask, TaskItem, TaskResult
from memoirist.generators.tasks.cache_key import Queries, Query, question_id
from memoirist.generators.tasks.candidates import Reader, Why
from memoirist.generators.tasks.reply_parser import SCHEMA, Reply, parse_reply


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionItem(TaskItem):
    """A passage to ask about, with its query and the brief that the model gets."""

    query: Query
    brief: Brief


@dataclass(slots=True)
class QuestionTask(LLMTask[QuestionItem, Reply]):
    """The interview of one persona; the questions that come back are judged by our rules."""

    persona: str
    model: str
    settings: InterviewSettings
    judging: CurateSettings = field(default_factory=lambda: CurateSettings.model_validate({}))
    queries: Queries = field(init=False)
    _reader: Reader = field(init=False)

    purpose: ClassVar = "interview"
    schema: ClassVar = SCHEMA

    def __post_init__(self) -> None:
        """Prepare what the run's settings decide."""
        self.queries = Queries(self.settings, self.persona, self.model)
        self._reader = Reader(self.persona, self.judging)

    def item(self, passage: Passage) -> QuestionItem:
        """Return what to ask about a passage; raise RecipeError for a prompt that is no use."""
        query = self.queries.of(passage)
        brief = write_brief(passage, self.persona, query.lang, query.prompt)
        return QuestionItem(
            key=query.key,
            subject_id=passage.id,
            messages=brief.messages,
            repair=query.prompt.repair,
            prompt_version=query.prompt.version,
            source_id=passage.source_id,
            passage_hash=query.passage_hash,
            query=query,
            brief=brief,
        )

    def read(self, text: str) -> Reply | str:
        """Return the questions of a reply, or what is wrong with it."""
        return parse_reply(text)

    def result(self, item: QuestionItem, request: Request, value: Reply | None) -> TaskResult:
        """Judge the questions of a reply; all of them are kept, and the best one as a question.

        That is for whoever looks meanwhile: which are asked is chosen over all replies at the end
        (data/curation/selection.py).
        """
        if value is None:
            why = Why(
                rule=request.rule or "",
                reason=request.error or "",
                next_step=request.next_step or "",
            )
            request = self._reader.marked(request, None, why)
            return TaskResult(request=request, answered=False, rows=(request,))
        reading = self._reader.read(value, item.query, item.brief)
        request = self._reader.marked(request, reading.reply, reading.why)
        rows: Sequence[object] = (request, *reading.candidates)
        if reading.best is not None:
            rows = (*rows, _question(item.query, reading.best, request))
        return TaskResult(request=request, answered=reading.best is not None, rows=rows)


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

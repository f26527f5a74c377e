"""The question task: ask an LLM, as the interviewer, for the question that a passage answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from memoirist.data.curation.pairing import CurateSettings
from memoirist.data.schema.records import Candidate, Passage, Question, Request
from memoirist.generators.prompts.prompt_templates import FilledPrompt, fill_prompt
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.tasks.base import LLMTask, TaskItem, TaskResult
from memoirist.generators.tasks.cache_key import Queries, Query, question_id
from memoirist.generators.tasks.candidates import NoQuestion, ReplyScorer
from memoirist.generators.tasks.reply_parser import SCHEMA, Reply, parse_reply


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionItem(TaskItem):
    """A passage to ask about, with its query and the filled prompt."""

    query: Query
    prompt: FilledPrompt


@dataclass(slots=True)
class QuestionTask(LLMTask[QuestionItem, Reply]):
    """The interview of one persona; our rules score and refuse the questions of the replies."""

    persona: str
    model: str
    settings: InterviewSettings
    rules: CurateSettings = field(default_factory=lambda: CurateSettings.model_validate({}))
    queries: Queries = field(init=False)
    _scorer: ReplyScorer = field(init=False)

    purpose: ClassVar = "interview"
    schema: ClassVar = SCHEMA

    def __post_init__(self) -> None:
        """Prepare the queries and the scorer."""
        self.queries = Queries(self.settings, self.persona, self.model)
        self._scorer = ReplyScorer(self.persona, self.rules)

    def item(self, passage: Passage) -> QuestionItem:
        """Return the item of a passage; raise RecipeError for an unusable prompt file."""
        query = self.queries.query(passage)
        prompt = fill_prompt(passage, self.persona, query.lang, query.prompt)
        return QuestionItem(
            key=query.key,
            subject_id=passage.id,
            messages=prompt.messages,
            repair=query.prompt.repair,
            prompt_version=query.prompt.version,
            source_id=passage.source_id,
            passage_hash=query.passage_hash,
            query=query,
            prompt=prompt,
        )

    def read(self, text: str) -> Reply | str:
        """Return the questions of a reply, or what is wrong with it."""
        return parse_reply(text)

    def result(self, item: QuestionItem, request: Request, value: Reply | None) -> TaskResult:
        """Score the questions of a reply; keep all of them, and the best one as a question.

        The final choice is made over all replies at the end (data/curation/selection.py); until
        then the best one is shown.
        """
        if value is None:
            failure = NoQuestion(
                rule=request.rule or "",
                reason=request.error or "",
                next_step=request.next_step or "",
            )
            request = self._scorer.with_result(request, None, failure)
            return TaskResult(request=request, answered=False, rows=(request,))
        scored = self._scorer.score(value, item.query, item.prompt)
        request = self._scorer.with_result(request, scored.reply, scored.failure)
        rows: Sequence[object] = (request, *scored.candidates)
        if scored.best is not None:
            rows = (*rows, _question(item.query, scored.best, request))
        return TaskResult(request=request, answered=scored.best is not None, rows=rows)


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

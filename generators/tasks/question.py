"""The tasks that ask an LLM, as the interviewer, for questions.

One asks for the question that a passage answers, the other for the question that leads from one
passage to the next.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from memoirist.data.curation.pairing import CurateSettings
from memoirist.data.curation.rules import check_questions
from memoirist.data.schema.records import Candidate, Pair, Passage, Question, Request, content_id
from memoirist.data.text.language_detection import detect_language
from memoirist.data.text.sanitizer import neutralise
from memoirist.data.text.words import words
from memoirist.generators.prompts.prompt_templates import (
    FilledPrompt,
    Prompt,
    Prompts,
    fill_prompt,
    language_name,
    length_words,
    load_task_prompt,
    repeats_prompt,
)
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.tasks.base import DETECTION_CHARS, LLMTask, TaskItem, TaskResult
from memoirist.generators.tasks.candidates import Query, ReplyScorer, persona_words
from memoirist.generators.tasks.reply_parser import SCHEMA, Reply, parse_reply


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionItem(TaskItem):
    """A passage to ask about, with its query and the filled prompt."""

    query: Query
    prompt: FilledPrompt


@dataclass(slots=True)
class QuestionTask(LLMTask[QuestionItem, Reply]):
    """The interview of one persona; our rules score and refuse the questions of the replies.

    The key of a reply covers the passage's text, the persona, the language, the prompt's version,
    the model and the temperature. The paragraph before, the longest reply, deadlines and
    concurrency are not part of it: kept replies stay valid when they change.
    """

    persona: str
    model: str
    settings: InterviewSettings
    rules: CurateSettings = field(default_factory=lambda: CurateSettings.model_validate({}))
    _prompts: Prompts = field(init=False)
    _scorer: ReplyScorer = field(init=False)

    purpose: ClassVar = "interview"
    schema: ClassVar = SCHEMA

    def __post_init__(self) -> None:
        """Prepare the prompts, which are read when they are needed, and the scorer."""
        self._prompts = Prompts(self.settings)
        self._scorer = ReplyScorer(self.persona, self.rules)

    def query(self, passage: Passage) -> Query:
        """Return the query for a passage; raise RecipeError for an unusable prompt file."""
        lang = self.settings.language or detect_language(passage.text[:DETECTION_CHARS])
        prompt = self._prompts.for_passage(passage, lang)
        text = passage.text.encode("utf-8", "surrogatepass")
        digest = hashlib.md5(text, usedforsecurity=False).hexdigest()
        version = (prompt.version, self.model, self.settings.temperature)
        key = content_id("interview", digest, self.persona, lang, *version)
        return Query(passage=passage, key=key, passage_hash=digest, lang=lang, prompt=prompt)

    def item(self, passage: Passage) -> QuestionItem:
        """Return the item of a passage; raise RecipeError for an unusable prompt file."""
        query = self.query(passage)
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
        """Return the reply; `settle` scores its questions."""
        if value is None:
            request = replace(request, judged=self._scorer.version)
            return TaskResult(request=request, answered=False, rows=(request,))
        answered = value.is_answer
        return TaskResult(request=request, answered=answered, rows=(), unsettled=(item, value))

    def settle(self, results: Sequence[TaskResult]) -> list[TaskResult]:
        """Score the questions of replies; keep all of them, and the best one as a question.

        The final choice is made over all replies at the end (data/curation/selection.py); until
        then the best one is shown.
        """
        replies = [(result.request, *result.unsettled) for result in results if result.unsettled]
        scored = iter(
            self._scorer.score(
                [(request, value, item.query, item.prompt) for request, item, value in replies]
            )
        )
        return [
            _settled(result.unsettled[0].query, *next(scored)) if result.unsettled else result
            for result in results
        ]


def _settled(query: Query, request: Request, scored: Sequence[Candidate]) -> TaskResult:
    accepted = [candidate for candidate in scored if candidate.rule is None]
    rows: Sequence[object] = (request, *scored)
    if accepted:
        best = max(accepted, key=lambda one: (one.score, -one.ord))
        rows = (*rows, _question(query, best, request))
    return TaskResult(request=request, answered=bool(accepted), rows=rows)


def question_id(passage_id: str, text: str) -> str:
    """Return the id of a generated question, the same as the SQL macro of this name."""
    joined = f"{passage_id}\x1f{text}".encode("utf-8", "surrogatepass")
    return hashlib.md5(joined, usedforsecurity=False).hexdigest()[:16]


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


@dataclass(frozen=True, slots=True)
class FollowUpTask(LLMTask[TaskItem, Reply]):
    """The questions that lead from one pair to the next; the reply's key covers all fields."""

    prompt: Prompt
    lang: str
    persona: str
    model: str
    temperature: float | None

    purpose: ClassVar = "follow_up"
    schema: ClassVar = SCHEMA

    @classmethod
    def load(cls, lang: str, persona: str, model: str, settings: InterviewSettings) -> FollowUpTask:
        """Read the prompt for follow-ups, Chinese for zh and English otherwise."""
        prompt = load_task_prompt("follow", lang, SCHEMA)
        return cls(prompt, lang, persona, model, settings.temperature)

    def item(self, earlier: Pair, later: Pair) -> TaskItem:
        """Return the item of a pair and the one before it; its key depends on their texts alone."""
        texts = [neutralise(t) for t in (earlier.question, earlier.answer, later.answer)]
        options = (self.persona, self.lang, self.prompt.version, self.model, self.temperature)
        messages = self.prompt.messages(
            dict(zip(("before_question", "before", "passage"), texts, strict=True)),
            persona=neutralise(self.persona),
            language=language_name(self.lang),
            length=length_words(self.lang, random.Random(f"follow {later.answer}")),
        )
        return TaskItem(
            key=content_id("follow_up", *texts, *options),
            subject_id=later.id,
            messages=messages,
            repair=self.prompt.repair,
            prompt_version=self.prompt.version,
            source_id=later.source_id,
        )

    def read(self, text: str) -> Reply | str:
        """Return the questions of a reply, or its fault."""
        return parse_reply(text)

    def best(
        self, replies: Sequence[tuple[Reply, Pair, TaskItem]], rules: CurateSettings
    ) -> list[str | None]:
        """Return the first question of each reply that no rule refuses.

        It may refer to the earlier pair. Its score does not count.
        """
        rules = rules.model_copy(update={"min_score": 0.0})
        # With another first word, the rule against dangling ones spares a follow-up.
        opening = "And " if self.lang != "zh" else ""
        pairs = [
            (opening + question.text, later.answer)
            for reply, later, _ in replies
            for question in reply.questions
        ]
        checked = iter(check_questions(pairs, self.lang, rules))
        chosen: list[str | None] = []
        for reply, _, item in replies:
            judged = [(question.text, next(checked)) for question in reply.questions]
            good = (
                text
                for text, result in judged
                if result.rule is None
                and not persona_words(self.persona).intersection(words(text))
                and not repeats_prompt(text, item.messages[0]["content"])
            )
            chosen.append(next(good, None))
        return chosen

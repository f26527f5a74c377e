"""The follow-up task: ask an LLM for the question that leads from one passage to the next."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from memoirist.data.curation.question_filters import RejectSettings, reject_question
from memoirist.data.schema.records import Pair, content_id
from memoirist.data.text.sanitizer import neutralise
from memoirist.generators.prompts.prompt_templates import (
    Prompt,
    language_name,
    length_words,
    load_task_prompt,
    repeats_prompt,
)
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.tasks.base import LLMTask, TaskItem
from memoirist.generators.tasks.candidates import persona_words
from memoirist.generators.tasks.reply_parser import SCHEMA, Reply, parse_reply


@dataclass(frozen=True, slots=True, kw_only=True)
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
        return cls(
            prompt=load_task_prompt("follow", lang, SCHEMA),
            lang=lang,
            persona=persona,
            model=model,
            temperature=settings.temperature,
        )

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
        self, reply: Reply, later: Pair, item: TaskItem, rejects: RejectSettings
    ) -> str | None:
        """Return the first question that no rule refuses; it may refer to the earlier pair."""
        instructions = item.messages[0]["content"]
        for text in (question.text for question in reply.questions):
            # With another first word, the rule against dangling ones spares a follow-up.
            checked = f"And {text}" if self.lang != "zh" else text
            names = persona_words(self.persona).intersection(text.lower().split())
            refusal = reject_question(checked, later.answer, self.lang, rejects)
            if refusal is None and not names and not repeats_prompt(text, instructions):
                return text
        return None

"""Ask for the follow-up question that leads from one passage to the next."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from memoirist.data.curation.question_filters import RejectSettings, reject_question
from memoirist.data.schema.records import Pair, content_id
from memoirist.data.text.sanitizer import neutralise
from memoirist.generators.prompts.prompt_templates import (
    Brief,
    Prompt,
    language_name,
    length_words,
    load_task_prompt,
    repeats_brief,
)
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.tasks.base import LLMTask, TaskItem
from memoirist.generators.tasks.candidates import persona_words
from memoirist.generators.tasks.reply_parser import SCHEMA, Reply, parse_reply


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUpTask(LLMTask[TaskItem, Reply]):
    """The questions that lead from one pair to the next; all fields decide a reply."""

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

    def item(self, before: Pair, later: Pair) -> TaskItem:
        """Return what to ask about a pair and the one before it; the same for the same texts."""
        texts = [neutralise(t) for t in (before.question, before.answer, later.answer)]
        decisive = (self.persona, self.lang, self.prompt.version, self.model, self.temperature)
        messages = self.prompt.messages(
            dict(zip(("before_question", "before", "passage"), texts, strict=True)),
            persona=neutralise(self.persona),
            language=language_name(self.lang),
            length=length_words(self.lang, random.Random(f"follow {later.answer}")),
        )
        return TaskItem(
            key=content_id("follow_up", *texts, *decisive),
            subject_id=later.id,
            messages=messages,
            repair=self.prompt.repair,
            prompt_version=self.prompt.version,
            source_id=later.source_id,
        )

    def read(self, text: str) -> Reply | str:
        """Return the questions of a reply, or what is wrong with it."""
        return parse_reply(text)

    def best(
        self, reply: Reply, later: Pair, item: TaskItem, rejects: RejectSettings
    ) -> str | None:
        """Return the first question that no rule refuses; it may lean on what was said before."""
        brief = Brief(messages=tuple(dict(m) for m in item.messages), types=(), length_class=1)
        for one in reply.questions:
            # The rule against a first word that points nowhere is not for a follow-up.
            led = f"And {one.text}" if self.lang != "zh" else one.text
            named = persona_words(self.persona).intersection(one.text.lower().split())
            refused = reject_question(led, later.answer, self.lang, rejects)
            if refused is None and not named and not repeats_brief(one.text, brief):
                return one.text
        return None

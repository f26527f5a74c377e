"""The judge of two answers: which one is more likely the person's, by the manner alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from memoirist.data.evaluation.preferences import Duel
from memoirist.data.schema.records import content_id
from memoirist.data.text.sanitizer import neutralise
from memoirist.generators.prompts.prompt_templates import Prompt, load_task_prompt
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.tasks.base import LLMTask, TaskItem
from memoirist.generators.tasks.reply_parser import find_object, spoken

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["reason", "better"],
    "properties": {"reason": {"type": "string"}, "better": {"type": "integer"}},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which answer was chosen: 1, 2, or 0 for neither."""

    better: int


def read_choice(text: str) -> Choice | str:
    """Return the choice, or in one line what is wrong with the reply, in words for the model."""
    value = find_object(spoken(text), frozenset({"better"}))
    if value is None:
        return "it holds no JSON object with the key better"
    told = value["better"]
    number = str(told).strip().lower().removeprefix("answer").strip()
    if isinstance(told, bool) or number not in {"0", "1", "2"}:
        return "better is none of 0, 1 and 2"
    return Choice(better=int(number))


@dataclass(frozen=True, slots=True)
class PairwiseTask(LLMTask[TaskItem, Choice]):
    """The judge of two answers, who sees `pieces` of the person's own."""

    prompt: Prompt
    model: str
    temperature: float | None
    pieces: Sequence[str]

    purpose: ClassVar = "versus"
    schema: ClassVar = SCHEMA

    @classmethod
    def load(
        cls, lang: str, model: str, settings: InterviewSettings, pieces: Sequence[str]
    ) -> PairwiseTask:
        """Read the prompt, Chinese for zh and English otherwise."""
        prompt = load_task_prompt("versus", lang, SCHEMA)
        return cls(prompt, model, settings.temperature, tuple(pieces))

    def item(self, duel: Duel) -> TaskItem:
        """Return what to ask about two answers, in their order."""
        texts = (
            "\n\n".join(neutralise(piece) for piece in self.pieces),
            *map(neutralise, (duel.question, *duel.answers)),
        )
        version = self.prompt.version
        named = dict(zip(("pieces", "question", "first", "second"), texts, strict=True))
        return TaskItem(
            key=content_id("versus", *texts, version, self.model, self.temperature),
            subject_id=duel.id,
            messages=self.prompt.messages(named),
            repair=self.prompt.repair,
            prompt_version=version,
        )

    def read(self, text: str) -> Choice | str:
        """Return the choice of a reply, or what is wrong with it."""
        return read_choice(text)

"""The pairwise task: an LLM judge says which of two answers sounds more like the person."""

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
from memoirist.generators.tasks.reply_parser import find_object, strip_reasoning

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
    """Return the choice, or the fault of the reply in one line, in words for the model."""
    value = find_object(strip_reasoning(text), frozenset({"better"}))
    if value is None:
        return "it holds no JSON object with the key better"
    better = value["better"]
    number = str(better).strip().lower().removeprefix("answer").strip()
    if isinstance(better, bool) or number not in {"0", "1", "2"}:
        return "better is none of 0, 1 and 2"
    return Choice(better=int(number))


@dataclass(frozen=True, slots=True)
class PairwiseTask(LLMTask[TaskItem, Choice]):
    """The judge of two answers, with `pieces` of the person's own text as reference."""

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
        """Return the item of two answers, in their order."""
        texts = (
            "\n\n".join(neutralise(piece) for piece in self.pieces),
            *map(neutralise, (duel.question, *duel.answers)),
        )
        version = self.prompt.version
        slots = dict(zip(("pieces", "question", "first", "second"), texts, strict=True))
        return TaskItem(
            key=content_id("versus", *texts, version, self.model, self.temperature),
            subject_id=duel.id,
            messages=self.prompt.messages(slots),
            repair=self.prompt.repair,
            prompt_version=version,
        )

    def read(self, text: str) -> Choice | str:
        """Return the choice of a reply, or its fault."""
        return read_choice(text)

"""The tasks of an LLM judge: grade a pair, and choose between two answers.

A pair is graded from 1 to 5 by four criteria, with reasons; of two answers the judge says which
sounds more like the person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from memoirist.data.evaluation.preferences import Duel
from memoirist.data.schema.records import Pair, content_id
from memoirist.data.text.sanitizer import neutralise
from memoirist.generators.prompts.prompt_templates import Prompt, load_task_prompt
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.tasks.base import LLMTask, TaskItem
from memoirist.generators.tasks.reply_parser import find_object, object_schema, strip_reasoning

CRITERIA = ("answers", "standalone", "natural", "no_spoiler")
_GRADE = object_schema(reason={"type": "string"}, grade={"type": "integer"})
GRADE_SCHEMA = object_schema(**dict.fromkeys(CRITERIA, _GRADE))
_MOST_REASON = 300
CHOICE_SCHEMA = object_schema(reason={"type": "string"}, better={"type": "integer"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Grades:
    """The four grades in the order of CRITERIA, with their reasons."""

    values: Sequence[int]
    reasons: Sequence[str]

    @property
    def mean(self) -> float:
        """Return the mean of the four grades."""
        return sum(self.values) / len(self.values)

    def keep(self, min_grade: int, min_mean: float) -> bool:
        """Return whether the lowest grade and the mean are high enough (QUALITY.md: 3 and 4)."""
        return min(self.values) >= min_grade and self.mean >= min_mean


def read_grades(text: str) -> Grades | str:
    """Return the grades, or the fault of the reply in one line, in words for the model."""
    value = find_object(strip_reasoning(text), frozenset(CRITERIA))
    if value is None:
        return "it contains no JSON object with the key answers"
    grades: list[int] = []
    reasons: list[str] = []
    for name in CRITERIA:
        item = value.get(name)
        entry: Mapping[str, Any] = item if isinstance(item, dict) else {"grade": item}
        grade = _grade(entry.get("grade", entry.get("score")))
        if grade is None:
            return f"the grade of {name} is not a whole number from 1 to 5"
        grades.append(grade)
        reason = entry.get("reason", value.get(f"{name}_reason", ""))
        line = str(reason).encode("utf-8", "replace").decode("utf-8")
        reasons.append(neutralise(" ".join(line.split())[:_MOST_REASON]))
    return Grades(values=tuple(grades), reasons=tuple(reasons))


def _grade(value: object) -> int | None:
    if isinstance(value, str):
        value = value.strip().removesuffix("/5").strip()
    try:
        number = float(value) if isinstance(value, str | int | float) else 0.0
    except ValueError:
        return None
    # True equals 1 in Python, and is no grade.
    return int(number) if number in {1, 2, 3, 4, 5} and not isinstance(value, bool) else None


@dataclass(frozen=True, slots=True)
class GradeTask(LLMTask[TaskItem, Grades]):
    """The judge of pairs; a reply's key covers both texts, prompt, model and temperature."""

    prompt: Prompt
    model: str
    temperature: float | None

    purpose: ClassVar = "judge"
    schema: ClassVar = GRADE_SCHEMA

    @classmethod
    def load(cls, lang: str, model: str, settings: InterviewSettings) -> GradeTask:
        """Read the judge's prompt, Chinese for zh and English otherwise."""
        return cls(load_task_prompt("judge", lang, GRADE_SCHEMA), model, settings.temperature)

    def item(self, pair: Pair) -> TaskItem:
        """Return the item of a pair."""
        version = self.prompt.version
        return TaskItem(
            key=content_id(
                "judge", pair.question, pair.answer, version, self.model, self.temperature
            ),
            subject_id=pair.id,
            messages=self.prompt.messages({"question": pair.question, "answer": pair.answer}),
            repair=self.prompt.repair,
            prompt_version=version,
            source_id=pair.source_id,
        )

    def read(self, text: str) -> Grades | str:
        """Return the grades of a reply, or its fault."""
        return read_grades(text)


def read_choice(text: str) -> int | str:
    """Return the chosen answer, 1, 2, or 0 for neither, or the fault of the reply.

    The fault is one line, in words for the model.
    """
    value = find_object(strip_reasoning(text), frozenset({"better"}))
    if value is None:
        return "it contains no JSON object with the key better"
    better = value["better"]
    number = str(better).strip().lower().removeprefix("answer").strip()
    if isinstance(better, bool) or number not in {"0", "1", "2"}:
        return "better is not 0, 1 or 2"
    return int(number)


@dataclass(frozen=True, slots=True)
class PairwiseTask(LLMTask[TaskItem, int]):
    """The judge of two answers, with `pieces` of the person's own text as reference."""

    prompt: Prompt
    model: str
    temperature: float | None
    pieces: Sequence[str]

    purpose: ClassVar = "versus"
    schema: ClassVar = CHOICE_SCHEMA

    @classmethod
    def load(
        cls, lang: str, model: str, settings: InterviewSettings, pieces: Sequence[str]
    ) -> PairwiseTask:
        """Read the prompt, Chinese for zh and English otherwise."""
        prompt = load_task_prompt("versus", lang, CHOICE_SCHEMA)
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

    def read(self, text: str) -> int | str:
        """Return the choice of a reply, or its fault."""
        return read_choice(text)

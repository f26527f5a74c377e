"""The judge: an LLM grades a pair from 1 to 5 by four criteria, each with a reason."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Template
from typing import Any

from memoirist.data.schema.records import Pair, content_id
from memoirist.data.text.sanitizer import neutralise
from memoirist.generators.brief import delimiter, sections_of
from memoirist.generators.replies import find_object, spoken
from memoirist.generators.rounds import Round, Task
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.templates import PROMPTS

CRITERIA = ("answers", "standalone", "natural", "no_spoiler")
_GRADE: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["reason", "grade"],
    "properties": {"reason": {"type": "string"}, "grade": {"type": "integer"}},
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": list(CRITERIA),
    "properties": dict.fromkeys(CRITERIA, _GRADE),
}
_MOST_REASON = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Grades:
    """The four grades in the order of CRITERIA, with their reasons."""

    values: Sequence[int]
    reasons: Sequence[str]

    @property
    def mean(self) -> float:
        """Return the mean of the four."""
        return sum(self.values) / len(self.values)

    def keep(self, min_grade: int, min_mean: float) -> bool:
        """Tell whether the least and the mean are high enough (QUALITY.md: 3 and 4)."""
        return min(self.values) >= min_grade and self.mean >= min_mean


def read_grades(text: str) -> Grades | str:
    """Return the grades, or in one line what is wrong with the reply, in words for the model."""
    value = find_object(spoken(text), frozenset(CRITERIA))
    if value is None:
        return "it holds no JSON object with the key answers"
    grades: list[int] = []
    reasons: list[str] = []
    for name in CRITERIA:
        told = value.get(name)
        entry: Mapping[str, Any] = told if isinstance(told, dict) else {"grade": told}
        grade = _grade(entry.get("grade", entry.get("score")))
        if grade is None:
            return f"{name} has no whole grade from 1 to 5"
        grades.append(grade)
        reason = entry.get("reason", value.get(f"{name}_reason", ""))
        line = str(reason).encode("utf-8", "replace").decode("utf-8")
        reasons.append(neutralise(" ".join(line.split())[:_MOST_REASON]))
    return Grades(values=tuple(grades), reasons=tuple(reasons))


def _grade(told: object) -> int | None:
    if isinstance(told, str):
        told = told.strip().removesuffix("/5").strip()
    try:
        number = float(told) if isinstance(told, str | int | float) else 0.0
    except ValueError:
        return None
    # True is 1 in Python, and no grade.
    return int(number) if number in {1, 2, 3, 4, 5} and not isinstance(told, bool) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where pairs are judged: the prompt in its sections, and the model whose replies are kept."""

    sections: Mapping[str, str]
    version: str
    model: str
    temperature: float | None

    def task(self, pair: Pair) -> Task:
        """Return what to ask about a pair; its key holds all that decides the reply."""
        question, answer = neutralise(pair.question), neutralise(pair.answer)
        digits = delimiter(question, answer)
        filled = {
            "open": f"<material-{digits}>",
            "close": f"</material-{digits}>",
            "question": question,
            "answer": answer,
        }
        key = content_id(
            "judge", pair.question, pair.answer, self.version, self.model, self.temperature
        )
        messages = [
            {"role": role, "content": Template(self.sections[role]).safe_substitute(filled)}
            for role in ("system", "user")
        ]
        return Task(
            key=key,
            subject_id=pair.id,
            messages=messages,
            source_id=pair.source_id,
            prompt_version=self.version,
        )

    def round(self) -> Round[Grades]:
        """Return how replies are read and asked for again."""
        again = Template(self.sections["repair"])
        return Round(
            purpose="judge",
            schema=SCHEMA,
            read=read_grades,
            repair=lambda fault: again.safe_substitute(fault=fault),
        )


def open_bench(lang: str, model: str, settings: InterviewSettings) -> Bench:
    """Read the judge's prompt, Chinese for zh and English otherwise; its version is its content."""
    text = (PROMPTS / f"judge.{'zh' if lang == 'zh' else 'en'}.txt").read_text("utf-8")
    version = hashlib.sha256((text + json.dumps(SCHEMA)).encode()).hexdigest()[:8]
    return Bench(
        sections=sections_of(text),
        version=version,
        model=model,
        temperature=settings.temperature,
    )

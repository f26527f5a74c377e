"""The judge of two answers: which one is more likely the person's, by the manner alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Template
from typing import Any

from memoirist.data.evaluation.preferences import Duel
from memoirist.data.schema.records import content_id
from memoirist.data.text.sanitizer import neutralise
from memoirist.generators.brief import delimiter, sections_of
from memoirist.generators.replies import find_object, spoken
from memoirist.generators.rounds import Round, Task
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.templates import PROMPTS

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Arena:
    """Where answers are judged: the prompt in its sections, and pieces of the person's own."""

    sections: Mapping[str, str]
    version: str
    model: str
    temperature: float | None
    pieces: Sequence[str]

    def task(self, duel: Duel) -> Task:
        """Return what to ask about a duel in its order; its key holds all that decides it."""
        pieces = "\n\n".join(neutralise(piece) for piece in self.pieces)
        question, first, second = map(neutralise, (duel.question, *duel.answers))
        digits = delimiter(pieces, question, first, second)
        filled = {
            "open": f"<material-{digits}>",
            "close": f"</material-{digits}>",
            "pieces": pieces,
            "question": question,
            "first": first,
            "second": second,
        }
        decisive = (pieces, question, first, second, self.version, self.model, self.temperature)
        messages = [
            {"role": role, "content": Template(self.sections[role]).safe_substitute(filled)}
            for role in ("system", "user")
        ]
        return Task(
            key=content_id("versus", *decisive),
            subject_id=duel.id,
            messages=messages,
            prompt_version=self.version,
        )

    def round(self) -> Round[Choice]:
        """Return how replies are read and asked for again."""
        again = Template(self.sections["repair"])
        return Round(
            purpose="versus",
            schema=SCHEMA,
            read=read_choice,
            repair=lambda fault: again.safe_substitute(fault=fault),
        )


def open_arena(lang: str, model: str, settings: InterviewSettings, pieces: Sequence[str]) -> Arena:
    """Read the prompt, Chinese for zh and English otherwise; its version is its content."""
    text = (PROMPTS / f"versus.{'zh' if lang == 'zh' else 'en'}.txt").read_text("utf-8")
    version = hashlib.sha256((text + json.dumps(SCHEMA)).encode()).hexdigest()[:8]
    return Arena(
        sections=sections_of(text),
        version=version,
        model=model,
        temperature=settings.temperature,
        pieces=tuple(pieces),
    )

"""Read an interviewer's reply: strict where it counts, forgiving about what surrounds it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from generators.templates import QUESTION_TYPES

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["is_answer", "confidence", "questions"],
    "properties": {
        "is_answer": {"type": "boolean"},
        "confidence": {"type": "number"},
        "questions": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["type", "text"],
                "properties": {
                    "type": {"type": "string", "enum": list(QUESTION_TYPES)},
                    "text": {"type": "string"},
                },
            },
        },
    },
}
_KEYS = frozenset({"is_answer", "questions", "question"})
_THINKING = re.compile(r"^.*</think(?:ing)?>|<think(?:ing)?>.*$", re.DOTALL | re.IGNORECASE)
_LABEL = re.compile(r"^\s*(?:\d+[.)]|[-*•]|Q\d*[:.])\s*")


class Suggestion(BaseModel):
    """One question that the interviewer offers."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    type: str
    text: str = Field(min_length=1, max_length=1000)


class Reply(BaseModel):
    """What the interviewer says about one passage."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    is_answer: bool
    confidence: float = Field(ge=0, le=1)
    questions: tuple[Suggestion, ...] = Field(max_length=12)


def parse_reply(text: str) -> Reply | str:
    """Return the reply, or in one line what is wrong with it, in words for the model.

    JSON may stand in a code fence, amid prose or behind thinking aloud; the last object that
    carries a known key counts, since a model that thinks aloud drafts before it decides.
    """
    spoken = _THINKING.sub("", text).strip()
    if not spoken:
        return "it is empty"
    found = [value for value in _objects(spoken) if _KEYS & value.keys()]
    if not found:
        lone = _lone_question(spoken)
        return lone if lone is not None else "it holds no JSON object with the key questions"
    return _shape(found[-1])


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield every outermost JSON object of the text."""
    decoder = json.JSONDecoder(strict=False)
    place = text.find("{")
    while place >= 0:
        try:
            value, end = decoder.raw_decode(text, place)
        except (json.JSONDecodeError, RecursionError):
            end = place + 1
        else:
            if isinstance(value, dict):
                yield value
        place = text.find("{", end)


def _shape(value: dict[str, Any]) -> Reply | str:
    """Bring what models commonly write into the schema, then validate it."""
    raw = value.get("questions", value.get("question", []))
    several = raw if isinstance(raw, list) else [raw]
    shaped = {
        "is_answer": value.get("is_answer", True),
        "confidence": _confidence(value.get("confidence", 0.5)),
        "questions": [_suggestion(entry, value) for entry in several],
    }
    try:
        reply = Reply.model_validate(shaped)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{where}: {first['msg']}"
    if reply.is_answer and not reply.questions:
        return "questions is empty although is_answer is true"
    return reply


def _suggestion(entry: object, whole: dict[str, Any]) -> object:
    if isinstance(entry, str):
        return {"type": _type(whole.get("type")), "text": entry.strip()}
    if isinstance(entry, dict):
        text = entry.get("text", entry.get("question"))
        return {"type": _type(entry.get("type")), "text": _clean(text)}
    return entry


def _clean(text: object) -> object:
    return " ".join(text.split()) if isinstance(text, str) else text


def _type(name: object) -> str:
    """Return the known question type that the name means, "other" for one of its own."""
    folded = str(name or "").strip().lower().replace("_", "-").replace(" ", "-")
    folded = "follow-up" if folded in {"followup", "follow"} else folded
    return folded if folded in QUESTION_TYPES else "other"


def _confidence(value: object) -> object:
    # Some models grade out of ten or a hundred whatever they are told.
    if isinstance(value, int | float) and not isinstance(value, bool) and 1 < value <= 100:
        return value / (10 if value <= 10 else 100)
    return value


def _lone_question(text: str) -> Reply | None:
    """Take a reply of nothing but one question as that question."""
    line = _LABEL.sub("", text.strip()).strip(' "“”')
    if "\n" in line or len(line) > 400 or not line.endswith(("?", "？")) or "{" in line:
        return None
    return Reply(is_answer=True, confidence=0.5, questions=(Suggestion(type="other", text=line),))

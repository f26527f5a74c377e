"""Read the JSON of a model's reply: strict where it counts, forgiving about what surrounds it.

Forgiven within the JSON are single and curly quotes, quotes within a string, keys without any,
commas too many, comments, Python's True, False and None, and brackets that were never closed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from memoirist.data.text.sanitizer import neutralise

QUESTION_TYPES = ("why", "how", "story", "opinion", "advice", "feeling", "follow-up")
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
_MOST_STARTS = 1_000
_MOST_LOOSE_STARTS = 20
_MOST_LOOSE_CHARS = 20_000
_DEEPEST = 12
_GAP = re.compile(r"(?:\s|//[^\n]*|#[^\n]*|/\*.*?\*/)*", re.DOTALL)
# A quote closes a string when what follows goes on with JSON: so an apostrophe does not.
_CLOSERS = {
    opening: re.compile(rf"{closing}(?=\s*(?:[,\]}}:]|$))")
    for opening, closing in (('"', '["”]'), ("'", "['’]"), ("“", '[”"]'), ("‘", "[’']"))
}
_BARE = re.compile(r"[^\s,:\[\]{}\"'“”‘’]+")
_ESCAPES = {"n": "\n", "t": "\t", "r": " ", "b": "", "f": ""}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_WORDS = {"true": True, "false": False, "null": None, "none": None}
_KEYS = frozenset({"is_answer", "questions", "question"})
_MOST_QUESTIONS = 12
_MOST_CHARS = 400_000
# Thinking aloud, as models mark it; what a server leaves of a template that it did not know.
_THOUGHT = re.compile(
    r"<(think(?:ing)?|reasoning|thought|reflection)>|\[THINK\]|◁think▷|<\|begin_of_thought\|>"
    r"|<\|START_THINKING\|>",
    re.IGNORECASE,
)
_THOUGHT_ENDS = re.compile(
    r"</(?:think(?:ing)?|reasoning|thought|reflection)>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>"
    r"|<\|END_THINKING\|>|<\|channel\|>final(?:\s[^<]*)?<\|message\|>",
    re.IGNORECASE,
)
_HARMONY = re.compile(r"<\|channel\|>(?:analysis|commentary)", re.IGNORECASE)
# Where a model talks on behind the end of its turn, what follows is not its reply.
_TURN_ENDS = re.compile(
    r"<\|(?:im_end|eot_id|end|endoftext|return|end_of_text|eom_id|END_OF_TURN_TOKEN)\|>|</s>"
    r"|<end_of_turn>|<｜end▁of▁sentence｜>",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"^\s*(?:[*_#>]*\s*)?(?:\(?\d{1,2}[.):、]|[-*•–]|(?:Q|Question|问题|問題)\s*\d*\s*[:.：])\s*",
    re.IGNORECASE,
)
_TYPE_TOLD = re.compile(
    rf"^[*_\[(（]*\s*({'|'.join(QUESTION_TYPES)}|follow[ _]up)\s*[\])）*_]*\s*[:：\-–—]\s*[*_]*\s*"
    rf"|^[*_]*[\[(（]({'|'.join(QUESTION_TYPES)})[\])）][*_]*\s*",
    re.IGNORECASE,
)
_NO_ANSWER = re.compile(r"\bis_answer[\"'`*]*\s*[:=]\s*[\"'`*]*(?:false|no)\b", re.IGNORECASE)
_ASKS = ("?", "？")
_GRADES = {"high": 0.9, "medium": 0.6, "low": 0.3}


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
    questions: tuple[Suggestion, ...] = Field(max_length=_MOST_QUESTIONS)


def parse_reply(text: str) -> Reply | str:
    """Return the reply, or in one line what is wrong with it, in words for the model.

    JSON may stand in a code fence, amid prose or behind thinking aloud, with the faults that
    `loose_objects` forgives; the last object that carries a known key counts, since a model
    that thinks aloud drafts before it decides. Lines that are all questions are taken as such.
    """
    said = spoken(text)
    if not said:
        return "it is empty"
    value = find_object(said, _KEYS) or _gathered(said)
    if value is not None:
        return _shape(value)
    lines = _question_lines(said)
    if lines:
        return Reply(is_answer=True, confidence=0.5, questions=tuple(lines))
    if _NO_ANSWER.search(said):
        return Reply(is_answer=False, confidence=0.5, questions=())
    return "it holds no JSON object with the key questions"


def spoken(text: str) -> str:
    """Return what a reply says behind its thinking aloud and before any turn that it made up.

    Thoughts that never end are none of it, unless the whole ends in an object.
    """
    text = text[-_MOST_CHARS:].encode("utf-8", "replace").decode("utf-8").replace("\0", "")
    ends = list(_THOUGHT_ENDS.finditer(text))
    said = text[ends[-1].end() :] if ends else text
    opened = _THOUGHT.search(said) or _HARMONY.search(said)
    if opened is not None:
        before, thoughts = said[: opened.start()], said[opened.end() :].rstrip("` \n\t")
        said = before if before.strip() else _last_object(thoughts)
    pieces = [piece.strip() for piece in _TURN_ENDS.split(said)]
    return next((piece for piece in pieces if piece), "")


def quoted(text: str) -> str:
    """Return the beginning of a reply as it may be shown to the model again, harmless."""
    return neutralise(text[:2000].encode("utf-8", "replace").decode("utf-8"))


def _last_object(thoughts: str) -> str:
    """Return the object that ends the thoughts, "" where they do not end in one."""
    if not thoughts.endswith("}"):
        return ""
    starts = [match.start() for match in re.finditer(r"\{\s*[\"'](?:is_answer|quest)", thoughts)]
    return thoughts[starts[-1] :] if starts else ""


def find_object(text: str, keys: frozenset[str]) -> dict[str, Any] | None:
    """Return the last object in the text that has one of the keys, strict JSON before loose."""
    for objects in (strict_objects, loose_objects):
        found = [inner for value in objects(text) for inner in _keyed(value, keys, 0)]
        if found:
            return found[-1]
    return None


def _keyed(value: object, keys: frozenset[str], depth: int) -> Iterator[dict[str, Any]]:
    """Yield the value, or what it wraps, where that has one of the keys."""
    if isinstance(value, dict):
        if keys & value.keys():
            yield value
        elif depth < 4:
            for inner in value.values():
                yield from _keyed(inner, keys, depth + 1)


def _gathered(text: str) -> dict[str, Any] | None:
    """Take a bare list of objects that each have a text as the questions."""
    for objects in (strict_objects, loose_objects):
        found = [value for value in objects(text) if isinstance(value.get("text"), str)]
        if found:
            return {"questions": found}
    return None


def _shape(value: dict[str, Any]) -> Reply | str:
    """Bring what models commonly write into the schema, then validate it."""
    raw = value.get("questions", value.get("question", []))
    entries = [_suggestion(entry, value) for entry in _several(raw)][:_MOST_QUESTIONS]
    shaped = {
        "is_answer": value.get("is_answer", True),
        "confidence": _confidence(value.get("confidence")),
        "questions": entries,
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


def _several(raw: object) -> Sequence[object]:
    if isinstance(raw, list):
        return raw
    if isinstance(raw, dict) and not {"text", "question"} & raw.keys():
        # {"why": "...", "how": "..."} or {"1": {...}, "2": {...}}
        return [{"type": k, "text": v} if isinstance(v, str) else v for k, v in raw.items()]
    if isinstance(raw, str) and "\n" in raw.strip():
        return [line for line in raw.splitlines() if line.strip()]
    return [] if raw is None else [raw]


def _suggestion(entry: object, whole: dict[str, Any]) -> object:
    if isinstance(entry, str):
        told = _unlabelled(entry)
        kind = told.type if told.type != "other" else _type(whole.get("type"))
        return {"type": kind, "text": told.text}
    if isinstance(entry, dict):
        text = entry.get("text", entry.get("question"))
        return {"type": _type(entry.get("type")), "text": _clean(text)}
    return entry


def _clean(text: object) -> object:
    """Return a text on one line without the marks around it; anything else as it is."""
    if not isinstance(text, str):
        return text
    line = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    return _LABEL.sub("", line, count=1).strip(" *_`")


def _unlabelled(line: str) -> Suggestion:
    """Return the question of a line without its number, its type and the quotes around it."""
    whole = line.encode("utf-8", "replace").decode("utf-8").strip()
    bare = _LABEL.sub("", whole, count=1)
    told = _TYPE_TOLD.match(bare)
    kind = next((name for name in told.groups() if name), "") if told else ""
    text = (bare[told.end() :] if told else bare).strip(" *_`")
    if text[:1] in "\"“'‘「" and text[-1:] in "\"”'’」":
        text = text[1:-1].strip()
    return Suggestion.model_construct(type=_type(kind), text=" ".join(text.split()))


def _question_lines(text: str) -> list[Suggestion]:
    """Return the questions of a reply in lines; none where a line could be something else.

    Either all its numbered or dotted lines are questions, or all its lines are.
    """
    lines = [line for line in text.splitlines() if line.strip(" `*-=#")]
    labelled = [line for line in lines if _LABEL.match(line)]
    found = [_unlabelled(line) for line in labelled or lines]
    sound = all(
        one.text.endswith(_ASKS) and len(one.text) <= 400 and "{" not in one.text for one in found
    )
    return found if sound and len(found) <= _MOST_QUESTIONS else []


def _type(name: object) -> str:
    """Return the known question type that the name means, "other" for one of its own."""
    folded = str(name or "").strip().lower().replace("_", "-").replace(" ", "-")
    folded = "follow-up" if folded in {"followup", "follow"} else folded
    return folded if folded in QUESTION_TYPES else "other"


def _confidence(value: object) -> object:
    """Return a share of one: some models grade out of ten or a hundred, or in words."""
    if value is None:
        return 0.5
    if isinstance(value, str):
        word = value.strip().lower()
        try:
            value = float(word.rstrip("% "))
        except ValueError:
            return _GRADES.get(word, 0.5)
        if word.endswith("%"):
            return value / 100
    if isinstance(value, int | float) and not isinstance(value, bool) and 1 < value <= 100:
        return value / (10 if value <= 10 else 100)
    return value


def strict_objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the outermost objects that are right JSON, in order."""
    decoder = json.JSONDecoder(strict=False)
    place = text.find("{")
    for _ in range(_MOST_STARTS):
        if place < 0:
            return
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            end = place + 1
        else:
            if isinstance(value, dict):
                yield value
        place = text.find("{", end)


def loose_objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the outermost objects that can be read with forgiveness, in order."""
    text = text[-_MOST_LOOSE_CHARS:]
    place = text.find("{")
    for _ in range(_MOST_LOOSE_STARTS):
        if place < 0:
            return
        reader = _Reader(text, place)
        try:
            value = reader.value(0)
        except _Unreadable:
            reader.place = place + 1
        else:
            if isinstance(value, dict):
                yield value
        place = text.find("{", max(reader.place, place + 1))


class _Unreadable(Exception):
    """What stands here is no JSON, however it is read."""


@dataclass(slots=True)
class _Reader:
    text: str
    place: int

    def value(self, depth: int) -> Any:  # noqa: ANN401 - whatever JSON holds
        if depth > _DEEPEST:
            raise _Unreadable
        mark = self._next()
        if mark == "{":
            return self._dict(depth)
        if mark == "[":
            return self._list(depth)
        if mark in _CLOSERS:
            return self._string(mark)
        return self._bare()

    def _next(self) -> str:
        """Go behind white space and comments; return the character there, "" at the end."""
        gap = _GAP.match(self.text, self.place)
        self.place = gap.end() if gap else self.place
        return self.text[self.place : self.place + 1]

    def _dict(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self.place += 1
        while (mark := self._next()) not in {"}", ""}:
            if mark == ",":
                self.place += 1
                continue
            key = self._string(mark) if mark in _CLOSERS else str(self._bare())
            if self._next() != ":":
                raise _Unreadable
            self.place += 1
            found[key] = self.value(depth + 1)
        self.place += 1
        return found

    def _list(self, depth: int) -> list[Any]:
        found: list[Any] = []
        self.place += 1
        while (mark := self._next()) not in {"]", ""}:
            if mark == "}":
                return found  # the bracket was forgotten, its owner goes on
            if mark == ",":
                self.place += 1
                continue
            found.append(self.value(depth + 1))
        self.place += 1
        return found

    def _string(self, mark: str) -> str:
        start = self.place + 1
        for closer in _CLOSERS[mark].finditer(self.text, start):
            escapes = len(self.text[start : closer.start()]) - len(
                self.text[start : closer.start()].rstrip("\\")
            )
            if escapes % 2 == 0:
                self.place = closer.end()
                return _ESCAPE.sub(_unescaped, self.text[start : closer.start()])
        raise _Unreadable

    def _bare(self) -> Any:  # noqa: ANN401 - a number, a word of JSON or of Python
        match = _BARE.match(self.text, self.place)
        if match is None:
            raise _Unreadable
        self.place = match.end()
        word = match.group()
        if word.lower() in _WORDS:
            return _WORDS[word.lower()]
        try:
            return float(word)
        except ValueError:
            return word


def _unescaped(match: re.Match[str]) -> str:
    code = match.group(1)
    if len(code) == 5:
        return chr(int(code[1:], 16))
    return _ESCAPES.get(code, code)

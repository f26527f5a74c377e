"""The parser of model replies: finds their JSON, strict first, then tolerant of common faults.

Tolerated within the JSON are single and curly quotes, quotes within a string, keys without any,
commas too many, comments, Python's True, False and None, and brackets that were never closed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from memoirist.data.text.sanitizer import neutralise
from memoirist.data.text.thoughts import split_thoughts, without_thoughts


def object_schema(**properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of an object that has all of these properties and no other."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": properties,
    }


QUESTION_TYPES = ("why", "how", "story", "opinion", "advice", "feeling", "follow-up")
_QUESTION = object_schema(
    type={"type": "string", "enum": list(QUESTION_TYPES)}, text={"type": "string"}
)
SCHEMA = object_schema(
    is_answer={"type": "boolean"},
    confidence={"type": "number"},
    questions={"type": "array", "items": _QUESTION},
)
_MOST_STARTS = 1_000
_MOST_LOOSE_STARTS = 20
_MOST_LOOSE_CHARS = 20_000
_DEEPEST = 12
_GAP = re.compile(r"(?:\s|//[^\n]*|#[^\n]*|/\*.*?\*/)*", re.DOTALL)
# A quote closes a string when JSON follows it: an apostrophe does not.
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
# Text that a model writes after the end of its turn is not its reply.
_TURN_ENDS = re.compile(
    r"<\|(?:im_end|eot_id|end|endoftext|return|end_of_text|eom_id|END_OF_TURN_TOKEN)\|>|</s>"
    r"|<end_of_turn>|<｜end▁of▁sentence｜>",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"^\s*(?:[*_#>]*\s*)?(?:\(?\d{1,2}[.):、]|[-*•–]|(?:Q|Question|问题|問題)\s*\d*\s*[:.：])\s*",
    re.IGNORECASE,
)
_TYPE_LABEL = re.compile(
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
    """The parsed reply of the interviewer about one passage."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    is_answer: bool
    confidence: float = Field(ge=0, le=1)
    questions: tuple[Suggestion, ...] = Field(max_length=_MOST_QUESTIONS)


def parse_reply(text: str) -> Reply | str:
    """Return the reply, or its fault in one line, in words for the model.

    The JSON may be in a code fence, within prose or after reasoning, with the faults that
    `loose_objects` tolerates. The last object with a known key counts, since a model that reasons
    writes drafts first. A reply in lines that are all questions is accepted too.
    """
    answer = strip_reasoning(text)
    if not answer:
        return "it is empty"
    value = find_object(answer, _KEYS) or _question_objects(answer)
    if value is not None:
        return _reply_from(value)
    lines = _question_lines(answer)
    if lines:
        return Reply(is_answer=True, confidence=0.5, questions=tuple(lines))
    if _NO_ANSWER.search(answer):
        return Reply(is_answer=False, confidence=0.5, questions=())
    return "it contains no JSON object with the key questions"


def strip_reasoning(text: str) -> str:
    """Return the answer of a reply: after its reasoning, and before any further turn.

    Of the pieces between its thoughts the last one counts. Reasoning that never ends is no answer,
    unless it ends with an object.
    """
    text = text[-_MOST_CHARS:].encode("utf-8", "replace").decode("utf-8").replace("\0", "")
    pieces, open_thought = split_thoughts(text)
    answer = pieces[-1]
    if open_thought is not None and not answer.strip():
        answer = _last_object(open_thought.rstrip("` \n\t"))
    turns = [turn.strip() for turn in _TURN_ENDS.split(answer)]
    return next((turn for turn in turns if turn), "")


def holds_thoughts(text: str) -> bool:
    """Tell whether a reply holds the reasoning of a model, as models mark it."""
    return without_thoughts(text)[1] > 0


def quoted(text: str) -> str:
    """Return the beginning of a reply, neutralised, to be sent back to the model."""
    return neutralise(text[:2000].encode("utf-8", "replace").decode("utf-8"))


def _last_object(text: str) -> str:
    """Return the object at the end of a text, "" where it does not end with one."""
    if not text.endswith("}"):
        return ""
    decoder = json.JSONDecoder(strict=False)
    for start in [match.start() for match in re.finditer(r"\{", text)][:_MOST_STARTS]:
        with suppress(ValueError, RecursionError):
            if decoder.raw_decode(text, start)[1] == len(text):
                return text[start:]
    starts = [match.start() for match in re.finditer(r"\{\s*[\"'](?:is_answer|quest)", text)]
    return text[starts[-1] :] if starts else ""


def find_object(text: str, keys: frozenset[str]) -> dict[str, Any] | None:
    """Return the last object in the text that has one of the keys, strict JSON before loose."""
    for objects in (strict_objects, loose_objects):
        matches = [match for value in objects(text) for match in _with_keys(value, keys, 0)]
        if matches:
            return matches[-1]
    return None


def _with_keys(value: object, keys: frozenset[str], depth: int) -> Iterator[dict[str, Any]]:
    """Yield the value, or the values within it, that have one of the keys."""
    if isinstance(value, dict):
        if keys & value.keys():
            yield value
        elif depth < 4:
            for nested in value.values():
                yield from _with_keys(nested, keys, depth + 1)


def _question_objects(text: str) -> dict[str, Any] | None:
    """Return objects with a text, outside of any other object, as the questions of a reply."""
    for objects in (strict_objects, loose_objects):
        questions = [value for value in objects(text) if isinstance(value.get("text"), str)]
        if questions:
            return {"questions": questions}
    return None


def _reply_from(value: dict[str, Any]) -> Reply | str:
    """Convert the common variants of the schema to it, then validate."""
    questions = value.get("questions", value.get("question", []))
    entries = [_suggestion(entry, value) for entry in _entries(questions)][:_MOST_QUESTIONS]
    data = {
        "is_answer": value.get("is_answer", True),
        "confidence": _confidence(value.get("confidence")),
        "questions": entries,
    }
    try:
        reply = Reply.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{where}: {first['msg']}"
    if reply.is_answer and not reply.questions:
        return "questions is empty although is_answer is true"
    return reply


def _entries(questions: object) -> Sequence[object]:
    if isinstance(questions, list):
        return questions
    if isinstance(questions, dict) and not {"text", "question"} & questions.keys():
        # {"why": "...", "how": "..."} or {"1": {...}, "2": {...}}
        return [{"type": k, "text": v} if isinstance(v, str) else v for k, v in questions.items()]
    if isinstance(questions, str) and "\n" in questions.strip():
        return [line for line in questions.splitlines() if line.strip()]
    return [] if questions is None else [questions]


def _suggestion(entry: object, reply: dict[str, Any]) -> object:
    if isinstance(entry, str):
        question = _unlabelled(entry)
        kind = question.type if question.type != "other" else _type(reply.get("type"))
        return {"type": kind, "text": question.text}
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
    line = line.encode("utf-8", "replace").decode("utf-8").strip()
    unnumbered = _LABEL.sub("", line, count=1)
    label = _TYPE_LABEL.match(unnumbered)
    kind = next((name for name in label.groups() if name), "") if label else ""
    text = (unnumbered[label.end() :] if label else unnumbered).strip(" *_`")
    if text[:1] in "\"“'‘「" and text[-1:] in "\"”'’」":
        text = text[1:-1].strip()
    return Suggestion.model_construct(type=_type(kind), text=" ".join(text.split()))


def _question_lines(text: str) -> list[Suggestion]:
    """Return the questions of a reply in lines; none where a line may be something else.

    Either all its numbered or dotted lines are questions, or all its lines are.
    """
    lines = [line for line in text.splitlines() if line.strip(" `*-=#")]
    labelled = [line for line in lines if _LABEL.match(line)]
    questions = [_unlabelled(line) for line in labelled or lines]
    texts = [question.text for question in questions]
    valid = all(t.endswith(_ASKS) and len(t) <= 400 and "{" not in t for t in texts)
    return questions if valid and len(questions) <= _MOST_QUESTIONS else []


def _type(name: object) -> str:
    """Return the known question type of a name, "other" for an unknown one."""
    folded = str(name or "").strip().lower().replace("_", "-").replace(" ", "-")
    folded = "follow-up" if folded in {"followup", "follow"} else folded
    return folded if folded in QUESTION_TYPES else "other"


def _confidence(value: object) -> object:
    """Return a confidence of 0 to 1: some models use 0 to 10 or 100, or words."""
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
    """Yield the outermost objects that are valid JSON, in order."""
    decoder = json.JSONDecoder(strict=False)
    index = text.find("{")
    for _ in range(_MOST_STARTS):
        if index < 0:
            return
        try:
            value, end = decoder.raw_decode(text, index)
        except (ValueError, RecursionError):
            end = index + 1
        else:
            if isinstance(value, dict):
                yield value
        index = text.find("{", end)


def loose_objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the outermost objects that the tolerant parser can read, in order."""
    text = text[-_MOST_LOOSE_CHARS:]
    index = text.find("{")
    for _ in range(_MOST_LOOSE_STARTS):
        if index < 0:
            return
        parser = _LooseParser(text, index)
        try:
            value = parser.value(0)
        except _Unreadable:
            parser.index = index + 1
        else:
            if isinstance(value, dict):
                yield value
        index = text.find("{", max(parser.index, index + 1))


class _Unreadable(Exception):
    """The text here is no JSON, even for the tolerant parser."""


@dataclass(slots=True)
class _LooseParser:
    text: str
    index: int

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
        """Skip white space and comments; return the next character, "" at the end."""
        gap = _GAP.match(self.text, self.index)
        self.index = gap.end() if gap else self.index
        return self.text[self.index : self.index + 1]

    def _dict(self, depth: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        self.index += 1
        while (mark := self._next()) not in {"}", ""}:
            if mark == ",":
                self.index += 1
                continue
            key = self._string(mark) if mark in _CLOSERS else str(self._bare())
            if self._next() != ":":
                raise _Unreadable
            self.index += 1
            members[key] = self.value(depth + 1)
        self.index += 1
        return members

    def _list(self, depth: int) -> list[Any]:
        items: list[Any] = []
        self.index += 1
        while (mark := self._next()) not in {"]", ""}:
            if mark == "}":
                return items  # the closing bracket is missing, the outer object goes on
            if mark == ",":
                self.index += 1
                continue
            items.append(self.value(depth + 1))
        self.index += 1
        return items

    def _string(self, mark: str) -> str:
        start = self.index + 1
        for closer in _CLOSERS[mark].finditer(self.text, start):
            escapes = len(self.text[start : closer.start()]) - len(
                self.text[start : closer.start()].rstrip("\\")
            )
            if escapes % 2 == 0:
                self.index = closer.end()
                return _ESCAPE.sub(_unescaped, self.text[start : closer.start()])
        raise _Unreadable

    def _bare(self) -> Any:  # noqa: ANN401 - a number, a word of JSON or of Python
        match = _BARE.match(self.text, self.index)
        if match is None:
            raise _Unreadable
        self.index = match.end()
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

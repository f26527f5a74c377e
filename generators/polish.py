"""Polish: have an LLM mend a passage so that it stands alone as an answer, within strict bounds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

from memoirist.data.schema.errors import RecipeError
from memoirist.data.schema.records import Passage, content_id
from memoirist.data.text.language_detection import detect_language
from memoirist.data.text.sanitizer import neutralise
from memoirist.generators.bounds import change_of, fault_of, tidied
from memoirist.generators.brief import Brief, delimiter, repeats_brief, sections_of
from memoirist.generators.replies import find_object, spoken
from memoirist.generators.rounds import Round, Task
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.templates import PROMPTS

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["needs_repair", "text"],
    "properties": {"needs_repair": {"type": "boolean"}, "text": {"type": "string"}},
}
_KEYS = frozenset(SCHEMA["properties"])
_SECTIONS = ("system", "context", "user", "repair")
# A language shows in its first words, as in generators/keys.py.
_TOLD_BY_CHARS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """What the model says of a passage: its text mended, or "" where nothing has to be."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What becomes of an answer: its polished text, or None and what spoke against one.

    Both are None where nothing had to be mended. `change` is the share of the words that changed.
    """

    text: str | None = None
    change: float = 0.0
    fault: str | None = None


def read_mended(text: str) -> Mended | str:
    """Return what a reply says, or in one line what is wrong with it, in words for the model."""
    value = find_object(spoken(text), _KEYS)
    if value is None:
        return "it holds no JSON object with the keys needs_repair and text"
    told, needed = value.get("text"), value.get("needs_repair", True)
    if needed is False or str(needed).lower() in {"false", "no"}:
        return Mended(text="")
    if not isinstance(told, str) or not told.strip():
        return "text is empty although needs_repair is true"
    return Mended(text=told.encode("utf-8", "replace").decode("utf-8"))


@dataclass(slots=True)
class Polisher:
    """The prompts of one run by language, and the model whose replies are kept.

    The key of a reply holds the passage's text, the prompt's version, the model and the
    temperature. The paragraph before and the bounds are no part of it: a kept reply is held
    against today's bounds.
    """

    settings: InterviewSettings
    model: str
    _read: dict[str, tuple[dict[str, str], str]] = field(default_factory=dict)

    def task(self, passage: Passage) -> Task:
        """Return what to ask about a passage; raise RecipeError for a prompt that is no use."""
        sections, version = self._prompt(self._tongue(passage))
        text, context = neutralise(passage.text), neutralise(passage.context or "")
        digits = delimiter(text, context)
        filled = {
            "open": f"<material-{digits}>",
            "close": f"</material-{digits}>",
            "passage": text,
            "context": context,
        }
        before = Template(sections["context"]).safe_substitute(filled).strip() + "\n\n"
        filled["before"] = before if passage.context else ""
        messages = [
            {"role": role, "content": Template(sections[role]).safe_substitute(filled)}
            for role in ("system", "user")
        ]
        key = content_id("polish", passage.text, version, self.model, self.settings.temperature)
        again = Template(sections["repair"])
        return Task(
            key=key,
            subject_id=passage.id,
            messages=messages,
            source_id=passage.source_id,
            prompt_version=version,
            repair=lambda fault: again.safe_substitute(fault=fault),
        )

    def round(self, passages: Mapping[str, Passage]) -> Round[Mended]:
        """Return how replies are read and refused; `passages` are those asked about, by id."""

        def refuse(task: Task, mended: Mended) -> str | None:
            return self.outcome(mended, passages[task.subject_id], task).fault

        return Round(
            purpose="polish",
            schema=SCHEMA,
            read=read_mended,
            refuse=refuse,
        )

    def outcome(self, mended: Mended, passage: Passage, task: Task) -> Outcome:
        """Hold a mended text against the bounds of today's settings."""
        if not mended.text:
            return Outcome()
        # A passage may speak of control tokens itself: it was made harmless before it was shown.
        shown = neutralise(passage.text)
        text = tidied(mended.text, shown)
        if text == shown:
            return Outcome()
        fault = fault_of(shown, text, self.settings.polish_max_change)
        brief = Brief(messages=tuple(dict(m) for m in task.messages), types=(), length_class=1)
        if fault is None and repeats_brief(text, brief) and not repeats_brief(shown, brief):
            fault = "the text repeats these instructions"
        change = round(change_of(shown, text), 3)
        return Outcome(text=None if fault else text, change=change, fault=fault)

    @staticmethod
    def _tongue(passage: Passage) -> str:
        return "zh" if detect_language(passage.text[:_TOLD_BY_CHARS]) == "zh" else "en"

    def _prompt(self, tongue: str) -> tuple[dict[str, str], str]:
        if tongue not in self._read:
            own = self.settings.polish_prompt
            self._read[tongue] = load_polish_prompt(own or PROMPTS / f"polish.{tongue}.txt")
        return self._read[tongue]


def load_polish_prompt(path: Path) -> tuple[dict[str, str], str]:
    """Return a prompt in its sections and its version, 8 hex digits of its content.

    Raise RecipeError when the file lacks a section or never shows the passage.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"cannot read the prompt file {str(path)!r}: {error}",
            "give a UTF-8 text file in interview.polish_prompt",
        ) from None
    sections = sections_of(text)
    missing = [name for name in _SECTIONS if name not in sections]
    if missing or "$passage" not in sections["user"]:
        what = f"section {missing[0]!r}" if missing else "$passage in its section 'user'"
        raise RecipeError(
            f"the prompt file {str(path)!r} lacks {what}",
            f"copy {str(PROMPTS / 'polish.en.txt')!r} and change that",
        )
    version = hashlib.sha256((text + json.dumps(SCHEMA)).encode()).hexdigest()[:8]
    return sections, version

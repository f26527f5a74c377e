"""Polish: have an LLM mend a passage so that it stands alone as an answer, within strict bounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from memoirist.data.schema.records import Passage, content_id
from memoirist.data.text.language_detection import detect_language
from memoirist.data.text.sanitizer import neutralise
from memoirist.generators.prompts.prompt_templates import (
    Brief,
    Prompt,
    load_task_prompt,
    repeats_brief,
)
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.tasks.base import LLMTask, TaskItem
from memoirist.generators.tasks.reply_parser import find_object, spoken
from memoirist.generators.tasks.rewrite_checks import change_of, fault_of, tidied

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["needs_repair", "text"],
    "properties": {"needs_repair": {"type": "boolean"}, "text": {"type": "string"}},
}
_KEYS = frozenset(SCHEMA["properties"])
# A language shows in its first words, as in generators/tasks/cache_key.py.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RewriteItem(TaskItem):
    """A passage to mend."""

    passage: Passage


@dataclass(slots=True)
class RewriteTask(LLMTask[RewriteItem, Mended]):
    """The mending of passages for one run, with the prompts by language.

    The key of a reply holds the passage's text, the prompt's version, the model and the
    temperature. The paragraph before and the bounds are no part of it: a kept reply is held
    against today's bounds.
    """

    settings: InterviewSettings
    model: str
    _prompts: dict[str, Prompt] = field(default_factory=dict)

    purpose: ClassVar = "polish"
    schema: ClassVar = SCHEMA

    def item(self, passage: Passage) -> RewriteItem:
        """Return what to ask about a passage; raise RecipeError for a prompt that is no use."""
        prompt = self._prompt(detect_language(passage.text[:_TOLD_BY_CHARS]))
        temperature = self.settings.temperature
        return RewriteItem(
            key=content_id("polish", passage.text, prompt.version, self.model, temperature),
            subject_id=passage.id,
            messages=prompt.messages({"passage": passage.text, "context": passage.context or ""}),
            repair=prompt.repair,
            prompt_version=prompt.version,
            source_id=passage.source_id,
            passage=passage,
        )

    def read(self, text: str) -> Mended | str:
        """Return the mended text of a reply, or what is wrong with it."""
        return read_mended(text)

    def refuse(self, item: RewriteItem, value: Mended) -> str | None:
        """Return by what a mended text leaves the bounds."""
        return self.outcome(value, item).fault

    def outcome(self, mended: Mended, item: RewriteItem) -> Outcome:
        """Hold a mended text against the bounds of today's settings."""
        if not mended.text:
            return Outcome()
        # A passage may speak of control tokens itself: it was made harmless before it was shown.
        shown = neutralise(item.passage.text)
        text = tidied(mended.text, shown)
        if text == shown:
            return Outcome()
        fault = fault_of(shown, text, self.settings.polish_max_change)
        brief = Brief(messages=tuple(dict(m) for m in item.messages), types=(), length_class=1)
        if fault is None and repeats_brief(text, brief) and not repeats_brief(shown, brief):
            fault = "the text repeats these instructions"
        change = round(change_of(shown, text), 3)
        return Outcome(text=None if fault else text, change=change, fault=fault)

    def _prompt(self, lang: str) -> Prompt:
        lang = "zh" if lang == "zh" else "en"
        if lang not in self._prompts:
            own = self.settings.polish_prompt
            self._prompts[lang] = load_task_prompt("polish", lang, SCHEMA, own)
        return self._prompts[lang]

"""The rewrite task: an LLM mends a passage so that it stands alone, within strict bounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from memoirist.data.schema.records import Passage, content_id
from memoirist.data.text.language_detection import detect_language
from memoirist.data.text.sanitizer import neutralise
from memoirist.generators.prompts.prompt_templates import Prompt, load_task_prompt, repeats_prompt
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.tasks.base import LLMTask, TaskItem
from memoirist.generators.tasks.cache_key import DETECTION_CHARS
from memoirist.generators.tasks.reply_parser import find_object, strip_reasoning
from memoirist.generators.tasks.rewrite_checks import changed_share, match_layout, rewrite_fault

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["needs_repair", "text"],
    "properties": {"needs_repair": {"type": "boolean"}, "text": {"type": "string"}},
}
_KEYS = frozenset(SCHEMA["properties"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """The value of a reply: the mended text of a passage, or "" where it needs no repair."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result for an answer: its polished text, or None and the `fault` of the rewrite.

    Both are None where nothing needs repair. `change` is the share of the words that changed.
    """

    text: str | None = None
    change: float = 0.0
    fault: str | None = None


def read_mended(text: str) -> Mended | str:
    """Return the mended text of a reply, or its fault in one line, in words for the model."""
    value = find_object(strip_reasoning(text), _KEYS)
    if value is None:
        return "it holds no JSON object with the keys needs_repair and text"
    mended, needed = value.get("text"), value.get("needs_repair", True)
    if needed is False or str(needed).lower() in {"false", "no"}:
        return Mended(text="")
    if not isinstance(mended, str) or not mended.strip():
        return "text is empty although needs_repair is true"
    return Mended(text=mended.encode("utf-8", "replace").decode("utf-8"))


@dataclass(frozen=True, slots=True, kw_only=True)
class RewriteItem(TaskItem):
    """A passage to mend."""

    passage: Passage


@dataclass(slots=True)
class RewriteTask(LLMTask[RewriteItem, Mended]):
    """The mending of passages for one run, with the prompts by language.

    The key of a reply covers the passage's text, the prompt's version, the model and the
    temperature. The paragraph before and the bounds are not part of it: a kept reply is checked
    against the current bounds.
    """

    settings: InterviewSettings
    model: str
    _prompts: dict[str, Prompt] = field(default_factory=dict)

    purpose: ClassVar = "polish"
    schema: ClassVar = SCHEMA

    def item(self, passage: Passage) -> RewriteItem:
        """Return the item of a passage; raise RecipeError for an unusable prompt file."""
        prompt = self._prompt(detect_language(passage.text[:DETECTION_CHARS]))
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
        """Return the mended text of a reply, or its fault."""
        return read_mended(text)

    def refuse(self, item: RewriteItem, value: Mended) -> str | None:
        """Return how a mended text exceeds the bounds, None where it does not."""
        return self.outcome(value, item).fault

    def outcome(self, mended: Mended, item: RewriteItem) -> Outcome:
        """Check a mended text against the bounds of the current settings."""
        if not mended.text:
            return Outcome()
        # The model saw the passage with its control tokens neutralised.
        original = neutralise(item.passage.text)
        text = match_layout(mended.text, original)
        if text == original:
            return Outcome()
        fault = rewrite_fault(original, text, self.settings.polish_max_change)
        prompt = item.messages[0]["content"]
        if fault is None and repeats_prompt(text, prompt) and not repeats_prompt(original, prompt):
            fault = "the text repeats these instructions"
        change = round(changed_share(original, text), 3)
        return Outcome(text=None if fault else text, change=change, fault=fault)

    def _prompt(self, lang: str) -> Prompt:
        lang = "zh" if lang == "zh" else "en"
        if lang not in self._prompts:
            path = self.settings.polish_prompt
            self._prompts[lang] = load_task_prompt("polish", lang, SCHEMA, path)
        return self._prompts[lang]

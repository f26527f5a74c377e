"""The offline interviewer's question templates, read from the files under `prompts/`."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from memoirist.generators.prompts.prompt_templates import PROMPTS
from memoirist.generators.tasks.reply_parser import QUESTION_TYPES

Form = Literal["core", "lead", "bare"]
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One question with a slot for a key phrase of `kind`, or without a slot (form "bare").

    A template of form "lead" is a statement that holds the slot, followed by a question that
    needs none: two short lists make many long questions that do not resemble one another.
    """

    text: str
    type: str
    kind: str
    form: Form

    def fill(self, phrase: str) -> str:
        """Return the question with the phrase in its slot and its first letter a capital."""
        filled = _SLOT.sub(lambda _: phrase, self.text)
        return filled[:1].upper() + filled[1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateSet:
    """All templates and word lists of one language; `version` changes with the file."""

    lang: str
    version: str
    templates: Sequence[Template]
    cues: Mapping[str, frozenset[str]]
    words: Mapping[str, frozenset[str]]

    def of_type(self, question_type: str) -> list[Template]:
        """Return the templates of one question type, in the order of the file."""
        return [template for template in self.templates if template.type == question_type]


def offline_languages() -> list[str]:
    """Return the languages that have a template file."""
    return sorted(path.name.split(".")[1] for path in PROMPTS.glob("offline.*.toml"))


@cache
def load_templates(lang: str) -> TemplateSet:
    """Read `prompts/offline.LANG.toml`."""
    content = (PROMPTS / f"offline.{lang}.toml").read_bytes()
    parsed = tomllib.loads(content.decode("utf-8"))
    return TemplateSet(
        lang=lang,
        version=hashlib.sha256(content).hexdigest()[:8],
        templates=tuple(_templates(parsed, "" if lang == "zh" else " ")),
        cues={name: frozenset(text.split()) for name, text in parsed.get("cues", {}).items()},
        words={name: frozenset(text.split()) for name, text in parsed.get("words", {}).items()},
    )


def _templates(parsed: Mapping[str, Mapping[str, Sequence[str]]], gap: str) -> Iterator[Template]:
    form: Form
    leads = parsed.get("leads", {})
    for question_type in QUESTION_TYPES:
        table = parsed[question_type]
        for kind, texts in table.items():
            if kind.startswith("tails"):
                continue
            form = "bare" if kind == "bare" else "core"
            for text in texts:
                yield Template(text=text, type=question_type, kind=kind, form=form)
        for kind, openings in leads.items():
            for opening in openings:
                for tail in table.get(f"tails_{kind}", table.get("tails", ())):
                    text = f"{opening}{gap}{tail}"
                    form = "bare" if kind == "bare" else "lead"
                    yield Template(text=text, type=question_type, kind=kind, form=form)

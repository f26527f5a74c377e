"""The prompt templates of all tasks: files, filled for one item, with a version by content."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from string import Template

from memoirist.data.schema.errors import RecipeError
from memoirist.data.schema.records import Passage
from memoirist.data.text.sanitizer import neutralise
from memoirist.data.text.word_overlap import longest_shared_run
from memoirist.data.text.words import is_cjk, words
from memoirist.generators.prompts.source_kinds import Kind
from memoirist.generators.settings import Example, InterviewSettings
from memoirist.generators.tasks.reply_parser import QUESTION_TYPES, SCHEMA

PROMPTS = Path(__file__).parent
_SECTION = re.compile(r"^=== (\w+) ===[ \t]*$", re.MULTILINE)
_SECTIONS = ("system", "context", "user", "repair")
_LENGTHS = {
    "en": ("at most 8 words", "between 9 and 20 words", "between 21 and 45 words"),
    "zh": ("不超过 12 个字", "13 到 30 个字", "31 到 65 个字"),
}
# QUALITY.md: up to 8 words, 9 to 20, 21 to 45.
LENGTH_SHARES = (0.3, 0.5, 0.2)
_COPIED_RUN = 7
_LANGUAGES = {
    "en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian",
    "nl": "Dutch", "pt": "Portuguese", "ru": "Russian", "pl": "Polish", "tr": "Turkish",
    "ar": "Arabic", "he": "Hebrew", "hi": "Hindi", "zh": "中文", "ja": "Japanese", "ko": "Korean",
    "und": "the language of the passage",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One prompt template in its sections; `version` is 8 hex digits of its content."""

    sections: Mapping[str, str]
    version: str

    def messages(self, texts: Mapping[str, str], **words: str) -> tuple[dict[str, str], ...]:
        """Return the system and the user message, with the texts and the words in their slots.

        Texts come from outside: control tokens in them are neutralised, and a delimiter that none
        of them contains encloses them. The section "context" is filled in as $before where the
        text of that name is not empty.
        """
        safe = {name: neutralise(text) for name, text in texts.items()}
        digits = delimiter(*safe.values())
        slots = {"open": f"<material-{digits}>", "close": f"</material-{digits}>", **safe, **words}
        if "context" in safe:
            before = Template(self.sections["context"]).safe_substitute(slots).strip() + "\n\n"
            slots["before"] = before if safe["context"] else ""
        return tuple(
            {"role": role, "content": Template(self.sections[role]).safe_substitute(slots)}
            for role in ("system", "user")
        )

    def repair(self, fault: str) -> str:
        """Return the message that asks for an unusable reply again."""
        return Template(self.sections["repair"]).safe_substitute(fault=fault)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionPrompt(Prompt):
    """The prompt of the interview for one kind of source, with the user's examples written out.

    `types` are the question types that suit the kind of source.
    """

    prompt_lang: str
    kind: Kind = "autobiography"
    types: Sequence[str] = QUESTION_TYPES
    examples: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilledPrompt:
    """The messages for one passage, with the question types and the length they ask for."""

    messages: tuple[dict[str, str], ...]
    types: tuple[str, ...]
    length_class: int


@dataclass(slots=True)
class Prompts:
    """The prompts of one run by kind of source and language, each read once.

    The keys of `settings.kinds` are source ids.
    """

    settings: InterviewSettings
    _loaded: dict[tuple[Kind, str], QuestionPrompt] = field(default_factory=dict)

    def for_passage(self, passage: Passage, lang: str) -> QuestionPrompt:
        """Return the prompt for a passage in the language of its questions."""
        kind = self.kind_of(passage.source_id)
        if (kind, lang) not in self._loaded:
            path, examples = self.settings.prompt, self.settings.examples
            self._loaded[kind, lang] = load_prompt(lang, path, kind, examples)
        return self._loaded[kind, lang]

    def kind_of(self, source_id: str) -> Kind:
        """Return the kind of a source: its own, the recipe's, else autobiography."""
        default: Kind = "autobiography" if self.settings.kind == "auto" else self.settings.kind
        return self.settings.kinds.get(source_id, default)


def load_prompt(
    lang: str,
    user_path: Path | None,
    kind: Kind = "autobiography",
    examples: Sequence[Example] = (),
) -> QuestionPrompt:
    """Read the user's prompt file or the shipped one, Chinese for zh and English otherwise.

    The file of the kind defines $voice, $advice and the question types for both. Raise
    RecipeError when the file lacks a section or never shows the passage.
    """
    prompt_lang = "zh" if lang == "zh" else "en"
    shipped_path = PROMPTS / f"interview.{prompt_lang}.txt"
    path = user_path or shipped_path
    text = _read_text(path)
    sections = _checked_sections(text, path, "interview")
    kind_text = _read_text(PROMPTS / f"kind.{kind}.{prompt_lang}.txt")
    kind_sections = sections_of(kind_text)
    sections["system"] = _with_kind(sections["system"], kind_sections)
    own_examples = [example.model_dump() for example in examples]
    content = (text, kind_text, language_name(lang), own_examples, SCHEMA)
    hashed = hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode())
    return QuestionPrompt(
        sections=sections,
        version=hashed.hexdigest()[:8],
        prompt_lang=prompt_lang,
        kind=kind,
        types=tuple(kind_sections["types"].split(", ")),
        examples=_example_text(examples, sections_of(_read_text(shipped_path)) | sections),
    )


def language_name(lang: str) -> str:
    """Return the name of a language in a prompt, or its code where it has no name here."""
    return _LANGUAGES.get(lang, f"the language with the code {lang!r}")


def load_task_prompt(
    name: str, lang: str, schema: Mapping[str, object], user_path: Path | None = None
) -> Prompt:
    """Read the prompt of a task, Chinese for zh and English otherwise, or the user's file.

    Raise RecipeError when the user's file lacks a section or never shows the passage.
    """
    path = user_path or PROMPTS / f"{name}.{'zh' if lang == 'zh' else 'en'}.txt"
    text = _read_text(path, name)
    sections = _checked_sections(text, path, name) if user_path else sections_of(text)
    version = hashlib.sha256((text + json.dumps(schema)).encode()).hexdigest()[:8]
    return Prompt(sections=sections, version=version)


def _read_text(path: Path, name: str = "interview") -> str:
    key = "interview.prompt" if name == "interview" else f"interview.{name}_prompt"
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"cannot read the prompt file {str(path)!r}: {error}",
            f"give a UTF-8 text file in {key}",
        ) from None


def _checked_sections(text: str, path: Path, name: str) -> dict[str, str]:
    sections = sections_of(text)
    missing = [section for section in _SECTIONS if section not in sections]
    if missing or "$passage" not in sections["user"]:
        what = f"section {missing[0]!r}" if missing else "$passage in its section 'user'"
        raise RecipeError(
            f"the prompt file {str(path)!r} has no {what}",
            f"copy {str(PROMPTS / f'{name}.en.txt')!r} and change the copy",
        )
    return sections


def sections_of(text: str) -> dict[str, str]:
    """Return the sections of a prompt file by name; a line `=== name ===` begins each."""
    parts = _SECTION.split(text)
    return {name: body.strip("\n") for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def _with_kind(system: str, kind_sections: Mapping[str, str]) -> str:
    """Return the system message with the texts of the kind of source and a slot for examples."""
    texts = {name: kind_sections[name] for name in ("voice", "advice")}
    filled = Template(system).safe_substitute(texts)
    return filled if "$examples" in filled else filled + "$examples"


def _example_text(examples: Sequence[Example], sections: Mapping[str, str]) -> str:
    if not examples:
        return ""
    template = Template(sections["example"])
    lines = [
        template.safe_substitute(
            example_passage=" ".join(neutralise(example.passage).split()),
            example_question=" ".join(neutralise(example.question).split()),
        )
        for example in examples
    ]
    return "\n\n".join(["", sections["examples"], *lines])


def fill_prompt(passage: Passage, persona: str, lang: str, prompt: QuestionPrompt) -> FilledPrompt:
    """Return the messages; the passage's text seeds the length and the types that they ask for.

    The same text gets the same messages in every run, so a kept reply stays valid.
    """
    seed = random.Random(f"brief {passage.text}")
    length_class = seed.choices((1, 2, 3), weights=LENGTH_SHARES)[0]
    types = _shuffled(prompt.types, seed)
    messages = prompt.messages(
        {"passage": passage.text, "context": passage.context or ""},
        persona=neutralise(persona),
        types=", ".join(types[:4]),
        length=_LENGTHS[prompt.prompt_lang][length_class - 1],
        language=language_name(lang),
        examples=prompt.examples,
    )
    return FilledPrompt(messages=messages, types=types, length_class=length_class)


def length_words(lang: str, seed: random.Random) -> str:
    """Return the words that ask for a length, drawn by LENGTH_SHARES."""
    return seed.choices(_LENGTHS["zh" if lang == "zh" else "en"], weights=LENGTH_SHARES)[0]


def repeats_prompt(question: str, instructions: str) -> bool:
    """Return whether a question repeats its instructions, as an injected passage may demand.

    A run of this many common words, examples included, is no coincidence.
    """
    question_words = words(question)
    length = _COPIED_RUN * (2 if is_cjk(question) else 1)
    # Splitting the instructions into words takes longer than all other rules; it is seldom needed.
    return (
        _contains_run(instructions, question_words, length)
        and longest_shared_run(question_words, words(instructions)) >= length
    )


def _contains_run(text: str, question_words: Sequence[str], length: int) -> bool:
    """Return whether a text contains each of `length` neighbouring words, in any place."""
    lowered = _lowered(text)
    last = length - 1
    while last < len(question_words):
        run = range(last, last - length, -1)
        missing = next((n for n in run if question_words[n] not in lowered), None)
        if missing is None:
            return True
        last = missing + length  # every run before holds the missing word
    return False


@lru_cache(maxsize=64)
def _lowered(text: str) -> str:
    return text.replace("’", "'").lower()


def _shuffled(types: Sequence[str], seed: random.Random) -> tuple[str, ...]:
    """Return the types in a random order that favours the first ones."""
    # Weighted sampling after Efraimidis and Spirakis: u ** (1 / weight), the greatest first.
    weights = range(len(types), 0, -1)
    keys = {name: seed.random() ** (1 / w) for name, w in zip(types, weights, strict=True)}
    return tuple(sorted(types, key=lambda name: -keys[name]))


def delimiter(*texts: str) -> str:
    """Return 12 hex digits that none of the texts contains, the same for the same texts.

    They are a hash of all texts, so nobody can write them into a text beforehand.
    """
    for attempt in range(1_000_000):
        digits = hashlib.sha256("\x1f".join([str(attempt), *texts]).encode()).hexdigest()[:12]
        if not any(digits in text for text in texts):
            return digits
    raise AssertionError("no text contains a million hashes of itself")

"""What the interviewer is told: prompt files, filled for one passage, versioned by content."""

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
from memoirist.generators.prompts.source_kinds import KINDS, Kind
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
    """One prompt in its sections; `version` is 8 hex digits of all that it is made of."""

    sections: Mapping[str, str]
    version: str

    def messages(self, texts: Mapping[str, str], **words: str) -> tuple[dict[str, str], ...]:
        """Return the system and the user message, with the texts and the words in their slots.

        Texts come from outside: control tokens in them are made harmless, and they are marked off
        by a delimiter that stands in none of them. A section "context" is filled in as $before
        where the text of that name is not empty.
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

    tongue: str
    kind: Kind = "autobiography"
    types: Sequence[str] = QUESTION_TYPES
    examples: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """The messages for one passage, with what its seed directs the interviewer to."""

    messages: tuple[dict[str, str], ...]
    types: tuple[str, ...]
    length_class: int


@dataclass(slots=True)
class Prompts:
    """The prompts of one run by kind of source and language, each read once.

    `settings.kinds` has been resolved to source ids by then.
    """

    settings: InterviewSettings
    _read: dict[tuple[Kind, str], QuestionPrompt] = field(default_factory=dict)

    def of(self, passage: Passage, lang: str) -> QuestionPrompt:
        """Return the prompt for a passage in the language of its questions."""
        return self.get(self.kind_of(passage.source_id), lang)

    def kind_of(self, source_id: str) -> Kind:
        """Return the kind of a source: its own, the recipe's, else that of a life's story."""
        general: Kind = "autobiography" if self.settings.kind == "auto" else self.settings.kind
        return self.settings.kinds.get(source_id, general)

    def get(self, kind: Kind, lang: str) -> QuestionPrompt:
        """Return the prompt of a kind."""
        known = self._read.get((kind, lang))
        if known is None:
            own, examples = self.settings.prompt, self.settings.examples
            known = self._read[kind, lang] = load_prompt(lang, own, kind, examples)
        return known


def load_prompt(
    lang: str,
    own: Path | None,
    kind: Kind = "autobiography",
    examples: Sequence[Example] = (),
) -> QuestionPrompt:
    """Read the user's own prompt file or the shipped one, Chinese for zh and English otherwise.

    The kind's file gives $voice, $advice and the types, also to the user's own prompt. Raise
    RecipeError when the file lacks a section or never shows the passage.
    """
    tongue = "zh" if lang == "zh" else "en"
    path = own or PROMPTS / f"interview.{tongue}.txt"
    text = _text_of(path)
    shipped = text if own is None else _text_of(PROMPTS / f"interview.{tongue}.txt")
    sections = _checked_sections(text, path, "interview")
    kind_text = _text_of(PROMPTS / f"kind.{kind}.{tongue}.txt")
    of_kind = sections_of(kind_text)
    sections["system"] = _spoken_to(sections["system"], of_kind)
    told = [example.model_dump() for example in examples]
    made_of = (text, kind_text, language_name(lang), told, SCHEMA)
    hashed = hashlib.sha256(json.dumps(made_of, sort_keys=True, ensure_ascii=False).encode())
    return QuestionPrompt(
        sections=sections,
        version=hashed.hexdigest()[:8],
        tongue=tongue,
        kind=kind,
        types=tuple(of_kind["types"].split(", ")),
        examples=_written_out(examples, sections_of(shipped) | sections),
    )


def prompts_version(lang: str, settings: InterviewSettings) -> str:
    """Return one version of the prompts of all kinds, with which kind each source is."""
    prompts = Prompts(settings)
    versions = [prompts.get(kind, lang).version for kind in KINDS]
    told = json.dumps([versions, settings.kind, settings.kinds], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:8]


def language_name(lang: str) -> str:
    """Return the name by which a prompt asks for a language; a code without one stands for it."""
    return _LANGUAGES.get(lang, f"the language with the code {lang!r}")


def load_task_prompt(
    name: str, lang: str, schema: Mapping[str, object], own: Path | None = None
) -> Prompt:
    """Read the prompt of a task, Chinese for zh and English otherwise, or the user's `own` file.

    Its version is its content. Raise RecipeError when the own file lacks a section or never shows
    the passage.
    """
    path = own or PROMPTS / f"{name}.{'zh' if lang == 'zh' else 'en'}.txt"
    text = _text_of(path, name)
    sections = _checked_sections(text, path, name) if own else sections_of(text)
    version = hashlib.sha256((text + json.dumps(schema)).encode()).hexdigest()[:8]
    return Prompt(sections=sections, version=version)


def _text_of(path: Path, name: str = "interview") -> str:
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
            f"the prompt file {str(path)!r} lacks {what}",
            f"copy {str(PROMPTS / f'{name}.en.txt')!r} and change that",
        )
    return sections


def sections_of(text: str) -> dict[str, str]:
    """Return the sections of a prompt file by name, as `=== name ===` lines part them."""
    parts = _SECTION.split(text)
    return {name: body.strip("\n") for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def _spoken_to(system: str, of_kind: Mapping[str, str]) -> str:
    """Fill in what is told of the kind of source, and make room for examples."""
    filled = Template(system).safe_substitute(voice=of_kind["voice"], advice=of_kind["advice"])
    return filled if "$examples" in filled else filled + "$examples"


def _written_out(examples: Sequence[Example], sections: Mapping[str, str]) -> str:
    if not examples:
        return ""
    each = Template(sections["example"])
    lines = [
        each.safe_substitute(
            example_passage=" ".join(neutralise(example.passage).split()),
            example_question=" ".join(neutralise(example.question).split()),
        )
        for example in examples
    ]
    return "\n\n".join(["", sections["examples"], *lines])


def write_brief(passage: Passage, persona: str, lang: str, prompt: QuestionPrompt) -> Brief:
    """Return the messages; the passage's text seeds the length and the types that are wanted.

    The same text gets the same messages on every run, so that a reply can be kept by them.
    """
    seed = random.Random(f"brief {passage.text}")
    length_class = seed.choices((1, 2, 3), weights=LENGTH_SHARES)[0]
    types = _shuffled(prompt.types, seed)
    messages = prompt.messages(
        {"passage": passage.text, "context": passage.context or ""},
        persona=neutralise(persona),
        types=", ".join(types[:4]),
        length=_LENGTHS[prompt.tongue][length_class - 1],
        language=language_name(lang),
        examples=prompt.examples,
    )
    return Brief(messages=messages, types=types, length_class=length_class)


def length_words(lang: str, seed: random.Random) -> str:
    """Return the words that ask for a length, drawn from the mix of lengths."""
    tongue = "zh" if lang == "zh" else "en"
    return seed.choices(_LENGTHS[tongue], weights=LENGTH_SHARES)[0]


def repeats_brief(question: str, brief: Brief) -> bool:
    """Tell whether a question repeats its instructions, as a passage may have ordered it to.

    A question shares a run of so many words with them by no chance; the run covers the examples.
    """
    asked = words(question)
    most = _COPIED_RUN * (2 if is_cjk(question) else 1)
    told = brief.messages[0]["content"]
    # To cut the instructions into words takes longer than all other rules, and is seldom needed.
    return _all_stand_in(asked, told, most) and longest_shared_run(asked, words(told)) >= most


def _all_stand_in(asked: Sequence[str], told: str, most: int) -> bool:
    """Tell whether so many words in a row each stand somewhere in a text."""
    lowered = _lowered(told)
    last = most - 1
    while last < len(asked):
        missing = next((n for n in range(last, last - most, -1) if asked[n] not in lowered), None)
        if missing is None:
            return True
        last = missing + most  # no such run has the missing word in it
    return False


@lru_cache(maxsize=64)
def _lowered(told: str) -> str:
    return told.replace("’", "'").lower()


def _shuffled(types: Sequence[str], seed: random.Random) -> tuple[str, ...]:
    """Return the types in a chance order in which the first of the kind's come early more often."""
    # The way of Efraimidis and Spirakis: u ** (1 / weight), the greatest first.
    weights = range(len(types), 0, -1)
    drawn = {kind: seed.random() ** (1 / w) for kind, w in zip(types, weights, strict=True)}
    return tuple(sorted(types, key=lambda kind: -drawn[kind]))


def delimiter(*texts: str) -> str:
    """Return 12 hex digits that stand in none of the texts, the same for the same texts.

    They hang on the whole of the texts, so nobody can write them into one beforehand; where they
    stand there nevertheless, others are taken.
    """
    for turn in range(1_000_000):
        digits = hashlib.sha256("\x1f".join([str(turn), *texts]).encode()).hexdigest()[:12]
        if not any(digits in text for text in texts):
            return digits
    raise AssertionError("no text holds a million digests of itself")

"""What the interviewer is told: prompt files, filled for one passage, versioned by content."""

from __future__ import annotations

import hashlib
import json
import random
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from data.errors import RecipeError
from data.nouns import Passage
from data.text import neutralise
from generators.replies import SCHEMA
from generators.templates import PROMPTS, QUESTION_TYPES

_SECTION = re.compile(r"^=== (\w+) ===\s*$", re.MULTILINE)
_SECTIONS = ("system", "context", "user", "repair")
_LENGTHS = {
    "en": ("at most 8 words", "between 9 and 20 words", "between 21 and 45 words"),
    "zh": ("不超过 12 个字", "13 到 30 个字", "31 到 65 个字"),
}
_LANGUAGES = {
    "en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian",
    "nl": "Dutch", "pt": "Portuguese", "zh": "中文", "ja": "Japanese", "ko": "Korean",
    "und": "the language of the passage",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One prompt file in its sections; `version` is 8 hex digits of its text and the schema."""

    sections: Mapping[str, str]
    version: str
    tongue: str

    def repair(self, fault: str) -> str:
        """Return the message that asks for an unusable reply again."""
        return Template(self.sections["repair"]).safe_substitute(fault=fault)


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """The messages for one passage, with what its seed directs the interviewer to."""

    messages: tuple[dict[str, str], ...]
    types: tuple[str, ...]
    length_class: int


def load_prompt(lang: str, own: Path | None) -> Prompt:
    """Read the user's own prompt file or the shipped one, Chinese for zh and English otherwise.

    Raise RecipeError when the file lacks a section or never shows the passage.
    """
    tongue = "zh" if lang == "zh" else "en"
    path = own or PROMPTS / f"interview.{tongue}.txt"
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read the prompt file {str(path)!r}: {error}",
                          "give a UTF-8 text file in interview.prompt") from None  # fmt: skip
    parts = _SECTION.split(text)
    sections = {name: body.strip("\n") for name, body in zip(parts[1::2], parts[2::2], strict=True)}
    missing = [name for name in _SECTIONS if name not in sections]
    if missing or "$passage" not in sections.get("user", ""):
        what = f"section {missing[0]!r}" if missing else "$passage in its section 'user'"
        raise RecipeError(
            f"the prompt file {str(path)!r} lacks {what}",
            f"copy {str(PROMPTS / 'interview.en.txt')!r} and change that",
        )
    hashed = hashlib.sha256((text + json.dumps(SCHEMA, sort_keys=True)).encode())
    return Prompt(sections=sections, version=hashed.hexdigest()[:8], tongue=tongue)


def write_brief(passage: Passage, persona: str, lang: str, prompt: Prompt) -> Brief:
    """Return the messages; the passage's id seeds the length and the types that are wanted.

    The delimiters carry a fresh random number, so that no text can close them from within.
    """
    seed = random.Random(f"brief {passage.id}")
    length_class = seed.choices((1, 2, 3), weights=(30, 50, 20))[0]
    types = tuple(seed.sample(QUESTION_TYPES, len(QUESTION_TYPES)))
    nonce = secrets.token_hex(6)
    filled = {
        "persona": neutralise(persona),
        "types": ", ".join(types[:4]),
        "length": _LENGTHS[prompt.tongue][length_class - 1],
        "language": _LANGUAGES.get(lang, lang),
        "open": f"<material-{nonce}>",
        "close": f"</material-{nonce}>",
        "passage": neutralise(passage.text),
        "context": neutralise(passage.context or ""),
    }
    before = ""
    if passage.context:
        before = Template(prompt.sections["context"]).safe_substitute(filled).strip() + "\n\n"
    messages = tuple(
        {
            "role": role,
            "content": Template(prompt.sections[role]).safe_substitute(filled, before=before),
        }
        for role in ("system", "user")
    )
    return Brief(messages=messages, types=types, length_class=length_class)

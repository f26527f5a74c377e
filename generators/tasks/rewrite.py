"""The rewrite task: an LLM mends a passage so that it stands alone, within strict bounds.

Code checks what it returns, not an LLM: that tells a repair from a new text. The thresholds are our
own, set so that a doubtful rewrite is refused: a refused answer keeps its original text.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import ClassVar

from memoirist.data.schema.records import Passage, content_id
from memoirist.data.text.language_detection import detect_language
from memoirist.data.text.sanitizer import has_control, neutralise
from memoirist.data.text.words import (
    content_stems,
    ends_sentence,
    is_cjk,
    stop_words,
    word_spans,
    words,
)
from memoirist.generators.prompts.prompt_templates import Prompt, load_task_prompt, repeats_prompt
from memoirist.generators.settings import InterviewSettings
from memoirist.generators.tasks.base import DETECTION_CHARS, LLMTask, TaskItem
from memoirist.generators.tasks.reply_parser import find_object, object_schema, strip_reasoning

SCHEMA = object_schema(needs_repair={"type": "boolean"}, text={"type": "string"})
_KEYS = frozenset(SCHEMA["properties"])

_WORDS = tomllib.loads(Path(__file__).with_name("rewrite_words.toml").read_text("utf-8"))
# The words of each language, and common surnames that are seldom another word.
_NUMBER_WORDS, _NEGATIONS = (
    {lang: frozenset(listed.split()) for lang, listed in _WORDS[name].items()}
    for name in ("numbers", "negations")
)
_SURNAMES = frozenset(_WORDS["surnames"])

# Increase it when these rules change: the kept replies are then checked again.
BOUNDS_VERSION = 1
_MOST_LENGTH = 0.2
# Content words that are not in the passage may be corrected misheard words, but not new facts.
_MOST_NEW = 0.04
_LEAST_NEW = 2
# Words in a row that are added or deleted; a Chinese character counts as half a word.
_LONGEST_ADDED = 6
_LONGEST_LEFT_OUT = 15
_NEGATED_AGAIN = 4
_MARKS = frozenset(".,?!'\"“”‘’-")
_CJK_MARKS = frozenset("。，、？！“”‘’「」『』《》…—·")
_LINE_MARKS = re.compile(r"^[ \t]*(?:#{1,6}[ \t]|[-*+•][ \t]|\d{1,2}[.)][ \t]|>|\|)", re.MULTILINE)
_SPAN_MARKS = re.compile(r"\*\*|__|`|~~|\]\(")
_LETTERS = re.compile(r"[^\W\d_]+")
_LATIN = re.compile(r"[A-Za-z]+")
_DIGITS = re.compile(r"\d+(?:[.,:/]\d+)*")
_NUMERALS = re.compile(r"[〇零二三四五六七八九十百千万萬亿億两兩]+")


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
        return "it contains no JSON object with the keys needs_repair and text"
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
            fault = "the text repeats the instructions"
        change = round(changed_share(original, text), 3)
        return Outcome(text=None if fault else text, change=change, fault=fault)

    def _prompt(self, lang: str) -> Prompt:
        lang = "zh" if lang == "zh" else "en"
        if lang not in self._prompts:
            path = self.settings.polish_prompt
            self._prompts[lang] = load_task_prompt("polish", lang, SCHEMA, path)
        return self._prompts[lang]


def changed_share(original: str, rewritten: str) -> float:
    """Return the share of the words that were changed, 0 to 1 and more.

    Deleted, added and replaced words count, over the words of the original; marks and capitals
    do not. A character of Chinese, Japanese and Korean is a word.
    """
    changed = sum(max(deleted, added) for deleted, added in _changes(original, rewritten))
    return changed / max(1, len(words(original)))


def _changes(original: str, rewritten: str) -> list[tuple[int, int]]:
    """Return for each difference how many words in a row were deleted and added."""
    steps = SequenceMatcher(None, words(original), words(rewritten), autojunk=False).get_opcodes()
    return [(i2 - i1, j2 - j1) for tag, i1, i2, j1, j2 in steps if tag != "equal"]


def match_layout(rewritten: str, original: str) -> str:
    """Return the rewritten text with the paragraph breaks and apostrophes of the original."""
    lines = [" ".join(line.split()) for line in rewritten.strip().splitlines() if line.strip()]
    text = ("\n\n" if "\n\n" in original else "\n").join(lines)
    return text.replace("'", "’") if "’" in original and "'" not in original else text


def rewrite_fault(original: str, rewritten: str, max_change: float) -> str | None:
    """Return the first check that a rewritten text fails, in words for the model, or None."""
    if not rewritten.strip():
        return "the text is empty"
    if has_control(rewritten) or neutralise(rewritten) != rewritten:
        return "the text contains a control token of a chat format"
    change = changed_share(original, rewritten)
    fault = _language(original, rewritten) or _length(original, rewritten)
    if fault is None and change > max_change:
        fault = f"{change:.0%} of the words were changed, more than {max_change:.0%}"
    if fault is not None:
        return fault
    lang = detect_language(original)
    return (
        _runs(original, rewritten)
        or _form(original, rewritten)
        or _numbers(original, rewritten, lang)
        or _names(original, rewritten, lang)
        or _negations(original, rewritten, lang)
        or _facts(original, rewritten, lang)
    )


def _form(original: str, rewritten: str) -> str | None:
    for marks in (_LINE_MARKS, _SPAN_MARKS):
        if len(marks.findall(rewritten)) > len(marks.findall(original)):
            return "the text contains Markdown or a list"
    allowed = _MARKS | _CJK_MARKS if is_cjk(original) else _MARKS
    new_marks = {
        character
        for character in set(rewritten) - set(original) - allowed
        if unicodedata.category(character)[0] in "PS"
    }
    if new_marks:
        return f"the text has marks that are not in the passage: {' '.join(sorted(new_marks))}"
    if _n_lines(rewritten) != _n_lines(original):
        return f"the text has {_n_lines(rewritten)} paragraphs, the passage {_n_lines(original)}"
    if _n_capitals(rewritten) > _n_capitals(original):
        return "the text has more words in capitals than the passage"
    if ends_sentence(original) and not ends_sentence(rewritten):
        return "the text breaks off"
    return None


def _n_capitals(text: str) -> int:
    return sum(len(word) > 1 and word.isupper() for word in _LETTERS.findall(text))


def _n_lines(text: str) -> int:
    return sum(bool(line.strip()) for line in text.splitlines())


def _language(original: str, rewritten: str) -> str | None:
    expected, actual = detect_language(original), detect_language(rewritten)
    if actual in {expected, "und"}:
        return None
    return f"the text reads as {actual!r}, the passage as {expected!r}"


def _length(original: str, rewritten: str) -> str | None:
    expected, actual = len(words(original)), len(words(rewritten))
    if abs(actual - expected) <= _MOST_LENGTH * expected:
        return None
    return (
        f"the text has {actual} words, the passage {expected}: more than {_MOST_LENGTH:.0%} apart"
    )


def _runs(original: str, rewritten: str) -> str | None:
    """Refuse long additions and deletions: a repair changes words, not sentences."""
    scale = 2 if is_cjk(original) else 1
    for deleted, added in _changes(original, rewritten):
        if added - deleted > _LONGEST_ADDED * scale:
            return (
                f"{added - deleted} words in a row were added, more than {_LONGEST_ADDED * scale}"
            )
        missing = deleted - added
        if missing > _LONGEST_LEFT_OUT * scale:
            return f"{missing} words in a row are missing, more than {_LONGEST_LEFT_OUT * scale}"
    return None


def _numbers(original: str, rewritten: str, lang: str) -> str | None:
    """Refuse a number that is new, changed, or out of order; a number may be left out."""
    remaining = iter(_numbers_in(original, lang))
    for number in _numbers_in(rewritten, lang):
        if number not in remaining:
            return f"the number {number!r} is not in the passage, or is elsewhere in it"
    return None


def _numbers_in(text: str, lang: str) -> list[str]:
    if is_cjk(text):
        matches = [*_DIGITS.finditer(text), *_NUMERALS.finditer(text)]
        return [match.group() for match in sorted(matches, key=lambda match: match.start())]
    number_words = _NUMBER_WORDS.get(lang, frozenset())
    digits = [(match.start(), match.group()) for match in _DIGITS.finditer(text)]
    numerals = [
        (start, part)
        for word, start, _ in word_spans(text)
        for part in word.split("-")
        if part in number_words
    ]
    return [number for _, number in sorted(digits + numerals)]


def _names(original: str, rewritten: str, lang: str) -> str | None:
    """Refuse a capitalised word that the passage does not have, except function words.

    This holds at the beginning of a sentence too, where no rule tells a name from another word.
    """
    original_words = {word.lower() for word in _LETTERS.findall(original)}
    if is_cjk(original):
        runs = _new_characters(original, rewritten)
        name = next((run for run in runs if len(run) > 1 or run in _SURNAMES), None)
        latin = next((word for word in _LATIN.findall(rewritten) if word not in original), None)
        name = name or latin
        return f"{name!r} is not in the passage and looks like a name" if name else None
    allowed = stop_words(lang) | stop_words(f"{lang}.more") | original_words
    for word in _LETTERS.findall(rewritten):
        if word[0].isupper() and word.lower() not in allowed:
            return f"{word!r} is not in the passage and looks like a name"
    return None


def _new_characters(original: str, rewritten: str) -> list[str]:
    """Return the runs of content characters that the passage does not contain."""
    known = set(original) | stop_words("zh")
    runs: list[str] = [""]
    for character in rewritten:
        if character.isalpha() and not character.isascii() and character not in known:
            runs[-1] += character
        elif runs[-1]:
            runs.append("")
    return [run for run in runs if run]


def _negations(original: str, rewritten: str, lang: str) -> str | None:
    """Refuse more or fewer negations; one that a false start repeats may be left out."""
    negations = _NEGATIONS.get("zh" if is_cjk(original) else lang, frozenset())
    n_min = n_max = 0
    last_index: dict[tuple[str, str], int] = {}
    previous = ""
    for index, word in enumerate(words(original)):
        if word in negations or word.endswith("n't"):
            n_max += 1
            last = last_index.get((previous, word), -_NEGATED_AGAIN - 1)
            n_min += index - last > _NEGATED_AGAIN and previous != word
            last_index[previous, word] = index
        previous = word
    n = sum(word in negations or word.endswith("n't") for word in words(rewritten))
    if n_min <= n <= n_max:
        return None
    return f"negations: {n} in the text, {n_max} in the passage"


def _facts(original: str, rewritten: str, lang: str) -> str | None:
    """Refuse more new content words than corrections need."""
    max_new = max(_LEAST_NEW, int(_MOST_NEW * len(words(original))))
    if is_cjk(original):
        new = set("".join(_new_characters(original, rewritten)))
    else:
        new = content_stems(words(rewritten), lang) - content_stems(words(original), lang)
    if len(new) <= max_new:
        return None
    listing = ", ".join(sorted(new)[:6])
    return f"{len(new)} words are not in the passage, more than {max_new}: {listing}"

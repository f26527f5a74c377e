"""The offline interviewer: questions from templates and the key phrases of each passage, no LLM.

The templates are read from the files under `prompts/`.
Deterministic: the passage's id seeds every choice, and the passages are processed in the order of
their ids, whatever their order in the argument.
"""

from __future__ import annotations

import hashlib
import random
import re
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Literal

from memoirist.data.curation.pairing import CurateSettings
from memoirist.data.curation.rules import check_questions
from memoirist.data.schema.records import Passage, Question, Rows, Verdict, content_id
from memoirist.data.text.word_overlap import longest_shared_run
from memoirist.data.text.words import count_words, words
from memoirist.generators.offline.phrases import ChinesePhrases, Phrase, Phrases, shares_word
from memoirist.generators.prompts.prompt_templates import PROMPTS
from memoirist.generators.tasks.candidates import length_class, opener
from memoirist.generators.tasks.reply_parser import QUESTION_TYPES

Form = Literal["core", "lead", "bare"]
_SLOT = re.compile(r"\{(\w+)\}")
NEXT_STEP = "start an LLM server and set --base-url and --model, then run `memoirist ask` again"
_MAX_OPENER_SHARE = 0.07  # below the 8 % of QUALITY.md, so that two batches together stay under it
_MAX_RUN = {"zh": 6}
_RULES = CurateSettings.model_validate({"min_score": 0})
_ALIKE = 0.7  # character 5-gram Jaccard from which `curate` calls two questions duplicates
_ANY = {
    "core": {"person", "place", "own", "general", "name"},
    "lead": {"own", "general", "name"},  # people and places have their own leads
}


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


@dataclass(frozen=True, slots=True)
class _Candidate:
    text: str
    template: Template


@dataclass(slots=True)
class _AskedQuestions:
    """The questions of the batch so far: opening words and, per template, the shingles."""

    expected: int
    openers: Counter[str] = field(default_factory=Counter)
    shingles: dict[str, list[frozenset[str]]] = field(default_factory=lambda: defaultdict(list))
    texts: set[str] = field(default_factory=set)

    def opener_full(self, text: str) -> bool:
        """Return whether the first two words already have their share of the batch."""
        allowed = max(2, int(self.expected * _MAX_OPENER_SHARE))
        return self.openers[opener(text)] >= allowed

    def resembles(self, candidate: _Candidate) -> bool:
        """Return whether a question of the same template is so similar that one is dropped."""
        if candidate.text in self.texts:
            return True
        shingles = _shingles(candidate.text)
        return any(
            len(shingles & other) >= _ALIKE * len(shingles | other)
            for other in self.shingles[candidate.template.text]
        )

    def add(self, candidate: _Candidate) -> None:
        """Add a question."""
        self.openers[opener(candidate.text)] += 1
        self.shingles[candidate.template.text].append(_shingles(candidate.text))
        self.texts.add(candidate.text)

    def remove(self, candidate: _Candidate) -> None:
        """Remove a question that a rule refuses."""
        self.openers[opener(candidate.text)] -= 1
        self.shingles[candidate.template.text].remove(_shingles(candidate.text))
        self.texts.discard(candidate.text)


def ask_offline(passages: Sequence[Passage], lang: str, now: datetime, persona: str = "") -> Rows:
    """Return one question of origin "template" for each passage, or a verdict with the reason.

    `lang` is the language of the passages; without a template file for it, each passage gets a
    verdict. No question names a phrase that shares a word with `persona`.
    """
    if lang not in offline_languages():
        known = ", ".join(offline_languages())
        reason = f"the offline interviewer has no questions in {lang!r}, only in {known}"
        verdicts = [_verdict(passage, "question_language", reason, now) for passage in passages]
        return Rows(verdicts=verdicts)
    templates = load_templates(lang)
    phrase_reader = _PhraseReader(passages, templates, persona)
    asked = _AskedQuestions(expected=len(passages))
    questions: dict[str, Question] = {}
    verdicts = []
    refused: dict[str, dict[str, str]] = defaultdict(dict)
    due = sorted(passages, key=lambda passage: passage.id)
    # The rules judge all chosen questions at once; the few passages whose question they refuse are
    # asked once more.
    while due:
        chosen: list[tuple[Passage, _Candidate]] = []
        for passage in due:
            candidate, reason = _choose(passage, phrase_reader, asked, refused[passage.id])
            if candidate is None:
                rule, _, detail = reason.partition(": ")
                told = f"no template question passes the rules; the last: {detail}"
                verdicts.append(_verdict(passage, rule, told, now))
            else:
                asked.add(candidate)
                chosen.append((passage, candidate))
        pairs = [(candidate.text, passage.text) for passage, candidate in chosen]
        due = []
        for (passage, candidate), checked in zip(
            chosen, check_questions(pairs, lang, _RULES), strict=True
        ):
            if checked.rule is None:
                questions[passage.id] = _question(passage, candidate, templates)
            else:
                asked.remove(candidate)
                refused[passage.id][candidate.text] = f"{checked.rule}: {checked.reason}"
                due.append(passage)
    return Rows(
        questions=[questions[passage.id] for passage in passages if passage.id in questions],
        verdicts=verdicts,
    )


class _PhraseReader:
    """Finds the key phrases of the passages of a batch."""

    def __init__(self, passages: Sequence[Passage], templates: TemplateSet, persona: str) -> None:
        self.templates = templates
        self._persona = persona
        self._persona_words = frozenset(word for word in words(persona) if len(word) > 2)
        texts = [passage.text for passage in passages]
        self._finder: Phrases | ChinesePhrases = (
            ChinesePhrases(texts, templates.words)
            if templates.lang == "zh"
            else Phrases(texts, templates.words)
        )

    def phrases(self, text: str) -> list[Phrase]:
        """Return the phrases that a question may name, best first."""
        phrases = self._finder.find(text)
        if self.templates.lang == "zh":
            return [phrase for phrase in phrases if phrase.text not in self._persona]
        return [phrase for phrase in phrases if not shares_word(phrase.text, self._persona_words)]


def _choose(
    passage: Passage,
    phrase_reader: _PhraseReader,
    asked: _AskedQuestions,
    refused: Mapping[str, str],
) -> tuple[_Candidate | None, str]:
    """Return the first good question, else a good one that resembles another one.

    `refused` are the reasons of the rules by question.
    """
    templates = phrase_reader.templates
    fallback: _Candidate | None = None
    reason = "question_none: no template fits"
    tried: set[str] = set()
    traditional = templates.lang == "zh" and _is_traditional(passage.text, templates)
    for candidate in _candidates(passage, phrase_reader):
        if traditional:
            candidate = _Candidate(_to_traditional(candidate.text, templates), candidate.template)
        if candidate.text in tried or asked.opener_full(candidate.text):
            continue
        tried.add(candidate.text)
        resembles = asked.resembles(candidate)
        if resembles and fallback is not None:
            continue
        fault = refused.get(candidate.text) or _spoils(candidate.text, passage.text, templates.lang)
        if fault is not None:
            reason = fault
        elif resembles:
            fallback = candidate
        else:
            return candidate, ""
    return fallback, reason


def _is_traditional(text: str, templates: TemplateSet) -> bool:
    """Return whether the text is written in traditional characters, not simplified ones."""
    pairs = [pair for pair in templates.words["traditional"] if pair[0] != pair[1]]
    simplified = sum(text.count(pair[0]) for pair in pairs if pair[0] not in "后里于并")
    return sum(text.count(pair[1]) for pair in pairs) > simplified


def _to_traditional(text: str, templates: TemplateSet) -> str:
    """Write a template in traditional characters."""
    return text.translate({ord(pair[0]): pair[1] for pair in templates.words["traditional"]})


def _spoils(question: str, answer: str, lang: str) -> str | None:
    run = longest_shared_run(words(question), words(answer))
    if run >= _MAX_RUN.get(lang, 4):
        return f"question_run: {run} words in a row are also in the answer"
    return None


def _candidates(passage: Passage, phrase_reader: _PhraseReader) -> Iterator[_Candidate]:
    """Yield questions, best first: by phrase, then type, then the length drawn by the seed."""
    templates = phrase_reader.templates
    seed = random.Random(passage.id)
    types = _rank_types(passage.text, templates, seed)
    length = seed.choices((1, 2, 3), weights=(30, 50, 20))[0]
    phrases = phrase_reader.phrases(passage.text)[:6]
    if phrases:
        phrases = [p for p in phrases if p.score >= 0.3 * phrases[0].score]
    for rank, phrase in enumerate(phrases):
        for question_type in types[: 3 if rank else 4]:
            yield from _filled(templates, question_type, phrase, length, seed)
    for question_type in types:
        bare = [t for t in templates.of_type(question_type) if t.form == "bare"]
        for template in seed.sample(bare, min(8, len(bare))):
            yield _Candidate(template.fill(""), template)


def _filled(
    templates: TemplateSet, question_type: str, phrase: Phrase, length: int, seed: random.Random
) -> Iterator[_Candidate]:
    filled = [
        (_sort_key(template, length, templates.lang, phrase, seed), template)
        for template in templates.of_type(question_type)
        if _fits(template, phrase.kind)
    ]
    for _, template in sorted(filled, key=lambda pair: pair[0])[:24]:
        yield _Candidate(template.fill(phrase.text), template)


def _fits(template: Template, kind: str) -> bool:
    if template.form == "bare":
        return False
    return template.kind == kind or (template.kind == "any" and kind in _ANY[template.form])


def _sort_key(
    template: Template, length: int, lang: str, phrase: Phrase, seed: random.Random
) -> tuple[int, float]:
    """Return the sorting key of a template: the distance to the length, then a weighted draw.

    A template made for just this kind of phrase reads better than one for any kind, and one
    sentence better than two; the leads are many and would win by number alone.
    """
    distance = abs(length_class(template.fill(phrase.text), lang) - length)
    weight = (0.08 if template.form == "lead" else 1.0) * (1.0 if template.kind == "any" else 1.5)
    return distance, -(seed.random() ** (1 / weight))


def _rank_types(text: str, templates: TemplateSet, seed: random.Random) -> list[str]:
    """Return the question types, best first, drawn with weights by the passage's cue words."""
    chinese = templates.lang == "zh"
    count = text.count if chinese else Counter(words(text)).__getitem__
    n_words = max(1, count_words(text))
    first_person = templates.words.get("first_person", frozenset())
    impersonal = not chinese and sum(map(count, first_person)) * 150 < n_words
    odds: dict[str, float] = {}
    for name in QUESTION_TYPES:
        hits = sum(map(count, templates.cues.get(name, frozenset())))
        unlikely = impersonal and name in {"story", "feeling", "follow-up"}
        odds[name] = (0.3 if unlikely else 1.0) * (
            0.3 + min(3.0, hits / (n_words * _USUAL_CUES.get(name, 0.01)))
        )
    return sorted(odds, key=lambda name: -(seed.random() ** (1 / odds[name] ** 1.5)))


# Cue words per word of prose, the median of two memoirs: the base of a passage's rate.
_USUAL_CUES = {
    "why": 0.005,
    "how": 0.009,
    "story": 0.045,
    "opinion": 0.004,
    "advice": 0.006,
    "feeling": 0.005,
    "follow-up": 0.011,
}


def _shingles(text: str) -> frozenset[str]:
    folded = " ".join(words(text))
    return frozenset(folded[start : start + 5] for start in range(max(1, len(folded) - 4)))


def _question(passage: Passage, chosen: _Candidate, templates: TemplateSet) -> Question:
    return Question(
        id=content_id(passage.id, chosen.text),
        passage_id=passage.id,
        text=chosen.text,
        type=chosen.template.type,
        origin="template",
        prompt_version=templates.version,
    )


def _verdict(passage: Passage, rule: str, reason: str, now: datetime) -> Verdict:
    return Verdict(
        subject_id=passage.id,
        subject="passages",
        rule=rule,
        keep=False,
        reason=reason,
        created_at=now,
        next_step=NEXT_STEP,
    )

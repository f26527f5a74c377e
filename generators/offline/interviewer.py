"""The offline interviewer: questions from templates and each passage's own key phrases, no LLM.

Deterministic: the passage's id seeds every choice, and the passages are visited in the order of
their ids, so the order in which they are handed over changes nothing.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from memoirist.data.curation.question_filters import RejectSettings, reject_question
from memoirist.data.schema.records import Passage, Question, Rows, Verdict, content_id
from memoirist.data.text.word_overlap import longest_shared_run
from memoirist.data.text.words import count_words, words
from memoirist.generators.offline.phrases import (
    ChinesePhrases,
    Phrase,
    Phrases,
    is_traditional,
    shares_word,
    to_traditional,
)
from memoirist.generators.offline.templates import (
    Template,
    TemplateSet,
    load_templates,
    offline_languages,
)
from memoirist.generators.tasks.reply_parser import QUESTION_TYPES

NEXT_STEP = "start an LLM server and set --base-url and --model, then run `memoirist ask` again"
_MAX_OPENER_SHARE = 0.07  # below the 8 % of QUALITY.md, so that two batches together stay under it
_MAX_RUN = {"zh": 6}
_ALIKE = 0.7  # character 5-gram Jaccard from which `curate` would take two questions for one
_ANY = {
    "core": {"person", "place", "own", "general", "name"},
    "lead": {"own", "general", "name"},  # people and places have leads of their own
}


@dataclass(frozen=True, slots=True)
class _Candidate:
    text: str
    template: Template


@dataclass(slots=True)
class _Written:
    """What the batch has asked so far: opening words and, per template, the shingles."""

    expected: int
    openers: Counter[tuple[str, ...]] = field(default_factory=Counter)
    shingles: dict[str, list[frozenset[str]]] = field(default_factory=lambda: defaultdict(list))
    texts: set[str] = field(default_factory=set)

    def opener_full(self, text: str) -> bool:
        """Tell whether the opening pair of words already has its share of the batch."""
        allowed = max(2, int(self.expected * _MAX_OPENER_SHARE))
        return self.openers[_opener(text)] >= allowed

    def resembles(self, candidate: _Candidate) -> bool:
        """Tell whether a question of the same template is so alike that only one would be kept."""
        if candidate.text in self.texts:
            return True
        mine = _shingles(candidate.text)
        return any(
            len(mine & other) >= _ALIKE * len(mine | other)
            for other in self.shingles[candidate.template.text]
        )

    def add(self, candidate: _Candidate) -> None:
        """Remember a question that was asked."""
        self.openers[_opener(candidate.text)] += 1
        self.shingles[candidate.template.text].append(_shingles(candidate.text))
        self.texts.add(candidate.text)


def ask_offline(passages: Sequence[Passage], lang: str, now: datetime, persona: str = "") -> Rows:
    """Return one question of origin "template" for each passage, or a verdict that says why not.

    `lang` is the language of the passages; one without a template file is refused by a verdict on
    each passage. A phrase that shares a word with `persona` is never named.
    """
    if lang not in offline_languages():
        return Rows(verdicts=[_no_language(passage, lang, now) for passage in passages])
    sheet = load_templates(lang)
    reader = _Reader(passages, sheet, persona)
    written = _Written(expected=len(passages))
    questions: dict[str, Question] = {}
    verdicts: list[Verdict] = []
    for passage in sorted(passages, key=lambda passage: passage.id):
        chosen, reason = _choose(passage, reader, written)
        if chosen is None:
            verdicts.append(_refused(passage, reason, now))
            continue
        written.add(chosen)
        questions[passage.id] = _question(passage, chosen, sheet)
    return Rows(
        questions=[questions[passage.id] for passage in passages if passage.id in questions],
        verdicts=verdicts,
    )


class _Reader:
    """Read the key phrases of any passage of the batch in its language."""

    def __init__(self, passages: Sequence[Passage], sheet: TemplateSet, persona: str) -> None:
        self.sheet = sheet
        self._persona = persona
        self._barred = frozenset(word for word in words(persona) if len(word) > 2)
        texts = [passage.text for passage in passages]
        self._finder: Phrases | ChinesePhrases = (
            ChinesePhrases(texts, sheet.words)
            if sheet.lang == "zh"
            else Phrases(texts, sheet.words)
        )

    def phrases(self, text: str) -> list[Phrase]:
        """Return the phrases that may be named, best first."""
        found = self._finder.find(text)
        if self.sheet.lang == "zh":
            return [phrase for phrase in found if phrase.text not in self._persona]
        return [phrase for phrase in found if not shares_word(phrase.text, self._barred)]


def _choose(passage: Passage, reader: _Reader, written: _Written) -> tuple[_Candidate | None, str]:
    """Return the first good question; failing that a good one that resembles another."""
    sheet = reader.sheet
    spare: _Candidate | None = None
    reason = "no template fits"
    tried: set[str] = set()
    traditional = sheet.lang == "zh" and is_traditional(passage.text, sheet)
    for candidate in _candidates(passage, reader):
        if traditional:
            candidate = _Candidate(to_traditional(candidate.text, sheet), candidate.template)
        if candidate.text in tried or written.opener_full(candidate.text):
            continue
        tried.add(candidate.text)
        resembles = written.resembles(candidate)
        if resembles and spare is not None:
            continue
        fault = _refusal(candidate.text, passage.text, sheet.lang)
        if fault is not None:
            reason = fault
        elif resembles:
            spare = candidate
        else:
            return candidate, ""
    return spare, reason


def _refusal(question: str, answer: str, lang: str) -> str | None:
    rejected = reject_question(question, answer, lang, RejectSettings())
    if rejected is not None:
        return f"{rejected[0]}: {rejected[1]}"
    run = longest_shared_run(words(question), words(answer))
    if run >= _MAX_RUN.get(lang, 4):
        return f"question_run: {run} words in a row stand in the answer"
    return None


def _candidates(passage: Passage, reader: _Reader) -> Iterator[_Candidate]:
    """Yield questions, best first: by phrase, then type, then the length that the seed directs."""
    sheet = reader.sheet
    seed = random.Random(passage.id)
    types = _rank_types(passage.text, sheet, seed)
    wanted = seed.choices((1, 2, 3), weights=(30, 50, 20))[0]
    best = reader.phrases(passage.text)[:6]
    if best:
        best = [p for p in best if p.score >= 0.3 * best[0].score]
    for rank, phrase in enumerate(best):
        for wanted_type in types[: 3 if rank else 4]:
            yield from _filled(sheet, wanted_type, phrase, wanted, seed)
    for wanted_type in types:
        bare = [t for t in sheet.of_type(wanted_type) if t.form == "bare"]
        for template in seed.sample(bare, min(8, len(bare))):
            yield _Candidate(template.fill(""), template)


def _filled(
    sheet: TemplateSet, wanted_type: str, phrase: Phrase, wanted: int, seed: random.Random
) -> Iterator[_Candidate]:
    filled = [
        (_wish(template, wanted, sheet.lang, phrase, seed), template)
        for template in sheet.of_type(wanted_type)
        if _fits(template, phrase.kind)
    ]
    for _, template in sorted(filled, key=lambda pair: pair[0])[:24]:
        yield _Candidate(template.fill(phrase.text), template)


def _fits(template: Template, kind: str) -> bool:
    if template.form == "bare":
        return False
    return template.kind == kind or (template.kind == "any" and kind in _ANY[template.form])


def _wish(
    template: Template, wanted: int, lang: str, phrase: Phrase, seed: random.Random
) -> tuple[int, float]:
    """Return the sorting key of a template: the wanted length first, then a weighted draw.

    A template made for just this kind of phrase reads better than one for any kind, and one
    sentence better than two; the leads are many and would win by number alone.
    """
    away = abs(_length_class(template.fill(phrase.text), lang) - wanted)
    weight = (0.08 if template.form == "lead" else 1.0) * (1.0 if template.kind == "any" else 1.5)
    return away, -(seed.random() ** (1 / weight))


def _rank_types(text: str, sheet: TemplateSet, seed: random.Random) -> list[str]:
    """Return the question types, best first: the passage's cue words set the odds."""
    found = Counter(words(text)) if sheet.lang != "zh" else None
    length = max(1, count_words(text))
    first_person = sheet.words.get("first_person", frozenset())
    impersonal = found is not None and sum(found[word] for word in first_person) * 150 < length
    odds: dict[str, float] = {}
    for name in QUESTION_TYPES:
        cues = sheet.cues.get(name, frozenset())
        hits = sum(found[cue] if found is not None else text.count(cue) for cue in cues)
        personal = impersonal and name in {"story", "feeling", "follow-up"}
        odds[name] = (0.3 if personal else 1.0) * (
            0.3 + min(3.0, hits / (length * _USUAL_CUES.get(name, 0.01)))
        )
    return sorted(odds, key=lambda name: -(seed.random() ** (1 / odds[name] ** 1.5)))


# Cue words per word of prose, median of two memoirs: a passage's own rate is read against it.
_USUAL_CUES = {
    "why": 0.005,
    "how": 0.009,
    "story": 0.045,
    "opinion": 0.004,
    "advice": 0.006,
    "feeling": 0.005,
    "follow-up": 0.011,
}


def _length_class(text: str, lang: str) -> int:
    """Return 1 for short (up to 8 words), 2 for 9-20, 3 for longer."""
    n_words = count_words(text) / (1.6 if lang == "zh" else 1)
    return 1 if n_words <= 8 else 2 if n_words <= 20 else 3


def _opener(text: str) -> tuple[str, ...]:
    return tuple(words(text)[:2])


def _shingles(text: str) -> frozenset[str]:
    folded = " ".join(words(text))
    return frozenset(folded[start : start + 5] for start in range(max(1, len(folded) - 4)))


def _question(passage: Passage, chosen: _Candidate, sheet: TemplateSet) -> Question:
    return Question(
        id=content_id(passage.id, chosen.text),
        passage_id=passage.id,
        text=chosen.text,
        type=chosen.template.type,
        origin="template",
        prompt_version=sheet.version,
    )


def _refused(passage: Passage, reason: str, now: datetime) -> Verdict:
    rule, _, detail = reason.partition(": ")
    return Verdict(
        subject_id=passage.id,
        subject="passages",
        rule=rule if detail else "question_none",
        keep=False,
        reason=f"no template question passes; the last one failed: {detail or reason}",
        created_at=now,
        next_step=NEXT_STEP,
    )


def _no_language(passage: Passage, lang: str, now: datetime) -> Verdict:
    return Verdict(
        subject_id=passage.id,
        subject="passages",
        rule="question_language",
        keep=False,
        reason=f"the offline interviewer does not speak {lang!r}, only "
        + ", ".join(offline_languages()),
        created_at=now,
        next_step=NEXT_STEP,
    )

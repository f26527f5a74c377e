"""Decide which sections of a book are not in the persona's voice.

Whole sections are judged by four kinds of evidence: the title, the signature, how often the text
names the persona compared with how often it says "I", and letters and comments that another person
signed. Where the evidence is weak, the text is kept and flagged.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from memoirist.data.authorship.insertions import find_announced
from memoirist.data.authorship.letters import cut_comments, find_letters, find_notes
from memoirist.data.authorship.signatures import (
    Names,
    TitleClass,
    classify_title,
    count_mentions,
    is_persona,
    names_of,
    signature_at_end,
)
from memoirist.data.passages.borders import size
from memoirist.data.passages.segmentation import (
    PROSE,
    UNTITLED,
    Section,
    is_false_heading,
    matches,
    sections,
)
from memoirist.data.passages.settings import ChapterSettings
from memoirist.data.schema.records import Block, Document, Fault, Source, Verdict
from memoirist.data.text.language_rules import Language, fold, language
from memoirist.data.text.words import count_words

# A new version makes the split run again on every book; the number is part of the step's state.
VERSION = 5
# In a book where fewer than 4 of 1,000 words are "I" or "my", a section without them proves nothing
# (measured, quotations apart: seven memoirs 19 to 70, philosophy 10, six books of fiction 9 to 32).
_PERSONAL = 0.004
_QUOTED = re.compile(
    r"“[^”]*(?:”|$)|\"[^\"]*(?:\"|$)|«[^»]*(?:»|$)|„[^“”]*(?:[“”]|$)|「[^」]*(?:」|$)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionScore:
    """A rule's decision about a section; `confidence` is from 0 to 1.

    `author_start` is the index of the block where the author's own text begins under a title that
    belongs to another person.
    """

    rule: str
    keep: bool
    confidence: float | None
    reason: str
    author_start: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Counts of a text outside its quotations: words, first-person words, names of the persona."""

    words: int
    first_person: int
    mentions: int

    @property
    def rate(self) -> float:
        """Return the share of words that say "I"."""
        return self.first_person / self.words if self.words else 0.0

    @property
    def mention_share(self) -> float:
        """Return the share of mentions among mentions and first-person words together."""
        return self.mentions / (self.first_person + self.mentions) if self.mentions else 0.0

    @property
    def is_personal(self) -> bool:
        """Tell whether a book says "I" so often that a section without it is suspicious."""
        return self.rate >= _PERSONAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What a section is compared with: the persona's names, the language, the whole book."""

    names: Names
    lang: Language
    book: Counts


def count(blocks: Sequence[Block], names: Names, lang: Language) -> Counts:
    """Count the words, first-person words and mentions of a text outside its quotations."""
    text = _unquoted(blocks)
    return Counts(
        words=size(text),
        first_person=len(lang.first_person.findall(text)),
        mentions=count_mentions(text, names, lang),
    )


def _unquoted(blocks: Sequence[Block]) -> str:
    return "\n".join(_QUOTED.sub(" ", block.text) for block in blocks if block.kind in PROSE)


def score_section(section: Section, reference: Reference) -> SectionScore | None:
    """Return the decision about a section, None where nothing speaks against the author.

    Where only the beginning is another person's, the decision is about the beginning.
    """
    title = classify_title(section.title, reference.lang.code, reference.names)
    start = 0
    if title.kind in {"other", "apparatus", "doubtful"}:
        start = find_author_start(section, reference)
    if 0 < start < len(section.blocks):
        head = replace(section, blocks=section.blocks[:start])
        score = _score(head, title, reference)
        return score and replace(score, author_start=start)
    return _score(section, title, reference)


def _score(section: Section, title: TitleClass, reference: Reference) -> SectionScore | None:
    names, lang, book = reference.names, reference.lang, reference.book
    prose = [block for block in section.blocks if block.kind in PROSE]
    if not prose or title.kind in {"own", "letter"}:
        return None
    counts = count(prose, names, lang)
    signature = signature_at_end([block.text for block in prose], lang)
    by_persona = signature is not None and (
        is_persona(signature, names) or fold(signature) in lang.own_signs
    )
    like_book = book.is_personal and counts.words >= 200 and counts.rate >= 0.6 * book.rate
    if title.kind == "other":
        return None if by_persona else _by_title(section, title)
    if title.kind == "apparatus":
        # A long and personal section is the book's own text under a wrong title.
        own = like_book and counts.words > 0.2 * book.words
        return None if own else _by_title(section, title)
    third_person = _third_person(counts, reference, doubtful=title.kind == "doubtful")
    if title.kind == "doubtful" and not by_persona:
        if signature is not None and names.full:
            return _other_voice(0.9, f"titled {section.title!r} and signed {signature!r}")
        n_words = sum(count_words(block.text) for block in prose)
        if n_words >= 80 and count_words(_unquoted(prose)) < 0.25 * n_words:
            return _other_voice(0.8, f"titled {section.title!r}, and nearly all of it is quoted")
        return third_person or (None if like_book else _unsure(section, counts, book))
    return None if by_persona else third_person


def _by_title(section: Section, title: TitleClass) -> SectionScore:
    if title.kind == "apparatus":
        reason = f"titled {section.title!r}: not part of the author's own text"
        return SectionScore(rule="apparatus", keep=False, confidence=0.9, reason=reason)
    by = f" ({title.person})" if title.person else ""
    return _other_voice(0.95, f"titled {section.title!r}: written by another person{by}")


def _third_person(counts: Counts, reference: Reference, *, doubtful: bool) -> SectionScore | None:
    """Return a drop where the text names the persona and says "I" less often than the book.

    The rule does not apply to a book that is written in the third person throughout.
    """
    book = reference.book
    min_mentions, min_share, max_rate = (2, 0.34, 0.5) if doubtful else (5, 0.6, 0.25)
    if doubtful and counts.first_person == 0:
        min_mentions = 1
    if counts.mentions < min_mentions or counts.mention_share < min_share or counts.words < 40:
        return None
    if book.is_personal and counts.rate > max_rate * book.rate:
        return None
    if counts.mention_share < 2 * book.mention_share or counts.mentions < 0.001 * counts.words:
        return None
    unit = "mention" if counts.mentions == 1 else "mentions"
    reason = (
        f"about the persona in the third person ({counts.mentions} {unit} of"
        f" {reference.names.surname!r}, {_first_person(counts, book)})"
    )
    return _other_voice(min(0.95, counts.mention_share), reason)


def _unsure(section: Section, counts: Counts, book: Counts) -> SectionScore | None:
    """Return a flag for a preface or an appendix that hardly says "I" in a personal book."""
    if not book.is_personal or counts.rate >= 0.25 * book.rate or counts.words < 40:
        return None
    reason = f"titled {section.title!r}, {_first_person(counts, book)}"
    return SectionScore(rule="voice_unsure", keep=True, confidence=0.5, reason=reason)


def _first_person(counts: Counts, book: Counts) -> str:
    rates = f"{100 * counts.rate:.1f} %, in the whole book {100 * book.rate:.1f} %"
    return f"words in the first person: {rates}"


def _other_voice(confidence: float, reason: str) -> SectionScore:
    return SectionScore(rule="other_voice", keep=False, confidence=confidence, reason=reason)


def find_author_start(section: Section, reference: Reference) -> int:
    """Return the index of the first block that the author wrote, else the number of blocks.

    In a book whose text begins without a heading, all of it stands under the "Introduction". The
    result is the point where two rates of "I", one before it and one after it, explain the text
    best. They must explain it much better than one rate (a Poisson log likelihood of 12), and the
    rest must have 400 words or more, say "I" as the book does, and hardly name the persona.
    """
    lang, book = reference.lang, reference.book
    weights = [
        (count_words(b.text), len(lang.first_person.findall(_QUOTED.sub(" ", b.text))))
        if b.kind in PROSE
        else (0, 0)
        for b in section.blocks
    ]
    words, firsts = sum(w for w, _ in weights), sum(f for _, f in weights)
    best_gain, start = 12.0, len(weights)
    before_words = before_firsts = 0
    for index, (n_words, n_firsts) in enumerate(weights[:-1], start=1):
        before_words += n_words
        before_firsts += n_firsts
        after_words, after_firsts = words - before_words, firsts - before_firsts
        if before_words < 100 or after_words < 400:
            continue
        before_rate, after_rate = before_firsts / before_words, after_firsts / after_words
        if after_rate < max(_PERSONAL, 0.6 * book.rate, 3 * before_rate):
            continue
        gain = (
            _log_likelihood(before_firsts, before_words)
            + _log_likelihood(after_firsts, after_words)
            - _log_likelihood(firsts, words)
        )
        if gain > best_gain:
            best_gain, start = gain, index
    rest = count(section.blocks[start:], reference.names, lang)
    return start if rest.mention_share < 0.2 else len(weights)


def _log_likelihood(events: int, words: int) -> float:
    """Return the Poisson log likelihood of events among words at their own rate."""
    return events * math.log(events / words) - events if events else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributionSettings:
    """The source, the persona's names, and the chapters that the user includes or excludes.

    `automatic` is False where only the user's patterns decide.
    """

    source: Source
    names: tuple[str, ...]
    chapters: ChapterSettings
    automatic: bool
    now: datetime


@dataclass(slots=True, kw_only=True)
class Attribution:
    """A document's blocks with their verdicts; `excluded` are the ids that no passage may hold."""

    now: datetime
    blocks: list[Block] = field(default_factory=list)
    excluded: set[str] = field(default_factory=set)
    verdicts: list[Verdict] = field(default_factory=list)

    def drop(self, blocks: Sequence[Block], score: SectionScore) -> None:
        """Exclude the prose among the blocks, with a verdict on each."""
        for block in blocks:
            if block.kind in PROSE and block.id not in self.excluded:
                self.excluded.add(block.id)
                self.mark(block, score)

    def mark(self, block: Block, score: SectionScore) -> None:
        """Add a verdict on a block."""
        self.verdicts.append(_verdict(block, score, self.now))


def attribute_sections(
    document: Document, blocks: Sequence[Block], settings: AttributionSettings
) -> Attribution:
    """Return the blocks, and exclude those that are not in the persona's voice.

    The user's patterns win over all evidence: a chapter of `chapters.include` is kept, one of
    `chapters.exclude` is dropped.
    """
    names, lang = names_of(settings.names), language(document.lang)
    result = Attribution(now=settings.now)
    parts = sections(blocks)
    reference = Reference(names=names, lang=lang, book=count(blocks, names, lang))
    scores = _scores(parts, reference) if settings.automatic else [None] * len(parts)
    for section, score in zip(parts, scores, strict=True):
        by_user = _user_decision(section, settings)
        if by_user is not None and by_user.keep:
            result.mark(_first_prose(section), by_user)
        elif by_user is not None:
            result.drop(section.blocks, by_user)
        if by_user is None and settings.automatic:
            _apply(result, section, score, reference)
        else:
            result.blocks += section.blocks
    return result


def _user_decision(section: Section, settings: AttributionSettings) -> SectionScore | None:
    titles, chapters = (section.title, section.chapter), settings.chapters
    title = section.title or UNTITLED
    for patterns, rule, reason in (
        (chapters.include, "included_chapter", "kept by sources.chapters.include"),
        (chapters.exclude, "excluded_chapter", "dropped by sources.chapters.exclude"),
    ):
        if any(matches(pattern, settings.source, titles) for pattern in patterns):
            keep = rule == "included_chapter"
            text = f"{title!r} is {reason}"
            return SectionScore(rule=rule, keep=keep, confidence=None, reason=text)
    return None


def _scores(parts: Sequence[Section], reference: Reference) -> list[SectionScore | None]:
    """Score each section, then drop the doubtful ones next to a dropped one."""
    scores = [score_section(section, reference) for section in parts]
    forward = range(1, len(parts))
    for index, neighbour in [(i, i - 1) for i in forward] + [(i - 1, i) for i in reversed(forward)]:
        score, beside = scores[index], scores[neighbour]
        if score and score.rule == "voice_unsure" and beside and not beside.keep:
            reason = f"{score.reason}; next to {parts[neighbour].title!r}, by another person"
            scores[index] = replace(score, rule="other_voice", keep=False, reason=reason)
    return scores


def _apply(
    result: Attribution, section: Section, score: SectionScore | None, reference: Reference
) -> None:
    names, lang = reference.names, reference.lang
    blocks = list(section.blocks)
    start = 0
    if score is not None and not score.keep:
        start = score.author_start or len(blocks)
        result.drop(blocks[:start], score)
    elif score is not None:
        result.mark(_first_prose(section), score)
    prose = [b for b in blocks[start:] if b.kind in PROSE or is_false_heading(b.text)]
    title = classify_title(section.title, lang.code, names)
    writer = title.person if title.kind == "letter" else None
    spans = [*find_notes(prose, names, lang), *find_letters(prose, names, lang, writer)]
    for span in (*spans, *find_announced(prose, names, lang)):
        result.drop(prose[span.first : span.last + 1], _other_voice(span.confidence, span.reason))
    result.blocks += blocks[:start]
    result.blocks += [_without_comments(result, block, reference) for block in blocks[start:]]


def _first_prose(section: Section) -> Block:
    """Return the block that carries a verdict on the whole section: its first prose.

    `look` may show imprints and empty matter before it with the section before.
    """
    return next((b for b in section.blocks if b.kind in PROSE), section.blocks[0])


def _without_comments(result: Attribution, block: Block, reference: Reference) -> Block:
    if block.kind not in PROSE or block.id in result.excluded:
        return block
    text, comments = cut_comments(block.text, reference.names, reference.lang)
    if not comments or not text:
        return block
    reason = f"a comment by another person was cut out: {' '.join(comments)}"
    result.mark(block, SectionScore(rule="voice_comment", keep=True, confidence=1.0, reason=reason))
    return replace(block, text=text)


def _verdict(block: Block, score: SectionScore, now: datetime) -> Verdict:
    chapter = block.chapter or UNTITLED
    include = f"keep it with --include-chapter {chapter!r} (sources.chapters.include)"
    steps = {
        "other_voice": include,
        "apparatus": include,
        "voice_unsure": f"if another person wrote it, drop it with --exclude-chapter {chapter!r}",
        "voice_comment": "nothing; passages.voice = false keeps comments in the text",
        "excluded_chapter": "take the pattern out of sources.chapters.exclude",
    }
    confidence = None if score.confidence is None else round(score.confidence, 3)
    next_step = steps.get(score.rule, "nothing: the recipe says so")
    fault = Fault(score.rule, score.reason, next_step, confidence)
    return fault.verdict("blocks", block.id, now, keep=score.keep)

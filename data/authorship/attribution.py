"""Whose voice a section is: what another wrote in a person's book is no answer of the person.

Sections, not sentences, are judged, by four kinds of signs: what the title says, who signed it,
how it speaks of the persona against how it says "I", and letters and comments that end in
another's name. Where the signs leave a doubt the text stays, with a flag that says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from memoirist.data.authorship.letters import cut_comments, find_letters, find_notes
from memoirist.data.authorship.section_titles import TitleWord, read_title
from memoirist.data.authorship.signatures import (
    Names,
    count_mentions,
    fold,
    is_persona,
    names_of,
    signature_at_end,
)
from memoirist.data.passages.chapters import (
    UNTITLED,
    ChapterSettings,
    Section,
    is_hollow,
    matches,
    sections,
)
from memoirist.data.passages.segmentation import PROSE
from memoirist.data.schema.records import Block, Document, Source, Verdict
from memoirist.data.text.language_rules import Language, language
from memoirist.data.text.words import count_words, is_cjk

# A book in which fewer than 4 of 1,000 words are "I" or "my" tells nothing by their absence
# (measured, quotations apart: seven memoirs 19 to 70, philosophy 10, six books of fiction 9 to 32).
_PERSONAL = 0.004
_QUOTED = re.compile(
    r"“[^”]*(?:”|$)|\"[^\"]*(?:\"|$)|«[^»]*(?:»|$)|„[^“”]*(?:[“”]|$)|「[^」]*(?:」|$)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What is thought of a section: `score` is how sure that is, from 0 to 1.

    Where the author's own text begins under another's title, `upto` is the place of that block.
    """

    rule: str
    keep: bool
    score: float | None
    reason: str
    upto: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """A text outside of its quotations: words, words for "I", mentions of the persona."""

    words: int
    first: int
    third: int

    @property
    def rate(self) -> float:
        """Return the share of words that say "I"."""
        return self.first / self.words if self.words else 0.0

    @property
    def spoken_of(self) -> float:
        """Return mentions of the persona among these and the words for "I"."""
        return self.third / (self.first + self.third) if self.third else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The book's own habit, by which a section is judged."""

    words: int
    rate: float
    spoken_of: float

    @property
    def personal(self) -> bool:
        """Tell whether the book says "I" often enough for its absence to mean something."""
        return self.rate >= _PERSONAL


def count(blocks: Sequence[Block], names: Names, lang: Language) -> Counts:
    """Count a text's words and signs, leaving out what stands in quotation marks."""
    text = _unquoted(blocks)
    words = count_words(text)
    return Counts(
        words=words * 2 // 3 if is_cjk(text) else words,
        first=len(lang.first_person.findall(text)),
        third=count_mentions(text, names, lang),
    )


def _unquoted(blocks: Sequence[Block]) -> str:
    return "\n".join(_QUOTED.sub(" ", block.text) for block in blocks if block.kind in PROSE)


def baseline(cut: Sequence[Section], names: Names, lang: Language) -> Baseline:
    """Return how the book as a whole speaks."""
    whole = count([block for section in cut for block in section.blocks], names, lang)
    return Baseline(words=whole.words, rate=whole.rate, spoken_of=whole.spoken_of)


def opine(section: Section, names: Names, lang: Language, book: Baseline) -> Opinion | None:
    """Return what is thought of a section; None for one that nothing speaks against.

    Where its beginning is another's and the rest the author's, the opinion is on the beginning.
    """
    word = read_title(section.title, lang.code, names)
    place = 0
    if word.kind in {"other", "apparatus", "doubtful"}:
        place = author_begins(section, names, lang, book)
    if 0 < place < len(section.blocks):
        head = replace(section, blocks=section.blocks[:place])
        opinion = _judge(head, names, lang, book)
        return opinion and replace(opinion, upto=place)
    return _judge(section, names, lang, book)


def _judge(section: Section, names: Names, lang: Language, book: Baseline) -> Opinion | None:
    prose = [block for block in section.blocks if block.kind in PROSE]
    word = read_title(section.title, lang.code, names)
    if not prose or word.kind in {"own", "letter"}:
        return None
    found = count(prose, names, lang)
    signed = signature_at_end([block.text for block in prose], lang)
    by_persona = signed is not None and (
        is_persona(signed, names) or fold(signed) in lang.own_signs
    )
    like_book = book.personal and found.words >= 200 and found.rate >= 0.6 * book.rate
    if word.kind == "other":
        return None if by_persona else _by_title(section, word)
    if word.kind == "apparatus":
        # So long and so personal, it is the book's text under a title that is not its own.
        return None if like_book and found.words > 0.2 * book.words else _by_title(section, word)
    told = _third_person(found, names, book, doubtful=word.kind == "doubtful")
    if word.kind == "doubtful" and not by_persona:
        if signed is not None and names.full:
            return _dropped(0.9, f"titled {section.title!r} and signed {signed!r}")
        whole = sum(count_words(block.text) for block in prose)
        if whole >= 80 and count_words(_unquoted(prose)) < 0.25 * whole:
            return _dropped(0.8, f"titled {section.title!r}, and nearly all of it is quoted")
        return told or _unsure(section, found, book, like_book=like_book)
    return None if by_persona else told


def _by_title(section: Section, word: TitleWord) -> Opinion:
    if word.kind == "apparatus":
        told = f"titled {section.title!r}: matter beside the author's text"
        return Opinion(rule="apparatus", keep=False, score=0.9, reason=told)
    by = f" by {word.person!r}" if word.person else ""
    return _dropped(0.95, f"titled {section.title!r}, which is another's{by}")


def _third_person(found: Counts, names: Names, book: Baseline, *, doubtful: bool) -> Opinion | None:
    """Return a drop where the persona is spoken about and "I" is rarer than in the book.

    A book that speaks so throughout (a life told in the third person) is not judged by it.
    """
    least, share = (2, 0.34) if doubtful else (5, 0.6)
    if doubtful and found.first == 0:
        least = 1
    rare = 0.5 if doubtful else 0.25
    if found.third < least or found.spoken_of < share or found.words < 40:
        return None
    if book.personal and found.rate > rare * book.rate:
        return None
    if found.spoken_of < 2 * book.spoken_of or found.third < 0.001 * found.words:
        return None
    named = "mention" if found.third == 1 else "mentions"
    reason = (
        f"third person about the persona ({found.third} {named} of {names.surname!r},"
        f" first person {100 * found.rate:.1f} %, the book's {100 * book.rate:.1f} %)"
    )
    return _dropped(min(0.95, found.spoken_of), reason)


def _unsure(section: Section, found: Counts, book: Baseline, *, like_book: bool) -> Opinion | None:
    """Return a flag for a preface or an appendix that says hardly "I" in a book that does."""
    if like_book or not book.personal or found.rate >= 0.25 * book.rate or found.words < 40:
        return None
    reason = (
        f"titled {section.title!r}, first person {100 * found.rate:.1f} %,"
        f" the book's {100 * book.rate:.1f} %"
    )
    return Opinion(rule="voice_unsure", keep=True, score=0.5, reason=reason)


def _dropped(score: float, reason: str) -> Opinion:
    return Opinion(rule="other_voice", keep=False, score=score, reason=reason)


def author_begins(section: Section, names: Names, lang: Language, book: Baseline) -> int:
    """Return the place of the first block of a section that is the author's after all.

    A book without a heading where its text begins has all of it under the "Introduction". The
    place is where two rates of "I", one before and one behind, explain the text best; it must
    be better than one rate by far (a Poisson log likelihood of 12), leave 400 words or more that
    say "I" as the book does, and hardly speak of the persona by name.
    """
    weights = [
        (count_words(b.text), len(lang.first_person.findall(_QUOTED.sub(" ", b.text))))
        if b.kind in PROSE
        else (0, 0)
        for b in section.blocks
    ]
    words, firsts = sum(w for w, _ in weights), sum(f for _, f in weights)
    best, place = 0.0, len(weights)
    before_words = before_firsts = 0
    for index, (size, first) in enumerate(weights[:-1], start=1):
        before_words += size
        before_firsts += first
        behind_words, behind_firsts = words - before_words, firsts - before_firsts
        if before_words < 100 or behind_words < 400:
            continue
        rate, later = before_firsts / before_words, behind_firsts / behind_words
        if later < max(_PERSONAL, 0.6 * book.rate, 3 * rate):
            continue
        gain = (
            _fit(before_firsts, before_words)
            + _fit(behind_firsts, behind_words)
            - _fit(firsts, words)
        )
        if gain > max(best, 12.0):
            best, place = gain, index
    rest = count(section.blocks[place:], names, lang)
    return place if rest.spoken_of < 0.2 else len(weights)


def _fit(events: int, words: int) -> float:
    """Return the Poisson log likelihood of events among words at their own rate."""
    return events * math.log(events / words) - events if events else 0.0


# A newer judgement looks at every book again; the number is a part of the split's mark.
VERSION = 3


@dataclass(slots=True, kw_only=True)
class Heard:
    """A document's blocks after the judgement: `aside` are the ids that are in no passage."""

    blocks: list[Block] = field(default_factory=list)
    aside: set[str] = field(default_factory=set)
    verdicts: list[Verdict] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """What the judgement needs to know: whose voice is wanted, and the user's own word."""

    source: Source
    names: tuple[str, ...]
    chapters: ChapterSettings
    automatic: bool
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Persona:
    names: Names
    lang: Language
    book: Baseline


def listen(document: Document, blocks: Sequence[Block], listener: Listener) -> Heard:
    """Return the blocks with every one that is not in the persona's voice set aside.

    The user's word comes first: a chapter of `chapters.include` is kept whole, one of
    `chapters.exclude` goes whole, whatever the signs say.
    """
    names = names_of(listener.names)
    lang = language(document.lang)
    heard = Heard()
    cut = sections(blocks)
    book = baseline(cut, names, lang)
    opinions = _opinions(cut, names, lang, book) if listener.automatic else [None] * len(cut)
    for section, opinion in zip(cut, opinions, strict=True):
        titles = (section.title, section.chapter)
        chapters = listener.chapters
        if any(matches(p, listener.source, titles) for p in chapters.include):
            heard.verdicts.append(_verdict(_opening(section), _included(section), listener.now))
            heard.blocks += section.blocks
        elif any(matches(p, listener.source, titles) for p in chapters.exclude):
            _drop(heard, section.blocks, _excluded(section), listener.now)
            heard.blocks += section.blocks
        elif listener.automatic:
            persona = _Persona(names=names, lang=lang, book=book)
            _apply(heard, section, opinion, persona, listener.now)
        else:
            heard.blocks += section.blocks
    return heard


def _opinions(
    cut: Sequence[Section], names: Names, lang: Language, book: Baseline
) -> list[Opinion | None]:
    """Return an opinion on each section, then look at doubtful ones beside dropped ones again."""
    first = [opine(section, names, lang, book) for section in cut]
    found: list[Opinion | None] = list(first)
    for step in (1, -1):
        places = range(len(cut)) if step == 1 else range(len(cut) - 1, -1, -1)
        for place in places:
            beside = place - step
            before = found[beside] if 0 <= beside < len(cut) else None
            mine = found[place]
            if mine is not None and mine.rule == "voice_unsure" and before and not before.keep:
                reason = f"{mine.reason}, beside {cut[beside].title!r}, which is another's"
                found[place] = replace(mine, rule="other_voice", keep=False, reason=reason)
    return found


def _apply(
    heard: Heard, section: Section, opinion: Opinion | None, persona: _Persona, now: datetime
) -> None:
    blocks = list(section.blocks)
    begins = 0
    if opinion is not None and not opinion.keep:
        begins = opinion.upto or len(blocks)
        _drop(heard, blocks[:begins], opinion, now)
    elif opinion is not None:
        heard.verdicts.append(_verdict(_opening(section), opinion, now))
    prose = [b for b in blocks[begins:] if b.kind in PROSE or is_hollow(b.text)]
    title = read_title(section.title, persona.lang.code, persona.names)
    writer = title.person if title.kind == "letter" else None
    for aside in (
        *find_notes(prose, persona.names, persona.lang),
        *find_letters(prose, persona.names, persona.lang, writer),
    ):
        told = Opinion(rule="other_voice", keep=False, score=aside.score, reason=aside.reason)
        _drop(heard, prose[aside.first : aside.last + 1], told, now)
    heard.blocks += blocks[:begins]
    heard.blocks += [_without_comments(heard, each, persona, now) for each in blocks[begins:]]


def _opening(section: Section) -> Block:
    """Return the block that a mark on the whole section stands on: its first text.

    Imprints and blank matter before it may be shown with the section before.
    """
    return next((b for b in section.blocks if b.kind in PROSE), section.blocks[0])


def _without_comments(heard: Heard, block: Block, persona: _Persona, now: datetime) -> Block:
    if block.kind not in PROSE or block.id in heard.aside:
        return block
    text, cut = cut_comments(block.text, persona.names, persona.lang)
    if not cut or not text:
        return block
    told = " ".join(cut)
    opinion = Opinion(
        rule="voice_comment", keep=True, score=1.0, reason=f"another's comment is cut out: {told}"
    )
    heard.verdicts.append(_verdict(block, opinion, now))
    return replace(block, text=text)


def _included(section: Section) -> Opinion:
    reason = f"{section.title or UNTITLED!r} is kept by sources.chapters.include"
    return Opinion(rule="included_chapter", keep=True, score=None, reason=reason)


def _excluded(section: Section) -> Opinion:
    reason = f"{section.title or UNTITLED!r} is dropped by sources.chapters.exclude"
    return Opinion(rule="excluded_chapter", keep=False, score=None, reason=reason)


def _drop(heard: Heard, blocks: Sequence[Block], opinion: Opinion, now: datetime) -> None:
    for block in blocks:
        if block.kind in PROSE and block.id not in heard.aside:
            heard.aside.add(block.id)
            heard.verdicts.append(_verdict(block, opinion, now))


def _verdict(block: Block, opinion: Opinion, now: datetime) -> Verdict:
    chapter = block.chapter or UNTITLED
    steps = {
        "other_voice": f"keep it with --include-chapter {chapter!r} (sources.chapters.include)",
        "apparatus": f"keep it with --include-chapter {chapter!r} (sources.chapters.include)",
        "voice_unsure": f"drop it with --exclude-chapter {chapter!r} if it is another's",
        "voice_comment": "nothing; passages.voice = false leaves comments in the text",
        "excluded_chapter": "take the pattern out of sources.chapters.exclude",
    }
    return Verdict(
        subject_id=block.id,
        subject="blocks",
        rule=opinion.rule,
        keep=opinion.keep,
        score=None if opinion.score is None else round(opinion.score, 3),
        reason=opinion.reason,
        created_at=now,
        next_step=steps.get(opinion.rule, "nothing: the recipe says so"),
    )

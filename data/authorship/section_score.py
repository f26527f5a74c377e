"""An opinion on one section: the persona's own, another's, or in doubt."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from memoirist.data.authorship.section_titles import TitleWord, read_title
from memoirist.data.authorship.signatures import (
    Names,
    count_mentions,
    fold,
    is_persona,
    signature_at_end,
)
from memoirist.data.passages.chapters import Section
from memoirist.data.passages.segmentation import PROSE
from memoirist.data.schema.records import Block
from memoirist.data.text.language_rules import Language
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
            return _drop(0.9, f"titled {section.title!r} and signed {signed!r}")
        whole = sum(count_words(block.text) for block in prose)
        if whole >= 80 and count_words(_unquoted(prose)) < 0.25 * whole:
            return _drop(0.8, f"titled {section.title!r}, and nearly all of it is quoted")
        return told or _unsure(section, found, book, like_book=like_book)
    return None if by_persona else told


def _by_title(section: Section, word: TitleWord) -> Opinion:
    if word.kind == "apparatus":
        told = f"titled {section.title!r}: matter beside the author's text"
        return Opinion(rule="apparatus", keep=False, score=0.9, reason=told)
    by = f" by {word.person!r}" if word.person else ""
    return _drop(0.95, f"titled {section.title!r}, which is another's{by}")


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
    return _drop(min(0.95, found.spoken_of), reason)


def _unsure(section: Section, found: Counts, book: Baseline, *, like_book: bool) -> Opinion | None:
    """Return a flag for a preface or an appendix that says hardly "I" in a book that does."""
    if like_book or not book.personal or found.rate >= 0.25 * book.rate or found.words < 40:
        return None
    reason = (
        f"titled {section.title!r}, first person {100 * found.rate:.1f} %,"
        f" the book's {100 * book.rate:.1f} %"
    )
    return Opinion(rule="voice_unsure", keep=True, score=0.5, reason=reason)


def _drop(score: float, reason: str) -> Opinion:
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

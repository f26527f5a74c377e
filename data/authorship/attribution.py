"""Whose voice a section is: what another wrote in a person's book is no answer of the person.

Sections, not sentences, are judged, by four kinds of signs: what the title says, who signed it,
how it speaks of the persona against how it says "I", and letters and comments that end in
another's name. Where the signs leave a doubt the text stays, with a flag that says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from memoirist.data.authorship.letters import cut_comments, find_letters, find_notes
from memoirist.data.authorship.section_score import Baseline, Opinion, baseline, opine
from memoirist.data.authorship.section_titles import read_title
from memoirist.data.authorship.signatures import Names, names_of
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

"""Cut documents into sections, and into passages: whole blocks in one voice that can be answers.

Sections follow chapters and headings; the user's chapter patterns are matched against their titles.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from memoirist.data.schema.records import (
    Block,
    Document,
    Fault,
    Passage,
    Rows,
    Source,
    Verdict,
    content_id,
)
from memoirist.data.text.words import (
    CJK_CHARACTER,
    count_words,
    ends_sentence,
    is_cjk,
    join_sentences,
    sentences,
)

# Why a block of each kind is not an answer; the reader of `look dropped` sees these sentences.
FURNITURE = {
    "heading": "a heading names the chapter; it is kept as the passages' chapter",
    "running_head": "a running head repeats on page after page",
    "folio": "a page number",
    "footnote": "a footnote interrupts the voice of the text",
    "caption": "a caption belongs to a picture",
    "contents": "a table of contents is no prose",
    "boilerplate": "title, copyright, library or index matter, not the author's prose",
    "system": "a system message; it is kept as the pair's system prompt",
}
_UNPUNCTUATED = Fault(
    "unpunctuated",
    "it has no sentence marks: its passages end where its paragraphs do",
    "give a punctuated edition where paragraphs are long",
)


def _furniture(block: Block, now: datetime) -> Verdict:
    """Return the verdict on a block that is not prose."""
    reason = FURNITURE.get(block.kind, f"a {block.kind} is not the author's prose")
    fault = Fault(block.kind, reason, "nothing, unless it is prose: then report the page")
    return fault.verdict("blocks", block.id, now)


def _run_fault(n_words: int, min_words: int, *, ends: bool) -> Fault:
    """Return why a run of so many words is no passage; one that is long enough is too long."""
    if not ends:
        rule, reason = "unfinished", "it does not end a sentence"
        step = "nothing, if it is a heading, a list or a table; else report the page"
    elif n_words < min_words:
        rule, reason = "too_short", f"{n_words} words alone in its chapter, fewer than {min_words}"
        step = "lower passages.min_words in the recipe to keep it"
    else:
        rule, reason = "uncut", f"{n_words} words without a sentence mark cannot be cut"
        step = "give a punctuated edition, or raise passages.max_words in the recipe"
    return Fault(rule, reason, step, float(n_words))


PROSE = frozenset({"paragraph", "quote"})


class PassageSettings(BaseModel):
    """How blocks become passages. Sizes are words; a Chinese character counts as 2/3 of one."""

    model_config = ConfigDict(extra="forbid")

    target_words: int = Field(120, ge=10, description="A passage is closed once it has so many.")
    soft_max_words: int = Field(350, ge=20, description="No paragraph is added beyond so many.")
    min_words: int = Field(80, ge=1, description="A shorter run of prose is dropped.")
    max_words: int = Field(500, ge=30, description="A longer block is cut at sentence ends.")
    min_spoken_words: int = Field(15, ge=1, description="A shorter spoken answer is dropped.")
    max_question_words: int = Field(
        60, ge=10, description="A longer turn before an answer is cut to its last question."
    )
    stock_min_words: int = Field(
        13, ge=5, description="A run of so many words in several episodes is stock text."
    )
    stock_min_episodes: int = Field(
        3, ge=2, description="In so many episodes a run or a line is stock text, and is cut."
    )
    cut_ads: bool = Field(True, description="Whether what hosts read for sponsors is cut.")
    mask_personal: bool = Field(
        True, description="Mask mail addresses, phone, card and account numbers."
    )
    voice: bool = Field(
        True,
        description="Drop what another wrote in the book: an editor's preface, letters, comments.",
    )
    group_passages: int = Field(
        10, ge=2, description="Passages that form one group where a book has no chapters."
    )

    @model_validator(mode="after")
    def _ordered(self) -> PassageSettings:
        if not self.min_words <= self.target_words <= self.soft_max_words <= self.max_words:
            raise ValueError("min_words <= target_words <= soft_max_words <= max_words must hold")
        return self


def size(text: str) -> int:
    """Count words, a Chinese character as 2/3, so that one limit serves English and Chinese."""
    n_words = count_words(text)
    return n_words * 2 // 3 if is_cjk(text) else n_words


@dataclass(slots=True)
class _Run:
    """Pieces of one chapter, collected until they make a passage."""

    chapter: str | None
    unmarked: bool = False
    pieces: list[tuple[Block, str]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n\n".join(text for _, text in self.pieces)

    @property
    def size(self) -> int:
        return sum(size(text) for _, text in self.pieces)

    @property
    def ends(self) -> bool:
        """Tell whether a sentence ends here, as every paragraph of an unmarked text does."""
        return self.unmarked or ends_sentence(self.text)

    def is_endless(self, settings: PassageSettings) -> bool:
        """Tell whether a text without sentence marks is too long and cannot be cut."""
        return self.unmarked and self.size > 2 * settings.max_words

    def takes(self, piece: str, settings: PassageSettings) -> bool:
        """Tell whether the piece still fits; an unfinished sentence may go on to `max_words`."""
        limit = settings.soft_max_words if self.ends else settings.max_words
        return self.size + size(piece) <= limit


def split_prose(
    document: Document,
    blocks: Sequence[Block],
    settings: PassageSettings,
    now: datetime,
    excluded: Collection[str] = (),
) -> Rows:
    """Return the passages of a book or text and a verdict for every block that is in none.

    `excluded` are the ids of prose that another rule has dropped, with its own verdicts: no
    passage holds or spans it.
    """
    verdicts = [_furniture(block, now) for block in blocks if block.kind not in PROSE]
    unmarked = unmarked_chapters(b for b in blocks if b.kind in PROSE and b.id not in excluded)
    runs: list[_Run] = []
    open_run: _Run | None = None
    for block in blocks:
        if block.kind == "heading" or block.id in excluded:
            open_run = None
        if block.kind not in PROSE or block.id in excluded:
            continue
        for piece in _pieces(block.text, settings):
            if (
                open_run is None
                or block.chapter != open_run.chapter
                or not open_run.takes(piece, settings)
            ):
                open_run = _Run(block.chapter, block.chapter in unmarked)
                runs.append(open_run)
            open_run.pieces.append((block, piece))
            if open_run.size >= settings.target_words and open_run.ends:
                open_run = None
    kept, short = _joined_tails(runs, settings)
    passages = _grouped(_passages(document, kept), settings)
    inside = {block_id for passage in passages for block_id in passage.block_ids}
    for run in short:
        fault = _run_fault(run.size, settings.min_words, ends=run.ends)
        unused = dict.fromkeys(block.id for block, _ in run.pieces if block.id not in inside)
        verdicts += [fault.verdict("blocks", block_id, now) for block_id in unused]
    if unmarked and passages:
        flag = _UNPUNCTUATED._replace(score=float(len(unmarked)))
        verdicts.append(flag.verdict("documents", document.id, now, keep=True))
    return Rows(passages=passages, verdicts=verdicts)


def _pieces(text: str, settings: PassageSettings) -> list[str]:
    """Return the block as one piece, or as even parts cut at sentence ends."""
    total = size(text)
    if total <= settings.max_words:
        return [text]
    n_parts = -(-total // settings.soft_max_words)
    pieces: list[str] = []
    current: list[str] = []
    for sentence in sentences(text):
        current.append(sentence)
        if size(" ".join(current)) >= total / n_parts:
            pieces.append(join_sentences(current))
            current = []
    return [*pieces, join_sentences(current)] if current else pieces


def _joined_tails(runs: Sequence[_Run], settings: PassageSettings) -> tuple[list[_Run], list[_Run]]:
    """Join a chapter's short last run to the one before; return the runs to keep and the rest."""
    kept: list[_Run] = []
    short: list[_Run] = []
    before: _Run | None = None
    for run in (part for long_run in runs for part in _without_unfinished(long_run, settings)):
        if before is not None and before.chapter != run.chapter:
            before = None
        usable = run.ends and not run.is_endless(settings)
        if usable and run.size >= settings.min_words:
            kept.append(run)
            before = run
        elif usable and before and before.size + run.size <= settings.max_words:
            before.pieces += run.pieces
        else:
            short.append(run)
            before = None
    return kept, short


def _without_unfinished(run: _Run, settings: PassageSettings) -> list[_Run]:
    """Cut off the last pieces that end no sentence, where enough is left without them.

    Otherwise a paragraph that ends in "as follows:" before a table or a letter would make the whole
    run unfinished.
    """
    if run.unmarked:
        return [run]
    rest = _Run(run.chapter, pieces=list(run.pieces))
    while rest.pieces and not ends_sentence(rest.pieces[-1][1]):
        rest.pieces.pop()
    if len(rest.pieces) == len(run.pieces) or rest.size < settings.min_words:
        return [run]
    return [rest, _Run(run.chapter, pieces=run.pieces[len(rest.pieces) :])]


def _passages(document: Document, runs: Sequence[_Run]) -> list[Passage]:
    passages: list[Passage] = []
    seen: dict[str, int] = {}
    context: str | None = None
    for run in runs:
        blocks = [block for block, _ in run.pieces]
        text = run.text
        repeat = seen[text] = seen.get(text, -1) + 1
        same_chapter = bool(passages) and passages[-1].chapter == run.chapter
        passages.append(
            Passage(
                id=content_id(document.id, text, repeat),
                source_id=document.source_id,
                document_id=document.id,
                ord=len(passages),
                group_id=content_id(document.id, run.chapter),
                text=text,
                n_words=count_words(text),
                block_ids=tuple(dict.fromkeys(block.id for block in blocks)),
                page_first=blocks[0].page,
                page_last=blocks[-1].page_last or blocks[-1].page,
                page_label=blocks[0].page_label,
                chapter=run.chapter,
                context=context if same_chapter else None,
            )
        )
        context = run.pieces[-1][1]
    return passages


def _grouped(passages: list[Passage], settings: PassageSettings) -> list[Passage]:
    """Group a book of fewer than three chapters by runs of passages.

    The split holds out whole groups, so a book of one group could hold out nothing.
    """
    if len({passage.group_id for passage in passages}) >= 3:
        return passages
    every = settings.group_passages
    return [
        replace(passage, group_id=content_id(passage.document_id, "run", passage.ord // every))
        for passage in passages
    ]


_CHINESE_MARK = re.compile(r"[。！？…．｡!?.]")
# Printed Chinese has a mark in every 15 to 50 characters; a stray one is a note's or a scan's.
_CHARACTERS_PER_MARK = 300
_MIN_CHARACTERS = 100
# Where so many paragraphs have one length, a program cut the text and not its author.
_EVEN_SHARE, _EVEN_COUNT = 0.3, 4


def is_unmarked(text: str) -> bool:
    """Tell whether a Chinese text of some length has practically no sentence marks."""
    if text.isascii():
        return False
    characters = len(CJK_CHARACTER.findall(text))
    if characters < _MIN_CHARACTERS or not is_cjk(text):
        return False
    return len(_CHINESE_MARK.findall(text)) * _CHARACTERS_PER_MARK <= characters


def unmarked_chapters(blocks: Iterable[Block]) -> frozenset[str | None]:
    """Return the chapters without sentence marks, where paragraph ends serve as sentence ends.

    `blocks` are the prose. A chapter of paragraphs with one length is left out, because these do
    not end where sentences do.
    """
    chapters: defaultdict[str | None, list[str]] = defaultdict(list)
    for block in blocks:
        chapters[block.chapter].append(block.text)
    return frozenset(
        chapter
        for chapter, texts in chapters.items()
        if is_unmarked("\n".join(texts)) and not _has_even_lengths(texts)
    )


def _has_even_lengths(texts: Sequence[str]) -> bool:
    _, most = Counter(map(len, texts)).most_common(1)[0]
    return most >= max(_EVEN_COUNT, _EVEN_SHARE * len(texts))


UNTITLED = "(untitled)"
_TEXT_KINDS = frozenset({"heading", "paragraph", "quote", "turn"})
# Short lines in capitals that are no headings: initials below a note, a salutation.
_FALSE_HEADING = re.compile(r"(?:[A-Z]\. ?){2,4}|(?:MY |My )?(?:DEAR|Dear)\b.{0,50}[,:—–-]+")


class ChapterSettings(BaseModel):
    """Patterns of chapters to keep or drop; they win over every other rule.

    A pattern is a part of the title, or a glob where it holds *, ? or [; case does not matter.
    "book.pdf: pattern" applies to one source, by its file's name or its title.
    """

    model_config = ConfigDict(extra="forbid")

    include: list[str] = Field(
        default_factory=list,
        description="Titles of chapters to keep whatever else speaks against them, also `exclude`.",
    )
    exclude: list[str] = Field(
        default_factory=list, description='Titles of chapters to drop; "*" drops all but `include`.'
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A run of a document's blocks under one title; the title may be None before the first."""

    title: str | None
    chapter: str | None
    blocks: Sequence[Block]


def sections(blocks: Sequence[Block]) -> list[Section]:
    """Cut blocks, in reading order, where the chapter changes or a heading stands.

    A heading inside a chapter ("Letter from ...") opens a section. Consecutive headings open one
    section together, and a running head or a page number belongs to the section around it.
    """
    result: list[Section] = []
    run: list[Block] = []
    text: Block | None = None  # the last text block of the run, no running head or page number
    for block in blocks:
        false_heading = block.kind == "heading" and is_false_heading(block.text)
        if block.kind in _TEXT_KINDS and not false_heading and not is_false_heading(block.chapter):
            opens = block.kind == "heading" and text is not None and text.kind != "heading"
            if text is not None and (block.chapter != text.chapter or opens):
                result.append(_section(run))
                run = []
            text = block
        run.append(block)
    if run:
        result.append(_section(run))
    return result


def is_false_heading(title: str | None) -> bool:
    """Tell whether a heading is only initials or a salutation and names no section."""
    return title is not None and _FALSE_HEADING.fullmatch(title.strip()) is not None


def _section(run: list[Block]) -> Section:
    headings = [b.text for b in run if b.kind == "heading" and not is_false_heading(b.text)]
    chapter = next((block.chapter for block in run if block.kind in _TEXT_KINDS), run[0].chapter)
    # The chapter's own name, unless this run has a heading of its own inside the chapter.
    title = headings[-1] if headings and chapter not in headings else chapter
    title = title or (headings[0] if headings else None)
    return Section(title=title, chapter=chapter, blocks=tuple(run))


def matches(pattern: str, source: Source, titles: Iterable[str | None]) -> bool:
    """Tell whether a pattern matches a chapter of the source by one of its titles."""
    name, colon, rest = pattern.partition(": ")
    if colon and name.casefold() in source_names(source):
        pattern = rest
    return any(_matches_title(pattern, title or UNTITLED) for title in titles)


def source_names(source: Source) -> set[str]:
    """Return the names of a source that a pattern may use, case folded."""
    path = Path(source.location)
    names = (path.name, path.stem, source.title or path.name, source.id)
    return {name.casefold() for name in names}


def _matches_title(pattern: str, title: str) -> bool:
    pattern, title = pattern.casefold().strip(), " ".join(title.casefold().split())
    if any(mark in pattern for mark in "*?["):
        return fnmatch.fnmatchcase(title, pattern)
    return bool(pattern) and pattern in title


def nearest(pattern: str, titles: Sequence[str]) -> list[str]:
    """Return the titles that are most similar to a pattern that matches none."""
    folded = {title.casefold(): title for title in titles}
    text = pattern.rpartition(": ")[2].strip("*").casefold()
    near = difflib.get_close_matches(text, folded, n=3, cutoff=0.4)
    shared = [t for t in folded if set(text.split()) & set(t.split()) and t not in near]
    return [folded[t] for t in [*near, *shared][:3]] or list(titles[:3])

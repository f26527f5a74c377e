"""Cut documents into sections, and into passages: whole blocks in one voice that can be answers.

Sections follow chapters and headings; the user's chapter patterns are matched against their titles.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from pathlib import Path

from memoirist.data.passages.borders import (
    INSIDE,
    Piece,
    cut_pieces,
)
from memoirist.data.passages.settings import PassageSettings
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
from memoirist.data.text.words import CJK_CHARACTER, count_words, is_cjk, join_sentences

# Why a block of each kind is not an answer; the reader of `look dropped` sees these sentences.
FURNITURE = {
    "heading": "a heading names the chapter; it is kept as the passages' chapter",
    "running_head": "a running head repeats on page after page",
    "folio": "a page number",
    "footnote": "a footnote interrupts the text",
    "caption": "the caption of a picture",
    "contents": "a table of contents is not prose",
    "boilerplate": "title, copyright, library or index matter, not the author's prose",
    "system": "a system message; it is kept as the pair's system prompt",
}
_UNPUNCTUATED = Fault(
    "unpunctuated",
    "it has no punctuation: its passages end where its paragraphs end",
    "use an edition with punctuation if the paragraphs are long",
)

_CUT = Fault(
    "cut_sentence",
    "part of it is in no passage",
    "nothing: it introduces or continues text by others, or is too short for a passage",
)


def _furniture(block: Block, now: datetime) -> Verdict:
    """Return the verdict on a block that is not prose."""
    reason = FURNITURE.get(block.kind, f"a {block.kind} is not the author's prose")
    fault = Fault(block.kind, reason, "nothing; if it is prose, report the page as a bug")
    return fault.verdict("blocks", block.id, now)


PROSE = frozenset({"paragraph", "quote"})


# The cost of a passage at either limit of its size, of one dropped for its opening, of a run
# in no passage, and of its words: estimates. The other costs are shares of openings that point to
# something untold (borders.OPENING_COSTS). A word is dear where a possible passage would be lost.
_SIZE = 0.3
_LOST_PASSAGE = 1.0
_LOST_RUN = 0.2
_LOST_WORD = 0.02
_DEAR_WORD = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """Pieces in a row that are a passage, or are in none."""

    pieces: Sequence[Piece]
    kept: bool
    points: bool = False

    @property
    def text(self) -> str:
        """Return the paragraphs, parted by empty lines, each verbatim from its first piece on."""
        parts: list[str] = []
        for _, group in groupby(self.pieces, key=lambda piece: piece.block.id):
            first, *rest = group
            parts.append(first.block.text[first.start : (rest or [first])[-1].end])
        return "\n\n".join(parts)

    @property
    def size(self) -> float:
        return sum(piece.size for piece in self.pieces)


def _run_fault(run: _Run, settings: PassageSettings) -> Fault:
    """Return why a run is no passage."""
    n_words = int(run.size)
    if run.points:
        start = " ".join(run.pieces[0].text.split()[:6])
        rule, reason = (
            "points_back",
            f"it begins with {start!r}, which refers to something outside it",
        )
        step = "set passages.standalone = false in the recipe to keep it"
    elif not run.pieces[-1].ends:
        rule, reason = "unfinished", "it ends in the middle of a sentence"
        step = "nothing, if it is a heading, a list or a table; otherwise report the page as a bug"
    elif any(piece.size > settings.max_words for piece in run.pieces):
        rule, reason = "uncut", f"{n_words} words without the end of a sentence cannot be divided"
        step = "use an edition with punctuation, or raise passages.max_words in the recipe"
    else:
        limits = f"{settings.min_words} to {settings.max_words} words"
        rule, reason = "too_short", f"it does not fill a passage of {limits} ({n_words} here)"
        step = "lower passages.min_words in the recipe to keep it"
    return Fault(rule, reason, step, float(n_words))


def split_prose(
    document: Document,
    blocks: Sequence[Block],
    settings: PassageSettings,
    now: datetime,
    excluded: Collection[str] = (),
) -> Rows:
    """Return the passages of a book or text and a verdict for every block that is in none.

    `excluded` are the ids of prose that another rule has dropped, with its own verdicts: no
    passage holds or spans it. Each stretch between headings is cut by itself.
    """
    verdicts = [_furniture(block, now) for block in blocks if block.kind not in PROSE]
    unmarked = unmarked_chapters(b for b in blocks if b.kind in PROSE and b.id not in excluded)
    chapter_starts = _chapter_starts(blocks)
    runs: list[_Run] = []
    for stretch in _stretches(blocks, excluded):
        is_unmarked = stretch[0].chapter in unmarked
        pieces = cut_pieces(stretch, document.lang, settings.soft_max_words, settings.max_words)
        if is_unmarked:
            pieces = [replace(piece, ends=True) for piece in pieces]
        if stretch[0].id in chapter_starts:
            pieces[0] = replace(pieces[0], cost=0.0, points=False)
        for run in _runs(pieces, settings, unmarked=is_unmarked):
            runs += _standing(run, settings)
    passages = _grouped(_passages(document, [run for run in runs if run.kept]), settings)
    verdicts += _verdicts(runs, passages, settings, now)
    if unmarked and passages:
        flag = _UNPUNCTUATED._replace(score=float(len(unmarked)))
        verdicts.append(flag.verdict("documents", document.id, now, keep=True))
    return Rows(passages=passages, verdicts=verdicts)


def _stretches(blocks: Sequence[Block], excluded: Collection[str]) -> list[list[Block]]:
    """Return the prose in runs that no heading, no new chapter and no excluded block interrupts."""
    stretches: list[list[Block]] = []
    current: list[Block] = []
    for block in blocks:
        parts = block.kind == "heading" or block.id in excluded
        if current and (parts or (block.kind in PROSE and block.chapter != current[-1].chapter)):
            stretches.append(current)
            current = []
        if block.kind in PROSE and not parts:
            current.append(block)
    return [*stretches, current] if current else stretches


def _chapter_starts(blocks: Sequence[Block]) -> set[str]:
    """Return the ids of the first prose under each heading and of each chapter."""
    starts: set[str] = set()
    before: Block | None = None
    for block in blocks:
        if block.kind in PROSE and (
            before is None or before.kind == "heading" or before.chapter != block.chapter
        ):
            starts.add(block.id)
        if block.kind in PROSE or block.kind == "heading":
            before = block
    return starts


def _standing(run: _Run, settings: PassageSettings) -> Iterator[_Run]:
    """Yield the run without the first pieces that surely point to what is not in it."""
    first = 0
    while run.kept and settings.standalone and first < len(run.pieces):
        if _may_begin(run.pieces, first):
            break
        first += 1
    rest = _Run(pieces=run.pieces[first:], kept=run.kept)
    if first and rest.size < settings.min_words:
        yield _Run(pieces=run.pieces, kept=False, points=True)
        return
    if first:
        yield _Run(pieces=run.pieces[:first], kept=False, points=True)
    yield rest


def _may_begin(pieces: Sequence[Piece], index: int) -> bool:
    """Tell whether a piece may begin a passage, as a letter may whose announcement is left out."""
    if pieces[index].points:
        return False
    return index == 0 or pieces[index].cost < INSIDE or not pieces[index - 1].ends


def _runs(pieces: Sequence[Piece], settings: PassageSettings, *, unmarked: bool) -> Iterator[_Run]:
    """Yield a stretch as runs, passages and what is in none, so that their costs are least.

    What the costs lose is cut once more, so that nothing is lost that can be a passage.
    """
    for run in _cheapest_runs(pieces, settings, _LOST_WORD, unmarked=unmarked):
        if run.kept or run.pieces[0].size > settings.max_words:
            yield run
        else:
            yield from _cheapest_runs(run.pieces, settings, _DEAR_WORD, unmarked=unmarked)


def _cheapest_runs(
    pieces: Sequence[Piece], settings: PassageSettings, lost_word: float, *, unmarked: bool
) -> list[_Run]:
    """Return the runs of least cost; a piece that is too long for a passage is lost by itself."""
    least, begins, kept = [0.0], [0], [True]
    for end, last in enumerate(pieces, start=1):
        lost = _LOST_RUN * kept[-1] + lost_word * last.size
        best = (least[-1] + lost, end - 1, False)
        n_words = 0.0
        for start in range(end - 1, -1, -1):
            n_words += pieces[start].size
            if n_words > settings.max_words and start < end - 1:
                break
            endless = unmarked and n_words > 2 * settings.max_words
            if last.ends and n_words >= settings.min_words and not endless:
                cost = least[start] + pieces[start].cost + _size_cost(n_words, settings)
                cost += _LOST_PASSAGE * (pieces[start].points and settings.standalone)
                best = min(best, (cost, start, True))
        least.append(best[0])
        begins.append(best[1])
        kept.append(best[2])
    runs: list[_Run] = []
    end = len(pieces)
    while end:
        runs.append(_Run(pieces=pieces[begins[end] : end], kept=kept[end]))
        end = begins[end]
    return _merged(runs[::-1], settings.max_words)


def _merged(runs: Sequence[_Run], max_words: int) -> list[_Run]:
    """Join lost pieces in a row, but none that is too long for a passage to its neighbours."""
    merged: list[_Run] = []
    for run in runs:
        before = merged[-1] if merged else None
        lost = before is not None and not before.kept and not run.kept
        if before and lost and max(p.size for p in (before.pieces[-1], run.pieces[0])) <= max_words:
            merged[-1] = _Run(pieces=[*before.pieces, *run.pieces], kept=False)
        else:
            merged.append(run)
    return merged


def _size_cost(n_words: float, settings: PassageSettings) -> float:
    """Return what a size costs: nothing at the target, `_SIZE` at either limit, more beyond.

    At `max_words` it is four times `_SIZE` at most, however near to the target the soft limit is.
    """
    target = settings.target_words
    if n_words < target:
        room: float = target - settings.min_words
    else:
        room = max(settings.soft_max_words - target, (settings.max_words - target) / 2)
    return _SIZE * ((n_words - target) / max(1, room)) ** 2


def _verdicts(
    runs: Sequence[_Run], passages: Sequence[Passage], settings: PassageSettings, now: datetime
) -> list[Verdict]:
    """Return the verdicts on blocks in no passage, and a note on those that lost a part."""
    inside = {block_id for passage in passages for block_id in passage.block_ids}
    faults: dict[str, Fault] = {}
    lost: defaultdict[str, list[Piece]] = defaultdict(list)
    for run in runs:
        fault = _run_fault(run, settings)
        for piece in () if run.kept else run.pieces:
            faults.setdefault(piece.block.id, fault)
            lost[piece.block.id].append(piece)
    verdicts: list[Verdict] = []
    for block_id, fault in faults.items():
        keep = block_id in inside
        found = _cut_fault(lost[block_id]) if keep else fault
        verdicts.append(found.verdict("blocks", block_id, now, keep=keep))
    return verdicts


def _cut_fault(pieces: Sequence[Piece]) -> Fault:
    """Return the note on a block that lost these pieces and kept others."""
    text = join_sentences([piece.text for piece in pieces])
    n_words = sum(piece.size for piece in pieces)
    return _CUT._replace(reason=f"{_CUT.reason}: {text!r}", score=n_words)


def _passages(document: Document, runs: Sequence[_Run]) -> list[Passage]:
    passages: list[Passage] = []
    seen: dict[str, int] = {}
    context: str | None = None
    for run in runs:
        blocks = [piece.block for piece in run.pieces]
        text = run.text
        repeat = seen[text] = seen.get(text, -1) + 1
        same_chapter = bool(passages) and passages[-1].chapter == blocks[0].chapter
        passages.append(
            Passage(
                id=content_id(document.id, text, repeat),
                source_id=document.source_id,
                document_id=document.id,
                ord=len(passages),
                group_id=content_id(document.id, blocks[0].chapter),
                text=text,
                n_words=count_words(text),
                block_ids=tuple(dict.fromkeys(block.id for block in blocks)),
                page_first=blocks[0].page,
                page_last=blocks[-1].page_last or blocks[-1].page,
                page_label=blocks[0].page_label,
                chapter=blocks[0].chapter,
                context=context if same_chapter else None,
            )
        )
        context = run.pieces[-1].text
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

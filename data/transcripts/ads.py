"""Ads that a host reads: found by what only sponsors are introduced with, cut as one stretch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from memoirist.data.schema.records import Block, Cut
from memoirist.data.text.words import count_words
from memoirist.data.transcripts.removed_spans import sentence_spans

# A newer search looks at every episode again; the number is a part of the cuts' mark.
VERSION = 2
_PATTERNS = Path(__file__).with_name("ads.txt")
_REACH_SENTENCES = 8
_NAME_REACH_SENTENCES = 3
_MAX_SENTENCES = 30
# Who pays: the words with a capital behind "by" or "from", of which the first two tell enough.
_SPONSOR = re.compile(
    r"(?i:\b(?:by|from|von|durch|par|por))\s+(?:(?:the|our|der|die|das|dem|le|la|el)\s+)?"
    r"([A-Z][\w&'’-]{2,}(?:\s+[A-Z][\w&'’-]*)?)"
)


def find_ads(block: Block) -> list[Cut]:
    """Return the stretches of a turn that are read for a sponsor.

    A stretch runs from the first cue to the last one, each at most eight sentences from the one
    before, and needs one strong cue, so that a talk about sponsors stays. A sponsor's name soon
    after his introduction is a cue as well.
    """
    if not cues("strong").search(block.text):
        return []
    spans = sentence_spans(block.text)
    told = [block.text[first:last] for first, last in spans]
    found: list[Cut] = []
    for run in _runs(told):
        first, last = spans[run[0]][0], spans[run[-1]][1]
        found.append(Cut(block_id=block.id, first_char=first, last_char=last, rule="ad"))
    return found


def _runs(told: Sequence[str]) -> Iterator[list[int]]:
    """Give the numbers of each stretch's sentences that have a cue."""
    strong = {n for n, text in enumerate(told) if cues("strong").search(text)}
    hits = strong | {n for n, text in enumerate(told) if cues("weak").search(text)}
    for n in sorted(strong):
        hits |= set(_named_again(told, n))
    run: list[int] = []
    for n in sorted(hits):
        if run and (n - run[-1] > _REACH_SENTENCES or n - run[0] > _MAX_SENTENCES):
            if strong & set(run):
                yield run
            run = []
        run.append(n)
    if strong & set(run):
        yield run


def _named_again(told: Sequence[str], opening: int) -> Iterator[int]:
    """Give the sentences behind an opening that name its sponsor, without a gap of more than 3."""
    names = [re.escape(name) for name in _SPONSOR.findall(told[opening])]
    if not names:
        return
    named = re.compile(rf"\b(?:{'|'.join(names)})\b")
    last = opening
    for n in range(opening + 1, min(len(told), opening + _MAX_SENTENCES)):
        if n - last > _NAME_REACH_SENTENCES:
            return
        if named.search(told[n]):
            last = n
            yield n


@cache
def cues(kind: str) -> re.Pattern[str]:
    """Return what matches any cue of a kind: `strong`, `weak`, `open` or `close`."""
    lines = _PATTERNS.read_text("utf-8").splitlines()
    found = [line.split("\t", 1)[1] for line in lines if line.startswith(f"{kind}\t")]
    return re.compile("|".join(f"(?:{each})" for each in found), re.IGNORECASE)


_MAX_BREAK_SENTENCES = 40
_MAX_WORDS = 700
# Whoever goes into a break says so in few words; a story that mentions one takes more.
_MAX_OPENING_WORDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """One sentence, and where it stands."""

    block: Block
    first: int
    last: int

    @property
    def text(self) -> str:
        return self.block.text[self.first : self.last]


def find_breaks(blocks: Sequence[Block]) -> list[Cut]:
    """Return the cuts of an episode's breaks, from the words that open one to those that close it.

    The same voice opens and closes a break, at most 40 sentences and 700 words lie between, and
    an ad's cue stands among them; where none does, it may have been a part of the talk, and it
    stays. A break that is opened by an ad ("this episode is brought to you by") is in one voice.
    """
    said = list(_sentences(blocks))
    texts = [each.text for each in said]
    cuts: list[Cut] = []
    begin = 0
    while begin < len(said):
        end = _closing(said, texts, begin) if _opens(texts[begin]) else None
        if end is None:
            begin += 1
            continue
        cuts += _cuts(said[begin : end + 1])
        begin = end + 1
    return cuts


def _sentences(blocks: Sequence[Block]) -> Iterator[_Said]:
    for block in blocks:
        for first, last in sentence_spans(block.text):
            yield _Said(block=block, first=first, last=last)


def _opens(text: str) -> bool:
    if cues("strong").search(text):
        return True
    return bool(cues("open").search(text)) and count_words(text) <= _MAX_OPENING_WORDS


def _closing(said: Sequence[_Said], texts: Sequence[str], begin: int) -> int | None:
    """Return the number of the sentence that closes the break which `begin` opens."""
    speaker = said[begin].block.speaker
    has_cue = is_ad = bool(cues("strong").search(texts[begin]))
    words = 0
    for n in range(begin + 1, min(len(said), begin + _MAX_BREAK_SENTENCES)):
        mine = said[n].block.speaker == speaker
        if mine and n > begin + 1 and cues("close").match(texts[n]):
            return n if has_cue else None
        words += count_words(texts[n])
        if words > _MAX_WORDS or (is_ad and not mine):
            return None
        has_cue |= bool(cues("strong").search(texts[n]) or cues("weak").search(texts[n]))
    return None


def _cuts(said: Sequence[_Said]) -> Iterator[Cut]:
    """Give one cut for each block that a stretch of sentences runs through."""
    spans: dict[str, tuple[int, int]] = {}
    for each in said:
        first, _ = spans.get(each.block.id, (each.first, each.last))
        spans[each.block.id] = (first, each.last)
    for block_id, (first, last) in spans.items():
        yield Cut(block_id=block_id, first_char=first, last_char=last, rule="ad")

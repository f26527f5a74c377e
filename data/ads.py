"""Ads that a host reads: found by what only sponsors are introduced with, cut as one stretch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from data.cuts import sentence_spans
from data.nouns import Block, Cut

# A newer search looks at every episode again; the number is a part of the cuts' mark.
VERSION = 2
_PATTERNS = Path(__file__).parent / "stopwords" / "ads.txt"
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

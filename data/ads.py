"""Ads that a host reads: found by what only sponsors are introduced with, cut as one stretch."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from data.cuts import sentence_spans
from data.nouns import Block, Cut

_PATTERNS = Path(__file__).parent / "stopwords" / "ads.txt"
_REACH_SENTENCES = 8
_MAX_SENTENCES = 30


def find_ads(block: Block) -> list[Cut]:
    """Return the stretches of a turn that are read for a sponsor.

    A stretch runs from the first cue to the last one, each at most eight sentences from the one
    before, and needs one strong cue, so that a talk about sponsors stays.
    """
    strong, weak = _cues("strong"), _cues("weak")
    if not strong.search(block.text):
        return []
    spans = sentence_spans(block.text)
    told = [block.text[first:last] for first, last in spans]
    hits = [n for n, text in enumerate(told) if strong.search(text) or weak.search(text)]
    cuts: list[Cut] = []
    run: list[int] = []
    for n in [*hits, len(spans) + _MAX_SENTENCES]:
        if run and (n - run[-1] > _REACH_SENTENCES or n - run[0] > _MAX_SENTENCES):
            if any(strong.search(told[k]) for k in run):
                first, last = spans[run[0]][0], spans[run[-1]][1]
                cuts.append(Cut(block_id=block.id, first_char=first, last_char=last, rule="ad"))
            run = []
        run.append(n)
    return cuts


@cache
def _cues(strength: str) -> re.Pattern[str]:
    lines = _PATTERNS.read_text("utf-8").splitlines()
    found = [line.split("\t", 1)[1] for line in lines if line.startswith(f"{strength}\t")]
    return re.compile("|".join(f"(?:{each})" for each in found), re.IGNORECASE)

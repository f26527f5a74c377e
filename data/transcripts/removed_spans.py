"""What is cut out of turns before they are split: stretches of stock text, and ads."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from memoirist.data.schema.records import Block, Cut, Verdict
from memoirist.data.text.words import count_words, sentences

_REASONS = {
    "stock_text": "stands in {n} episodes: an intro, an ad or a formula",
    "ad": "is read for a sponsor",
}
_NEXT_STEPS = {
    "stock_text": "raise passages.stock_min_episodes in the recipe to keep it",
    "ad": "set passages.cut_ads = false in the recipe to keep it",
}


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Return the (first, last) characters of each sentence; none crosses a paragraph."""
    spans: list[tuple[int, int]] = []
    for paragraph in re.finditer(r"(?:[^\n]|\n(?![ \t]*\n))+", text):
        at = paragraph.start()
        for sentence in sentences(paragraph.group()):
            start = text.find(sentence, at)
            if start < 0:
                continue
            at = start + len(sentence)
            spans.append((start, at))
    return spans


def merged(block_id: str, found: Iterable[Cut], text: str) -> list[Cut]:
    """Return the cuts of one turn in order; those with nothing but spaces between them as one."""
    cuts: list[Cut] = []
    for cut in sorted(found, key=lambda each: (each.first_char, -each.last_char)):
        before = cuts[-1] if cuts else None
        if before and not re.search(r"\w", text[before.last_char : cut.first_char]):
            last = max(before.last_char, cut.last_char)
            cuts[-1] = replace(before, last_char=last)
        else:
            cuts.append(replace(cut, block_id=block_id))
    return cuts


def apply(
    blocks: Sequence[Block], cuts: Sequence[Cut], now: datetime
) -> tuple[list[Block], list[Verdict]]:
    """Return the blocks without what is cut, and a verdict on each block that loses something.

    A block that loses all its words is left out, and its verdict does not keep it.
    """
    by_block: dict[str, list[Cut]] = defaultdict(list)
    for cut in cuts:
        by_block[cut.block_id].append(cut)
    kept: list[Block] = []
    verdicts: list[Verdict] = []
    for block in blocks:
        mine = by_block.get(block.id)
        if not mine:
            kept.append(block)
            continue
        text = _without(block.text, mine)
        whole = not re.search(r"\w", text)
        verdicts.append(_verdict(block, mine, now, keep=not whole))
        if not whole:
            kept.append(replace(block, text=text))
    return kept, verdicts


def _without(text: str, cuts: Sequence[Cut]) -> str:
    kept: list[str] = []
    at = 0
    for cut in sorted(cuts, key=lambda each: each.first_char):
        kept.append(text[at : cut.first_char])
        at = max(at, cut.last_char)
    kept.append(text[at:])
    # What stood on both sides of a cut was not said in one breath.
    return "\n\n".join(part.strip() for part in kept if re.search(r"\w", part))


def _verdict(block: Block, cuts: Sequence[Cut], now: datetime, *, keep: bool) -> Verdict:
    rule = cuts[0].rule
    lost = " ".join(block.text[cut.first_char : cut.last_char] for cut in cuts)
    why = _REASONS[rule].format(n=max(cut.n_documents or 0 for cut in cuts))
    return Verdict(
        subject_id=block.id,
        subject="blocks",
        rule=rule,
        keep=keep,
        score=float(count_words(lost)),
        reason=f"{count_words(lost)} words cut, what {why}: {' '.join(lost.split())[:120]}",
        created_at=now,
        next_step=_NEXT_STEPS[rule],
    )

"""Cut stock text and ads out of turns before they are split."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from memoirist.data.schema.records import Block, Cut, Fault, Verdict
from memoirist.data.text.words import count_words, sentences

# A paragraph: lines up to an empty one.
PARAGRAPH = re.compile(r"(?:[^\n]|\n(?![ \t]*\n))+")
_REASONS = {
    "stock_text": "stands in {n} episodes: an intro, an ad or a formula",
    "ad": "is read for a sponsor",
}
_NEXT_STEPS = {
    "stock_text": "raise passages.stock_min_episodes in the recipe to keep it",
    "ad": "set passages.cut_ads = false in the recipe to keep it",
}


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Return the start and end of each sentence; no sentence crosses a paragraph."""
    spans: list[tuple[int, int]] = []
    for paragraph in PARAGRAPH.finditer(text):
        at = paragraph.start()
        for sentence in sentences(paragraph.group()):
            start = text.find(sentence, at)
            if start < 0:
                continue
            at = start + len(sentence)
            spans.append((start, at))
    return spans


def merge_cuts(block_id: str, cuts: Iterable[Cut], text: str) -> list[Cut]:
    """Sort the cuts of one turn, and merge those without a word between them."""
    result: list[Cut] = []
    for cut in sorted(cuts, key=lambda cut: (cut.first_char, -cut.last_char)):
        before = result[-1] if result else None
        if before and not re.search(r"\w", text[before.last_char : cut.first_char]):
            result[-1] = replace(before, last_char=max(before.last_char, cut.last_char))
        else:
            result.append(replace(cut, block_id=block_id))
    return result


def apply_cuts(
    blocks: Sequence[Block], cuts: Sequence[Cut], now: datetime
) -> tuple[list[Block], list[Verdict]]:
    """Cut the spans out of the blocks, and return the blocks with a verdict on each changed one.

    A block that loses all its words is dropped.
    """
    by_block: dict[str, list[Cut]] = defaultdict(list)
    for cut in cuts:
        by_block[cut.block_id].append(cut)
    kept: list[Block] = []
    verdicts: list[Verdict] = []
    for block in blocks:
        block_cuts = by_block.get(block.id)
        if not block_cuts:
            kept.append(block)
            continue
        text = _without(block.text, block_cuts)
        has_words = re.search(r"\w", text) is not None
        verdicts.append(_verdict(block, block_cuts, now, keep=has_words))
        if has_words:
            kept.append(replace(block, text=text))
    return kept, verdicts


def _without(text: str, cuts: Sequence[Cut]) -> str:
    kept: list[str] = []
    at = 0
    for cut in sorted(cuts, key=lambda cut: cut.first_char):
        kept.append(text[at : cut.first_char])
        at = max(at, cut.last_char)
    kept.append(text[at:])
    # The texts on both sides of a cut do not belong to one sentence.
    return "\n\n".join(part.strip() for part in kept if re.search(r"\w", part))


def _verdict(block: Block, cuts: Sequence[Cut], now: datetime, *, keep: bool) -> Verdict:
    rule = cuts[0].rule
    removed = " ".join(block.text[cut.first_char : cut.last_char] for cut in cuts)
    n_words = count_words(removed)
    why = _REASONS[rule].format(n=max(cut.n_documents or 0 for cut in cuts))
    reason = f"{n_words} words cut, what {why}: {' '.join(removed.split())[:120]}"
    fault = Fault(rule, reason, _NEXT_STEPS[rule], float(n_words))
    return fault.verdict("blocks", block.id, now, keep=keep)

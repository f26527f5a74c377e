"""Why prose and page furniture are in no passage: the verdicts of the split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from memoirist.data.schema.records import Block, Document, Verdict

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
# The rule, the reason and the next step of a run of prose that makes no passage.
Fault = tuple[str, str, str]


def furniture(block: Block, now: datetime) -> Verdict:
    """Return the verdict on a block that is not prose."""
    return Verdict(
        subject_id=block.id,
        subject="blocks",
        rule=block.kind,
        keep=False,
        reason=FURNITURE.get(block.kind, f"a {block.kind} is not the author's prose"),
        created_at=now,
        next_step="nothing, unless it is prose: then report the page",
    )


def unpunctuated(document: Document, n_chapters: int, now: datetime) -> Verdict:
    """Return the flag of a document whose passages end at paragraph ends, for want of marks."""
    return Verdict(
        subject_id=document.id,
        subject="documents",
        rule="unpunctuated",
        keep=True,
        score=float(n_chapters),
        reason="it has no sentence marks: its passages end where its paragraphs do",
        created_at=now,
        next_step="give a punctuated edition where paragraphs are long",
    )


def fault_of(n_words: int, min_words: int, *, ends: bool) -> Fault:
    """Return why a run of so many words is no passage; one that is long enough is too long."""
    if not ends:
        step = "nothing, if it is a heading, a list or a table; else report the page"
        return "unfinished", "it does not end a sentence", step
    if n_words < min_words:
        reason = f"{n_words} words alone in its chapter, fewer than {min_words}"
        return "too_short", reason, "lower passages.min_words in the recipe to keep it"
    step = "give a punctuated edition, or raise passages.max_words in the recipe"
    return "uncut", f"{n_words} words without a sentence mark cannot be cut", step


def unfit(blocks: Iterable[Block], fault: Fault, n_words: int, now: datetime) -> Iterator[Verdict]:
    """Give the verdict on each block of a run of prose that makes no passage."""
    rule, reason, step = fault
    for block in blocks:
        yield Verdict(
            subject_id=block.id,
            subject="blocks",
            rule=rule,
            keep=False,
            reason=reason,
            score=float(n_words),
            created_at=now,
            next_step=step,
        )

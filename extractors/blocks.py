"""Give drafts their ids and their order: the same text gets the same id on every run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from memoirist.data.schema.records import Block, BlockKind, content_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A block before it knows its document and its place."""

    kind: BlockKind
    text: str
    page: int | None = None
    page_last: int | None = None
    page_label: str | None = None
    chapter: str | None = None
    speaker: str | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None


def blocks_of(document_id: str, drafts: Iterable[Draft]) -> list[Block]:
    """Return blocks in the order of `drafts`; one without text is left out.

    An id hangs on the document, the kind, the text and the count of equal blocks before, never
    on the place: a changed chapter changes only its own blocks.
    """
    seen: Counter[tuple[str, str]] = Counter()
    blocks: list[Block] = []
    for draft in drafts:
        if not draft.text.strip():
            continue
        twin = (draft.kind, draft.text)
        blocks.append(
            Block(
                id=content_id(document_id, draft.kind, draft.text, seen[twin]),
                document_id=document_id,
                ord=len(blocks),
                kind=draft.kind,
                text=draft.text,
                page=draft.page,
                page_last=draft.page_last,
                page_label=draft.page_label,
                chapter=draft.chapter,
                speaker=draft.speaker,
                start_seconds=draft.start_seconds,
                end_seconds=draft.end_seconds,
            )
        )
        seen[twin] += 1
    return blocks

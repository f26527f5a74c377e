"""Make blocks of drafts, with ids and order: the same text gets the same id on every run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields

from memoirist.data.schema.records import Block, BlockKind, content_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A block without its document, its id and its place."""

    kind: BlockKind
    text: str
    page: int | None = None
    page_last: int | None = None
    page_label: str | None = None
    chapter: str | None = None
    speaker: str | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None


_FIELDS = tuple(field.name for field in fields(Draft))


def blocks_of(document_id: str, drafts: Iterable[Draft]) -> list[Block]:
    """Return blocks in the order of `drafts`; one without text is left out.

    An id depends on the document, the kind, the text and the number of equal blocks before, never
    on the place: a changed chapter changes only its own blocks.
    """
    counts: Counter[tuple[str, str]] = Counter()
    blocks: list[Block] = []
    for draft in drafts:
        if not draft.text.strip():
            continue
        key = (draft.kind, draft.text)
        block_id = content_id(document_id, *key, counts[key])
        values = {name: getattr(draft, name) for name in _FIELDS}
        blocks.append(Block(id=block_id, document_id=document_id, ord=len(blocks), **values))
        counts[key] += 1
    return blocks

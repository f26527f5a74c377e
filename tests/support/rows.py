"""Small real rows for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from memoirist.data.schema.records import (
    Block,
    BlockKind,
    Document,
    Pair,
    Passage,
    Source,
    content_id,
)
from memoirist.data.text.words import count_words

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 1, tzinfo=UTC)

# Forty different words of plain prose, ending a sentence; `prose` varies them by a number.
_WORDS = (
    "In the year {n} the river rose above the old mill and my father carried the flour to the loft "
    "by himself while we stood at the window and counted sack {n} after sack until it was dark "
    "and he sat down."
)


def prose(n: int, sentences: int = 3) -> str:
    """Return about 40 words a sentence, different for each `n`."""
    return " ".join(_WORDS.format(n=1000 + n * 10 + i) for i in range(sentences))


def source(kind: str = "book", number: int = 0) -> Source:
    return Source(
        id=content_id("source", number),
        kind=kind,  # type: ignore[arg-type]
        format="pdf",
        location=f"/books/{number}.pdf",
        sha256=str(number),
        title=f"Book {number}",
        added_at=NOW,
    )


def document(number: int = 0) -> Document:
    return Document(
        id=content_id("document", number), source_id=source(number=number).id, title="A"
    )


def block(ord_: int, text: str, kind: BlockKind = "paragraph", **extra: object) -> Block:
    return Block(
        id=content_id("block", ord_, text),
        document_id=document().id,
        ord=ord_,
        kind=kind,
        text=text,
        **extra,  # type: ignore[arg-type]
    )


def passage(n: int, text: str | None = None, **extra: object) -> Passage:
    text = prose(n) if text is None else text
    values: dict[str, object] = {
        "id": content_id("passage", n, text),
        "source_id": source().id,
        "document_id": document().id,
        "ord": n,
        "group_id": f"g{n // 4}",
        "text": text,
        "n_words": count_words(text),
        **extra,
    }
    return Passage(**values)  # type: ignore[arg-type]


def pair(n: int, **extra: object) -> Pair:
    values: dict[str, object] = {
        "id": content_id("pair", n),
        "source_id": source().id,
        "passage_id": content_id("passage", n),
        "question_id": content_id("question", n),
        "group_id": f"g{n // 4}",
        "thread_id": content_id("passage", n),
        "ord": 0,
        "question": f"What of number {n}?",
        "answer": f"Answer number {n} tells of wheel {n * 7} and stone {n * 13} and nothing else.",
        "origin": "given",
        **extra,
    }
    return Pair(**values)  # type: ignore[arg-type]

"""Extract conversations from JSON lines (or a JSON list) in the OpenAI messages schema."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from data.errors import SourceUnreadable
from data.nouns import Block, Document, Rows, Source, Verdict, content_id
from extractors.blocks import Draft, blocks_of
from extractors.formats import Progress
from extractors.settings import ExtractSettings

_ROLES = ("system", "user", "assistant")
_NEXT_STEP = 'write each line as {"messages": [{"role": "user", "content": "..."}, ...]}'


class _BadRow(ValueError):
    """A row breaks the schema; the text says how."""


def extract_messages(
    source: Source, settings: ExtractSettings, on_progress: Progress | None = None
) -> Rows:
    """Return a document for each good row and a verdict for each bad one.

    Raise SourceUnreadable, with the first fault, where every row is bad.
    """
    documents: list[Document] = []
    blocks: list[Block] = []
    verdicts: list[Verdict] = []
    seen: Counter[str] = Counter()
    for line, row in _rows(Path(source.location)):
        try:
            drafts = _drafts(row)
        except _BadRow as fault:
            verdicts.append(_verdict(source, line, str(fault)))
            continue
        canonical = json.dumps(row, ensure_ascii=False, sort_keys=True)
        identity = content_id(source.id, canonical, seen[canonical])
        seen[canonical] += 1
        documents.append(Document(id=identity, source_id=source.id, title=f"row {line}"))
        blocks.extend(blocks_of(identity, drafts))
    if not documents:
        why = verdicts[0].reason if verdicts else "it has no rows"
        raise SourceUnreadable(f"no row of {source.location!r} can be used: {why}", _NEXT_STEP)
    return Rows(documents=documents, blocks=blocks, verdicts=verdicts)


def _rows(path: Path) -> Iterator[tuple[int, object]]:
    """Give (line, parsed row); of a JSON file that is one list, (place in it, row)."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        if path.suffix.lower() == ".json" and (rows := _whole(file.read())) is not None:
            yield from enumerate(rows, start=1)
            return
        file.seek(0)
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except (ValueError, RecursionError) as fault:
                    yield number, _BadRow(f"it is not JSON ({str(fault)[:80]})")


def _whole(text: str) -> Sequence[object] | None:
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return whole if isinstance(whole, list) else [whole]


def _drafts(row: object) -> list[Draft]:
    """Return the blocks of one conversation; raise _BadRow naming the first fault."""
    if isinstance(row, _BadRow):
        raise row
    if not isinstance(row, dict) or not isinstance(row.get("messages"), list):
        keys = f" (its keys: {', '.join(map(str, row))[:80]})" if isinstance(row, dict) else ""
        raise _BadRow(f'it has no list "messages"{keys}')
    drafts = [_draft(message, at) for at, message in enumerate(row["messages"])]
    if not any(draft.speaker == "assistant" for draft in drafts):
        raise _BadRow("it has no assistant turn")
    return drafts


def _draft(message: object, at: int) -> Draft:
    where = f"message {at + 1}"
    if not isinstance(message, dict):
        raise _BadRow(f"{where} is no JSON object")
    role = message.get("role")
    if role not in _ROLES:
        raise _BadRow(f"{where} has the unknown role {role!r}")
    text = _content(message.get("content"), where)
    if role == "system":
        if at:
            raise _BadRow(f"{where} is a system message that is not the first")
        return Draft(kind="system", text=text)
    return Draft(kind="turn", text=text, speaker=str(role))


def _content(content: object, where: str) -> str:
    """Return the text of a message; a list's text parts are joined by line breaks."""
    if isinstance(content, list):
        parts = [
            part if isinstance(part, str) else part.get("text")
            for part in content
            if isinstance(part, (str, dict))
        ]
        content = "\n".join(part for part in parts if isinstance(part, str))
    if not isinstance(content, str) or not content.strip():
        raise _BadRow(f"{where} has no text content")
    try:
        content.encode()
    except UnicodeEncodeError as fault:
        raise _BadRow(f"{where} holds bytes that are not UTF-8") from fault
    return content


def _verdict(source: Source, line: int, fault: str) -> Verdict:
    return Verdict(
        subject_id=content_id(source.id, "row", line),
        subject="documents",
        rule="bad_row",
        keep=False,
        reason=f"line {line}: {fault}",
        next_step=_NEXT_STEP,
        created_at=datetime.now(UTC),
    )

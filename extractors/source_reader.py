"""Read a source: its row from a file or the hub, then its documents and blocks."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from memoirist.data.schema.errors import SourceMissing, SourceUnreadable
from memoirist.data.schema.records import Rows, Source, Verdict, content_id
from memoirist.extractors.detection.discover import SourceRef, printable, unknown_format
from memoirist.extractors.detection.format_registry import (
    SUFFIXES,
    Extractor,
    Progress,
    format_named,
    load,
)
from memoirist.extractors.detection.sniff import content_of, format_of

if TYPE_CHECKING:
    from memoirist.extractors.settings import ExtractSettings

# The rule of the verdict on a file that is read by its content, against its ending.
BY_CONTENT = "read_by_content"
# File names that say nothing about their content: the folder's name belongs to the title.
_SHARED_NAME = re.compile(
    r"^(?:(?:transcript|captions?|subtitles?|episode|book|index|main|result|_chat)\b|message_\d)",
    re.I,
)


def read_source(ref: SourceRef, added_at: datetime) -> Source:
    """Return the source of one file; raise SourceMissing or, where it is empty, SourceUnreadable.

    A hub dataset's source is the revision that its pointer means today.
    """
    if ref.pointer is not None:
        hub_source = load("dataset.hub_dataset:hub_source")
        return cast("Source", hub_source(ref.pointer, added_at))
    path = ref.path.expanduser().resolve()
    if printable(path) != str(path):
        raise SourceUnreadable(
            f"the file name {printable(path)!r} is not UTF-8",
            "rename the file and run the command again",
        )
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        empty = path.stat().st_size == 0
    except FileNotFoundError as fault:
        raise missing_source(str(path)) from fault
    except OSError as fault:
        raise SourceUnreadable(
            f"the file {str(path)!r} cannot be opened ({fault.strerror})", "check its permissions"
        ) from fault
    if empty:
        raise SourceUnreadable(f"the file {str(path)!r} is empty", "get a complete copy of it")
    if format_of(path) is None:
        raise unknown_format(path)
    known = format_named(ref.format)
    title, author = load(known.names)(path) if known.names else (None, None)
    return Source(
        id=content_id(sha256),
        kind=known.kind,
        format=ref.format,
        location=str(path),
        sha256=sha256,
        added_at=added_at,
        title=title or _title_of(path),
        author=author,
    )


def _title_of(path: Path) -> str:
    """Return a file's name as a title, with its folder's name where many folders share the name."""
    stem = f"{path.parent.name} {path.stem}" if _SHARED_NAME.match(path.stem) else path.stem
    words = re.sub(r"[_\s]+|(?<=\w)-(?=\w)", " ", stem).strip()
    return words[:1].upper() + words[1:] if words else path.stem


def extract(source: Source, settings: ExtractSettings, on_progress: Progress | None = None) -> Rows:
    """Return the documents, blocks and verdicts of `source`, each block in reading order.

    `on_progress` gets (pages done, pages in all) of a PDF. Raise the SourceError that says why
    the source as a whole cannot be taken in; lesser faults come back as verdicts.
    """
    path = Path(source.location)
    try:
        extractor: Extractor = load(format_named(source.format).extractor)
    except KeyError as fault:
        raise SourceUnreadable(
            f"no extractor reads the format {source.format!r} of {path.name!r}",
            f"give one of these formats: {', '.join(SUFFIXES)}",
        ) from fault
    try:
        rows = extractor(source, settings, on_progress)
    except FileNotFoundError as fault:
        raise missing_source(source.location) from fault
    except OSError as fault:
        raise SourceUnreadable(
            f"the file {source.location!r} cannot be opened ({fault.strerror})",
            "check that it is a file and that you may read it",
        ) from fault
    content = content_of(path)
    if content is None or source.format not in content.formats:
        return rows
    if path.suffix.lower() in format_named(source.format).suffixes:
        return rows
    verdict = _by_content(rows, source, content.description)
    return replace(rows, verdicts=[*rows.verdicts, verdict])


def _by_content(rows: Rows, source: Source, description: str) -> Verdict:
    suffix = Path(source.location).suffix
    ending = f", not by its ending {suffix}" if suffix else ""
    return Verdict(
        subject_id=next((document.id for document in rows.documents), source.id),
        subject="documents",
        rule=BY_CONTENT,
        keep=True,
        reason=f"read as {description} by its content{ending}",
        created_at=datetime.now(UTC),
        next_step="nothing; give the file the right ending to avoid this note",
    )


def missing_source(location: str) -> SourceMissing:
    """Return the error for a source that is no longer there."""
    return SourceMissing(f"the file {location!r} is missing", "put it back, or give its new path")

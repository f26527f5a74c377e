"""The extract step: one source in, its documents, blocks and verdicts out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from memoirist.data.schema.errors import SourceUnreadable
from memoirist.data.schema.records import Rows, Source, Verdict
from memoirist.extractors.detection.discover import missing
from memoirist.extractors.detection.format_registry import (
    SUFFIXES,
    Extractor,
    Progress,
    by_name,
    load,
    misnamed,
)

if TYPE_CHECKING:
    from memoirist.extractors.settings import ExtractSettings


# The rule of the mark on a file that was read by its content, against its ending.
BY_CONTENT = "read_by_content"


def extract(source: Source, settings: ExtractSettings, on_progress: Progress | None = None) -> Rows:
    """Return the documents, blocks and verdicts of `source`, each block in reading order.

    `on_progress` gets (pages done, pages in all) of a PDF. Raise the SourceError that says why
    the source as a whole cannot be taken in; lesser faults come back as verdicts.
    """
    try:
        extractor: Extractor = load(by_name(source.format).extractor)
    except KeyError as fault:
        raise SourceUnreadable(
            f"no extractor reads the format {source.format!r} of {Path(source.location).name!r}",
            f"give one of these formats: {', '.join(SUFFIXES)}",
        ) from fault
    try:
        rows = extractor(source, settings, on_progress)
    except FileNotFoundError as fault:
        raise missing(source.location) from fault
    except OSError as fault:
        raise SourceUnreadable(
            f"the file {source.location!r} cannot be opened ({fault.strerror})",
            "check that it is a file and that you may read it",
        ) from fault
    told = misnamed(Path(source.location), source.format)
    return (
        rows
        if told is None
        else replace(rows, verdicts=[*rows.verdicts, _flag(rows, source, told)])
    )


def _flag(rows: Rows, source: Source, told: str) -> Verdict:
    """Return the mark on what was read by its content."""
    path = Path(source.location)
    return Verdict(
        subject_id=next((each.id for each in rows.documents), source.id),
        subject="documents",
        rule=BY_CONTENT,
        keep=True,
        reason=f"read as {told}, which its content is"
        + (f" and its ending {path.suffix} is not" if path.suffix else ""),
        created_at=datetime.now(UTC),
        next_step="nothing; name the file after what it is to be rid of this line",
    )

"""Try what was downloaded: whether it is a transcript at all, and says who speaks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from memoirist.data.schema.errors import SourceError, SourceUnreadable
from memoirist.extractors.settings import ExtractSettings
from memoirist.extractors.transcript.feeds.download import place


def names_speakers(content: bytes, url: str, suffix: str, folder: Path) -> bool:
    """Tell whether a transcript names anybody; raise SourceUnreadable for what is none."""
    # Imported here: the extractors' table names this package's own modules.
    from memoirist.extractors.detection.discover import SourceRef
    from memoirist.extractors.detection.sniff import format_of
    from memoirist.extractors.source_reader import extract, read_source

    refused = SourceUnreadable(
        f"{url!r} holds no transcript with times or speakers", "look at it yourself"
    )
    with _tried(content, folder, suffix) as path:
        known = format_of(path)
        if known is None or known.kind != "podcast":
            raise refused
        try:
            source = read_source(SourceRef(path=path, format=known.name), datetime.now(UTC))
            rows = extract(source, ExtractSettings())
        except SourceError as fault:
            raise refused from fault
        return any(block.speaker for block in rows.blocks)


@contextmanager
def _tried(content: bytes, folder: Path, suffix: str) -> Iterator[Path]:
    path = folder / f".tried{suffix}"
    place(content, path)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)

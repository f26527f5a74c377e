"""The extract step: one source in, its documents, blocks and verdicts out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import SourceUnreadable
from data.nouns import Rows, Source
from extractors.discover import missing
from extractors.formats import SUFFIXES, Extractor, Progress, by_name, load

if TYPE_CHECKING:
    from extractors.settings import ExtractSettings


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
        return extractor(source, settings, on_progress)
    except FileNotFoundError as fault:
        raise missing(source.location) from fault
    except OSError as fault:
        raise SourceUnreadable(
            f"the file {source.location!r} cannot be opened ({fault.strerror})",
            "check that it is a file and that you may read it",
        ) from fault

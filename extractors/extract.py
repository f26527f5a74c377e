"""The extract step: one source in, its documents, blocks and verdicts out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from data.errors import SourceUnreadable
from data.nouns import Rows, Source
from extractors.discover import missing
from extractors.messages import extract_messages
from extractors.settings import ExtractSettings
from extractors.text import extract_text
from extractors.vtt import extract_vtt


def extract(
    source: Source,
    settings: ExtractSettings,
    on_progress: Callable[[int, int], None] | None = None,
) -> Rows:
    """Return the documents, blocks and verdicts of `source`, each block in reading order.

    `on_progress` gets (pages done, pages in all) of a PDF. Raise the SourceError that says why
    the source as a whole cannot be taken in; lesser faults come back as verdicts.
    """
    try:
        if source.format == "pdf":
            # pdfminer loads for a PDF alone, so that the command line starts at once.
            from extractors.pdf import extract_pdf

            return extract_pdf(source, settings, on_progress)
        if source.format == "vtt":
            return extract_vtt(source, settings)
        if source.format == "messages":
            return extract_messages(source)
        if source.format == "text":
            return extract_text(source)
    except FileNotFoundError as fault:
        raise missing(source.location) from fault
    except OSError as fault:
        raise SourceUnreadable(
            f"the file {source.location!r} cannot be opened ({fault.strerror})",
            "check that it is a file and that you may read it",
        ) from fault
    raise SourceUnreadable(
        f"no extractor reads the format {source.format!r} of {Path(source.location).name!r}",
        "give a .pdf, .vtt, .jsonl, .txt or .md file",
    )

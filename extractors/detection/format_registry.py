"""The formats that are read: what each one is called, how it is recognised, and who reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from memoirist.data.schema.records import Rows, Source, SourceKind
from memoirist.extractors.detection.sniff import content_of

if TYPE_CHECKING:
    from memoirist.extractors.settings import ExtractSettings


Progress = Callable[[int, int], None]


class Extractor(Protocol):
    """Turn one source into its documents, blocks and verdicts; raise a SourceError."""

    def __call__(
        self, source: Source, settings: ExtractSettings, on_progress: Progress | None = None
    ) -> Rows:
        """Return the rows; `on_progress` gets (pages done, pages in all)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format. Functions are named as `module:function`, so that only what is met is loaded.

    `claims` tells whether a file whose suffix several formats share is of this one; `names`
    returns the (title, author) that the file gives itself, None where it is silent.
    """

    name: str
    kind: SourceKind
    suffixes: tuple[str, ...]
    extractor: str
    claims: str | None = None
    names: str | None = None


# Where formats share a suffix, the first that claims the file has it; one without a claim is last.
FORMATS = (
    Format(
        name="pdf",
        kind="book",
        suffixes=(".pdf",),
        extractor="memoirist.extractors.pdf.extract_pdf:extract_pdf",
        names="memoirist.extractors.pdf.extract_pdf:names",
    ),
    Format(
        name="vtt",
        kind="podcast",
        suffixes=(".vtt",),
        extractor="memoirist.extractors.transcript.transcript_turns:extract_transcript",
        names="memoirist.extractors.transcript.transcript_turns:names",
    ),
    Format(
        name="srt",
        kind="podcast",
        suffixes=(".srt",),
        extractor="memoirist.extractors.transcript.transcript_turns:extract_transcript",
        names="memoirist.extractors.transcript.transcript_turns:names",
    ),
    Format(
        name="whisper",
        kind="podcast",
        suffixes=(".json",),
        extractor="memoirist.extractors.transcript.transcript_turns:extract_transcript",
        claims="memoirist.extractors.transcript.formats.transcript_json:is_whisper",
        names="memoirist.extractors.transcript.transcript_turns:names",
    ),
    Format(
        name="podcast-json",
        kind="podcast",
        suffixes=(".json",),
        extractor="memoirist.extractors.transcript.transcript_turns:extract_transcript",
        claims="memoirist.extractors.transcript.formats.transcript_json:is_podcast_json",
        names="memoirist.extractors.transcript.transcript_turns:names",
    ),
    Format(
        name="podlove",
        kind="podcast",
        suffixes=(".json",),
        extractor="memoirist.extractors.transcript.transcript_turns:extract_transcript",
        claims="memoirist.extractors.transcript.formats.transcript_json:is_podlove",
        names="memoirist.extractors.transcript.transcript_turns:names",
    ),
    Format(
        name="conversation",
        kind="podcast",
        suffixes=(".jsonl", ".json"),
        extractor="memoirist.extractors.transcript.transcript_turns:extract_transcript",
        claims="memoirist.extractors.transcript.formats.transcript_json:is_conversation",
        names="memoirist.extractors.transcript.transcript_turns:names",
    ),
    Format(
        name="podcast-html",
        kind="podcast",
        suffixes=(".html", ".htm"),
        extractor="memoirist.extractors.transcript.transcript_turns:extract_transcript",
        claims="memoirist.extractors.transcript.formats.podcast_html:is_podcast_html",
        names="memoirist.extractors.transcript.transcript_turns:names",
    ),
    Format(
        name="turn-table",
        kind="podcast",
        suffixes=(".csv", ".tsv"),
        extractor="memoirist.extractors.transcript.transcript_turns:extract_transcript",
        claims="memoirist.extractors.transcript.formats.turn_table:is_turn_table",
        names="memoirist.extractors.transcript.transcript_turns:names",
    ),
    Format(
        name="dialogue",
        kind="podcast",
        suffixes=(".txt", ".md", ".markdown"),
        extractor="memoirist.extractors.transcript.transcript_turns:extract_transcript",
        claims="memoirist.extractors.transcript.formats.dialogue:is_dialogue",
        names="memoirist.extractors.transcript.transcript_turns:names",
    ),
    Format(
        name="dataset",
        kind="dataset",
        suffixes=(
            ".jsonl",
            ".json",
            ".ndjson",
            ".parquet",
            ".arrow",
            ".feather",
            ".csv",
            ".tsv",
        ),
        extractor="memoirist.extractors.dataset.dataset_rows:extract_dataset",
    ),
    Format(
        name="epub",
        kind="book",
        suffixes=(".epub",),
        extractor="memoirist.extractors.text.epub:extract_epub",
        names="memoirist.extractors.text.epub:names",
    ),
    Format(
        name="docx",
        kind="book",
        suffixes=(".docx",),
        extractor="memoirist.extractors.text.docx:extract_docx",
        names="memoirist.extractors.text.docx:names",
    ),
    Format(
        name="html",
        kind="book",
        suffixes=(".html", ".htm", ".xhtml"),
        extractor="memoirist.extractors.text.html:extract_html",
        names="memoirist.extractors.text.html:names",
    ),
    Format(
        name="markdown",
        kind="text",
        suffixes=(".md", ".markdown"),
        extractor="memoirist.extractors.text.markdown:extract_markdown",
        names="memoirist.extractors.text.markdown:names",
    ),
    Format(
        name="text",
        kind="text",
        suffixes=(".txt",),
        extractor="memoirist.extractors.text.plain_text:extract_text",
        names="memoirist.extractors.text.plain_text:names",
    ),
)
SUFFIXES = tuple(dict.fromkeys(suffix for each in FORMATS for suffix in each.suffixes))


def format_of(path: Path) -> Format | None:
    """Return the format of a file: by its ending, unless its content plainly is another.

    None where the ending is unknown and the content no help, or where nothing reads the content.
    """
    suffix = path.suffix.lower()
    candidates = [each for each in FORMATS if suffix in each.suffixes]
    content = content_of(path, SUFFIXES)
    if content is not None and suffix not in content.suffixes:
        candidates = [by_name(name) for name in content.formats]
    return next((each for each in candidates if not each.claims or load(each.claims)(path)), None)


def misnamed(path: Path, name: str) -> str | None:
    """Return what a file of the format `name` is, in words, where its ending says otherwise."""
    content = content_of(path, SUFFIXES)
    if content is None or path.suffix.lower() in by_name(name).suffixes:
        return None
    return content.told if name in content.formats else None


def by_name(name: str) -> Format:
    """Return the format that is called `name`; raise KeyError for an unknown one."""
    for each in FORMATS:
        if each.name == name:
            return each
    raise KeyError(name)


def load(reference: str) -> Any:  # noqa: ANN401 - the reference says what it is
    """Return the function that `module:function` names."""
    module, function = reference.split(":")
    return getattr(import_module(module), function)

"""List the formats that are read: names, file endings, how to recognise one, and its extractor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from memoirist.data.schema.records import Rows, Source, SourceKind

if TYPE_CHECKING:
    from memoirist.extractors.settings import ExtractSettings


Progress = Callable[[int, int], None]


class Extractor(Protocol):
    """Turn one source into its documents, blocks and verdicts; raise a SourceError."""

    def __call__(
        self, source: Source, settings: ExtractSettings, on_progress: Progress | None = None
    ) -> Rows:
        """Return the rows; `on_progress` gets (pages done, pages in all)."""


@dataclass(frozen=True, slots=True)
class Format:
    """One format. Functions are given as `module:function`, so that only those in use are loaded.

    `names` returns the (title, author) that a file states, each None where it states none.
    `recognise` tells whether a file is of this format where several formats share its ending.
    `reader` reads the file of a transcript into scripts.
    """

    name: str
    kind: SourceKind
    suffixes: tuple[str, ...]
    extractor: str
    names: str | None = None
    recognise: str | None = None
    reader: str | None = None


_CAPTIONS = "memoirist.extractors.transcript.formats.captions"
_JSON = "memoirist.extractors.transcript.formats.transcript_json"
_HTML = "memoirist.extractors.transcript.formats.podcast_html"
_TABLE = "memoirist.extractors.transcript.formats.turn_table"
_DIALOGUE = "memoirist.extractors.transcript.formats.dialogue"


def _transcript(
    name: str, suffixes: tuple[str, ...], reader: str, recognise: str | None = None
) -> Format:
    return Format(
        name,
        "podcast",
        suffixes,
        "memoirist.extractors.transcript.transcript_turns:extract_transcript",
        "memoirist.extractors.transcript.transcript_turns:names",
        recognise,
        reader,
    )


_TABLES = (".jsonl", ".json", ".ndjson", ".parquet", ".arrow", ".feather", ".csv", ".tsv")


def _text(name: str, kind: SourceKind, suffixes: tuple[str, ...], extractor: str) -> Format:
    return Format(name, kind, suffixes, extractor, f"{extractor.partition(':')[0]}:names")


# Where formats share an ending, the first that recognises the file reads it; those that do not
# look at the content come last.
FORMATS = (
    _text("pdf", "book", (".pdf",), "memoirist.extractors.pdf.extract_pdf:extract_pdf"),
    _transcript("vtt", (".vtt",), f"{_CAPTIONS}:read_captions"),
    _transcript("srt", (".srt",), f"{_CAPTIONS}:read_captions"),
    _transcript("whisper", (".json",), f"{_JSON}:read_entries", f"{_JSON}:is_whisper"),
    _transcript("podcast-json", (".json",), f"{_JSON}:read_entries", f"{_JSON}:is_podcast_json"),
    _transcript("podlove", (".json",), f"{_JSON}:read_entries", f"{_JSON}:is_podlove"),
    _transcript(
        "conversation",
        (".jsonl", ".json"),
        f"{_JSON}:read_conversations",
        f"{_JSON}:is_conversation",
    ),
    _transcript(
        "podcast-html", (".html", ".htm"), f"{_HTML}:read_podcast_html", f"{_HTML}:is_podcast_html"
    ),
    _transcript(
        "turn-table", (".csv", ".tsv"), f"{_TABLE}:read_turn_table", f"{_TABLE}:is_turn_table"
    ),
    _transcript(
        "dialogue",
        (".txt", ".md", ".markdown"),
        f"{_DIALOGUE}:read_dialogue",
        f"{_DIALOGUE}:is_dialogue",
    ),
    Format(
        "dataset", "dataset", _TABLES, "memoirist.extractors.dataset.dataset_rows:extract_dataset"
    ),
    _text("epub", "book", (".epub",), "memoirist.extractors.text.epub:extract_epub"),
    _text("docx", "book", (".docx",), "memoirist.extractors.text.docx:extract_docx"),
    _text(
        "html", "book", (".html", ".htm", ".xhtml"), "memoirist.extractors.text.html:extract_html"
    ),
    _text(
        "markdown",
        "text",
        (".md", ".markdown"),
        "memoirist.extractors.text.markdown:extract_markdown",
    ),
    Format(
        "text",
        "text",
        (".txt",),
        "memoirist.extractors.text.plain_text:extract_text",
        "memoirist.extractors.text.front_back_matter:header_names",
    ),
)
SUFFIXES = tuple(dict.fromkeys(suffix for known in FORMATS for suffix in known.suffixes))


def format_named(name: str) -> Format:
    """Return the format that is called `name`; raise KeyError for an unknown one."""
    for known in FORMATS:
        if known.name == name:
            return known
    raise KeyError(name)


def load(reference: str) -> Any:  # noqa: ANN401 - the reference says what it is
    """Return the function that `module:function` names."""
    module, function = reference.split(":")
    return getattr(import_module(module), function)

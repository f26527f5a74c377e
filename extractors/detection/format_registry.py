"""List the formats that are read: names, file endings, how to recognise one, and its extractor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from memoirist.data.schema.records import Rows, Source, SourceKind
from memoirist.extractors.word_tables import table

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
    """One format. Functions are given by name, so that only those in use are loaded.

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


FORMATS = tuple(
    Format(**{**row, "suffixes": tuple(row["suffixes"])}) for row in table("formats")["format"]
)
SUFFIXES = tuple(dict.fromkeys(suffix for known in FORMATS for suffix in known.suffixes))


def format_named(name: str) -> Format:
    """Return the format that is called `name`; raise KeyError for an unknown one."""
    return {known.name: known for known in FORMATS}[name]


def load(reference: str) -> Any:  # noqa: ANN401 - the reference says what it is
    """Return the function that `module:function` names within the extractors."""
    module, function = reference.split(":")
    return getattr(import_module(f"memoirist.extractors.{module}"), function)

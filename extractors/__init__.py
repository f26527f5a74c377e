"""Source -> Documents and Blocks: one module for each kind of source."""

from typing import TYPE_CHECKING, Any

from memoirist.extractors.detection.discover import SourceRef, discover, skipped_files
from memoirist.extractors.source_reader import extract, read_source

if TYPE_CHECKING:
    from memoirist.extractors.settings import ExtractSettings


# The processes that read PDF pages start in half the time because pydantic loads only when the
# settings are used.

__all__ = ["ExtractSettings", "SourceRef", "discover", "extract", "read_source", "skipped_files"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Return the settings, the one name that is loaded on first use."""
    if name == "ExtractSettings":
        from memoirist.extractors.settings import ExtractSettings

        return ExtractSettings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

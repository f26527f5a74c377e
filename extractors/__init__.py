"""Source -> Documents and Blocks: one module for each kind of source."""

from typing import TYPE_CHECKING, Any

from memoirist.extractors.detection.discover import Found, discover, left_out, read_source
from memoirist.extractors.extract import extract

# The processes that read PDF pages start in half the time because pydantic loads only when the
# settings are used.
if TYPE_CHECKING:
    from memoirist.extractors.settings import ExtractSettings

__all__ = ["ExtractSettings", "Found", "discover", "extract", "left_out", "read_source"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Return the settings, the one name that is not there from the start."""
    if name == "ExtractSettings":
        from memoirist.extractors.settings import ExtractSettings

        return ExtractSettings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

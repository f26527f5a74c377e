"""Source -> Documents and Blocks: one module for each kind of source."""

from extractors.discover import Found, discover, read_source
from extractors.extract import extract
from extractors.settings import ExtractSettings

__all__ = ["ExtractSettings", "Found", "discover", "extract", "read_source"]

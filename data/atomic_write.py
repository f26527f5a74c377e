"""Write a file whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that takes the place of `path`; after an error nothing has changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name that no file of the user's has.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_file(content: bytes, path: Path) -> None:
    """Write a file so that a killed process leaves no half."""
    with replacing(path) as partial:
        partial.write_bytes(content)

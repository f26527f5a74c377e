"""Load the tables of words, phrases and signatures that extractors know: the folder `tables`."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent / "tables"


@cache
def table(name: str) -> dict[str, Any]:
    """Return a table by the name of its file."""
    return tomllib.loads((_FOLDER / f"{name}.toml").read_text("utf-8"))


def word_set(name: str, key: str) -> frozenset[str]:
    """Return the words of an entry, which are separated by white space."""
    return frozenset(table(name)[key].split())


def any_of(name: str, key: str) -> str:
    """Return the pattern of an entry's alternatives, which bars and line ends separate."""
    return f"(?:{'|'.join(table(name)[key].strip().splitlines())})"

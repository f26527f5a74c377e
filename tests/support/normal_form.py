"""Texts in a form in which case, marks and white space are alike."""

from __future__ import annotations

import unicodedata

from memoirist.data.text.words import words


def normalise(text: str) -> str:
    """Return the words joined by spaces after NFKC."""
    return " ".join(words(unicodedata.normalize("NFKC", text)))

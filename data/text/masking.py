"""Mask what must not be learnt from sources: secrets, and personal data."""

from __future__ import annotations

from collections import Counter

from memoirist.data.text.personal_data import mask
from memoirist.data.text.secrets import mask_secrets


def mask_text(
    text: str, lang: str, *, personal: bool = True, secrets: bool = True
) -> tuple[str, Counter[str]]:
    """Return the text with placeholders such as "[secret]" and "[e-mail]", and their counts."""
    counts: Counter[str] = Counter()
    if secrets:
        # First, because a token may hold what looks like a telephone number.
        text, counts = mask_secrets(text)
    if personal:
        text, found = mask(text, lang)
        counts += found
    return text, counts

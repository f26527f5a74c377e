"""Speakers' names before a colon: which of them are names, and which are words before a colon."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence

from memoirist.data.text.words import stop_words
from memoirist.extractors.transcript.stage_directions import is_part

# What may stand before the colon; a label in brackets may follow the name.
LABEL = r"@?[^\W_][^:：<>\[\]*\n]{0,59}?"
_PARTICLES = frozenset(
    "de da del della den der di do du la le van von und y e bin al of the".split()
)
_NO_NAMES = frozenset(
    "note notes warning tip important example examples title author date subject to cc url http"
    " https source sources link links translator editor language release publisher isbn summary"
    " topic topics part episode season chapter figure table step"
    " reason result answer update edit contents hint rule"
    " however finally first second third lastly also but so and then thus hence yet"
    " therefore".split()
)
_MAX_WORDS = 6


def speakers_among(
    labels: Sequence[str], n_units: int, declared: Collection[str] = ()
) -> frozenset[str]:
    """Return which of the labels are speakers; `n_units` are the places where one could stand.

    One recurring name among many units may be a phrase: two names, most units, or a name that
    the file declares are needed before any label counts.
    """
    counts = Counter(label for label in labels if _plausible(label))
    told = {label for label in counts if _declared(label, declared)}
    total = max(1, n_units)
    nearly_all = sum(counts.values()) >= 0.9 * total
    recurring = {
        label
        for label, count in counts.items()
        if count >= 2 and (count >= 0.05 * total or nearly_all or _named(label))
    }
    found = recurring | told
    if len(found) < 2 and sum(counts[label] for label in found) < 0.5 * total:
        return frozenset()
    return frozenset(
        found | {label for label in counts if nearly_all or (_named(label) and " " in label)}
    )


def _plausible(label: str) -> bool:
    bare = re.sub(r"\s*\([^()]*\)", "", label).strip() or label
    words = bare.split()
    if not 0 < len(words) <= _MAX_WORDS or is_part(label):
        return False
    if re.search(r"[!?…]|\.\s+[a-z]", bare):
        return False
    return bare.casefold() not in _NO_NAMES and words[0].casefold() not in _NO_NAMES


def _declared(label: str, declared: Collection[str]) -> bool:
    """Tell whether a label is one of the names that a file's head lists, or a part of one."""
    words = set(re.findall(r"\w+", label.casefold()))
    return any(words <= set(re.findall(r"\w+", name.casefold())) for name in declared)


def _named(label: str) -> bool:
    """Tell whether a label has the form of a name: up to five words, each with a capital."""
    words = [word for word in re.findall(r"[^\s,()|/]+", label) if word not in _PARTICLES]
    if not 0 < len(words) <= 5 or any(word.casefold() in stop_words("en") for word in words):
        return False
    return all(not word[0].islower() for word in words)

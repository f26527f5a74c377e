"""Recognise speakers' names before a colon, and tell them from other words before a colon."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence

from memoirist.data.text.words import stop_words
from memoirist.extractors.transcript.stage_directions import is_programme_part
from memoirist.extractors.word_tables import word_set

# What may stand before the colon; a label in brackets may follow the name.
LABEL = r"@?[^\W_][^:：<>\[\]*\n]{0,59}?"
_PARTICLES = word_set("speaker_labels", "particles")
_NO_NAMES = word_set("speaker_labels", "no_names")
_MAX_WORDS = 6


def find_speakers(
    labels: Sequence[str], n_places: int, declared: Collection[str] = ()
) -> frozenset[str]:
    """Return which of the labels are speakers; `n_places` counts where one could stand.

    One recurring name among many places may be a phrase: any label counts only with two names, a
    name at most places, or a name that the file declares.
    """
    counts = Counter(label for label in labels if _is_plausible(label))
    total = max(1, n_places)
    nearly_all = sum(counts.values()) >= 0.9 * total
    speakers = {
        label
        for label, count in counts.items()
        if _is_declared(label, declared)
        or (count >= 2 and (count >= 0.05 * total or nearly_all or _is_name(label)))
    }
    if len(speakers) < 2 and sum(counts[label] for label in speakers) < 0.5 * total:
        return frozenset()
    others = {label for label in counts if nearly_all or (_is_name(label) and " " in label)}
    return frozenset(speakers | others)


def _is_plausible(label: str) -> bool:
    name = re.sub(r"\s*\([^()]*\)", "", label).strip() or label
    words = name.casefold().split()
    if not 0 < len(words) <= _MAX_WORDS or is_programme_part(label):
        return False
    if re.search(r"[!?…]|\.\s+[a-z]", name):
        return False
    return name.casefold() not in _NO_NAMES and words[0] not in _NO_NAMES


def _is_declared(label: str, declared: Collection[str]) -> bool:
    """Tell whether a label is one of the names that a file's head lists, or a part of one."""
    words = set(re.findall(r"\w+", label.casefold()))
    return any(words <= set(re.findall(r"\w+", name.casefold())) for name in declared)


def _is_name(label: str) -> bool:
    """Tell whether a label has the form of a name: up to five words, each with a capital."""
    words = [word for word in re.findall(r"[^\s,()|/]+", label) if word not in _PARTICLES]
    if not 0 < len(words) <= 5 or any(word.casefold() in stop_words("en") for word in words):
        return False
    return all(not word[0].islower() for word in words)

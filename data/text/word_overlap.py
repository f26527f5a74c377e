"""Find the longest run of words that two texts share."""

from __future__ import annotations

from collections.abc import Sequence


def longest_shared_run(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest run of words that stands in both sequences."""
    return _longest_run(first, _joined(second), frozenset(second))


def _joined(tokens: Sequence[str]) -> str:
    return f" {' '.join(tokens)} "


def _longest_run(first: Sequence[str], text: str, vocabulary: frozenset[str]) -> int:
    """Return the length of the longest run of `first` in a text made of the words `vocabulary`.

    No word contains a space, so a run of words is a substring of the text.
    """
    best = start = 0
    while start + best < len(first):
        end = start + best
        if first[end] not in vocabulary:
            start = end + 1
        elif _joined(first[start : end + 1]) in text:
            best += 1
        else:
            start += 1
    return best

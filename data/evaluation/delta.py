"""How far a text is from its author in function words: cosine Delta, and what is made of it.

Cosine Delta (Smith and Aldridge 2011; Evert et al. 2017): each function word's frequency becomes
the number of standard deviations that it lies from the language's norm, and the distance of two
texts is one minus the cosine of these profiles: 0 for the same habits, 1 for unrelated ones, 2 for
opposite ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from memoirist.data.evaluation.function_words import Floats, Norm
from memoirist.data.evaluation.intervals import Estimate, from_resamples, mean, weights

# The words that one text should have; below, the interval is wide and told to be.
ENOUGH_WORDS = 2000
_SIZES = (5000, 2000, 1000, 500, 250)
_LEAST_CHUNKS = 10
_FARTHEST = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How often each function word stands in each of some texts, and how long these are."""

    words: Floats  # texts x function words
    lengths: Floats

    @property
    def total(self) -> int:
        """Return the number of words of all texts."""
        return int(self.lengths.sum())


def count(texts: Sequence[Sequence[str]], norm: Norm) -> Counts:
    """Count the norm's words in texts that are given as their words."""
    places = norm.places
    rows = np.zeros((len(texts), len(norm.words)))
    for row, text in zip(rows, texts, strict=True):
        for word in text:
            place = places.get(word)
            if place is not None:
                row[place] += 1
    return Counts(words=rows, lengths=np.array([float(len(text)) for text in texts]))


def profile(words: Floats, lengths: Floats, norm: Norm) -> Floats:
    """Return the standardised frequencies of texts: rows of counts in, rows of scores out.

    Scores end at 3 deviations: a model that goes in circles has one word everywhere, and the other
    149 should still be heard.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        scores: Floats = (1000 * words / lengths[:, None] - norm.means) / norm.spreads
    return np.clip(scores, -_FARTHEST, _FARTHEST)


def distances(profiles: Floats, reference: Floats) -> Floats:
    """Return the cosine distance of each row from the reference profile."""
    with np.errstate(divide="ignore", invalid="ignore"):
        cosines: Floats = (profiles @ reference) / (
            np.linalg.norm(profiles, axis=1) * np.linalg.norm(reference)
        )
    return 1 - cosines


def centred(norm: Norm, sides: Sequence[Counts]) -> Norm:
    """Return a norm whose centre lies amid the given sides, for a language without a table."""
    if norm.measured:
        return norm
    shares = [1000 * side.words.sum(axis=0) / max(1.0, side.lengths.sum()) for side in sides]
    return replace(norm, means=np.mean(shares, axis=0))


def evened(sides: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, list[list[str]]]:
    """Return the sides cut to the same number of words, each answer by the same share.

    A longer text has less noise in it and would seem nearer for that alone.
    """
    least = min((sum(map(len, texts)) for texts in sides.values()), default=0)
    cut: dict[str, list[list[str]]] = {}
    for name, texts in sides.items():
        share = least / max(1, sum(map(len, texts)))
        cut[name] = [list(text[: round(share * len(text))]) for text in texts]
    return cut


@dataclass(frozen=True, slots=True, kw_only=True)
class Distances:
    """The distance of each side from the author, and the share of the gap that each closes."""

    delta: Mapping[str, Estimate]
    closed: Mapping[str, Estimate]
    words: int


def compare(author: Counts, sides: Mapping[str, Counts], norm: Norm, seed: int) -> Distances:
    """Measure sides against the author's training text; the gap is that of `base` and `human`.

    Sides that answered the same questions are resampled together, question by question.
    """
    norm = centred(norm, [author, *(sides[name] for name in ("base",) if name in sides)])
    reference = profile(author.words.sum(axis=0)[None], author.lengths.sum()[None], norm)[0]
    points: dict[str, float] = {}
    drawn: dict[str, Floats] = {}
    for name, side in sides.items():
        each = weights(len(side.lengths), seed)
        whole = profile(side.words.sum(axis=0)[None], side.lengths.sum()[None], norm)
        points[name] = float(distances(whole, reference)[0])
        again = profile(each @ side.words, each @ side.lengths, norm)
        drawn[name] = distances(again, reference)
    n_texts = {name: len(side.lengths) for name, side in sides.items()}
    delta = {
        name: from_resamples(point, drawn[name], n_texts[name]) for name, point in points.items()
    }
    closed: dict[str, Estimate] = {}
    if {"base", "human"} <= points.keys():
        gap = drawn["base"] - drawn["human"]
        whole_gap = points["base"] - points["human"]
        # Where the base is not surely the farther one, there is no gap of which to close a share.
        if from_resamples(whole_gap, gap, n_texts["human"]).above(0):
            for name in points.keys() - {"base", "human"}:
                share = (points["base"] - points[name]) / whole_gap
                again = (drawn["base"] - drawn[name]) / gap
                closed[name] = from_resamples(share, again, n_texts[name])
    words = min((side.total for side in sides.values()), default=0)
    return Distances(delta=delta, closed=closed, words=words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Where each side lies among the author's own stretches of as many words.

    A percentile of 50 is the author's own middle; 0 is farther away than every stretch.
    """

    percentile: Mapping[str, Estimate]
    chunk_words: int
    n_chunks: int


def chunks(texts: Sequence[Sequence[str]], size: int) -> list[list[str]]:
    """Join texts and cut them into stretches of `size` words; a shorter rest is left out."""
    joined = [word for text in texts for word in text]
    return [joined[at : at + size] for at in range(0, len(joined) - size + 1, size)]


def own_distances(author: Sequence[Sequence[str]], norm: Norm) -> Floats:
    """Return the distance of each of the author's stretches from all the others together."""
    counted = count(author, norm)
    rest = counted.words.sum(axis=0) - counted.words
    others = profile(rest, counted.lengths.sum() - counted.lengths, norm)
    own = profile(counted.words, counted.lengths, norm)
    cosines = (own * others).sum(axis=1) / (
        np.linalg.norm(own, axis=1) * np.linalg.norm(others, axis=1)
    )
    return np.asarray(1 - cosines)


def verify(
    author: Sequence[Sequence[str]], sides: Mapping[str, Sequence[Sequence[str]]], norm: Norm
) -> Verification | None:
    """Place each side among the author's own stretches; None where all is too short.

    The stretches are as long as leaves ten of them, and one of every side.
    """
    n_author = sum(map(len, author))
    least = min((sum(map(len, texts)) for texts in sides.values()), default=0)
    fitting = (s for s in _SIZES if n_author >= _LEAST_CHUNKS * s and least >= s)
    size = next(fitting, None)
    if size is None:
        return None
    stretches = chunks(author, size)
    whole = count(author, norm)
    norm = centred(norm, [whole, *(count(sides[n], norm) for n in ("base",) if n in sides)])
    own = own_distances(stretches, norm)
    reference = profile(whole.words.sum(axis=0)[None], whole.lengths.sum()[None], norm)[0]
    percentile: dict[str, Estimate] = {}
    for name, texts in sides.items():
        cut = count(chunks(texts, size), norm)
        found = distances(profile(cut.words, cut.lengths, norm), reference)
        farther = (own[None, :] > found[:, None]).mean(axis=1)
        placed = 100 * (farther + (own[None, :] == found[:, None]).mean(axis=1) / 2)
        if (estimate := mean(placed, seed=len(placed))) is not None:
            percentile[name] = estimate
    return Verification(percentile=percentile, chunk_words=size, n_chunks=len(stretches))


def auc(own: Floats, others: Floats) -> float:
    """Return the odds that a text of another's lies farther away than one of the author's own."""
    pairs = (others[None, :] > own[:, None]).mean() + (others[None, :] == own[:, None]).mean() / 2
    return float(pairs)

"""Measure the distance of a text from its author in function words by cosine Delta.

Cosine Delta (Smith and Aldridge 2011; Evert et al. 2017): each function word's frequency becomes a
z-score against the language's norm, and the distance of two texts is one minus the cosine of these
profiles: 0 for the same profile, 1 for unrelated ones, 2 for opposite ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from memoirist.data.evaluation.function_words import Floats, Norm
from memoirist.data.evaluation.intervals import Estimate, from_resamples, mean, weights

# With fewer words the interval is wide, and the report says so.
ENOUGH_WORDS = 2000
_SIZES = (5000, 2000, 1000, 500, 250)
_LEAST_CHUNKS = 10
_FARTHEST = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Counts of each function word in each text, and the lengths of the texts."""

    words: Floats  # texts x function words
    lengths: Floats

    @property
    def total(self) -> int:
        """Return the number of words of all texts."""
        return int(self.lengths.sum())


def count(texts: Sequence[Sequence[str]], norm: Norm) -> Counts:
    """Count the norm's words in tokenised texts."""
    rows = np.zeros((len(texts), len(norm.words)))
    for row, text in zip(rows, texts, strict=True):
        counts = Counter(text)
        row[:] = [counts[word] for word in norm.words]
    return Counts(words=rows, lengths=np.array([float(len(text)) for text in texts]))


def profile(words: Floats, lengths: Floats, norm: Norm) -> Floats:
    """Return the z-scores of texts: rows of counts in, rows of scores out.

    Scores are clipped at 3 deviations, so that one word that a model repeats forever does not
    outweigh the other 149.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        scores: Floats = (1000 * words / lengths[:, None] - norm.means) / norm.spreads
    return np.clip(scores, -_FARTHEST, _FARTHEST)


def _whole_profile(counts: Counts, norm: Norm) -> Floats:
    """Return the profile of all texts together, as one row."""
    return profile(counts.words.sum(axis=0)[None], counts.lengths.sum()[None], norm)


def distances(profiles: Floats, reference: Floats) -> Floats:
    """Return the cosine distance of each row from the reference profile."""
    with np.errstate(divide="ignore", invalid="ignore"):
        cosines: Floats = (profiles @ reference) / (
            np.linalg.norm(profiles, axis=1) * np.linalg.norm(reference)
        )
    return 1 - cosines


def centred(norm: Norm, sides: Sequence[Counts]) -> Norm:
    """Return the norm, centred on the given sides where the language has no table."""
    if norm.measured:
        return norm
    shares = [1000 * side.words.sum(axis=0) / max(1.0, side.lengths.sum()) for side in sides]
    return replace(norm, means=np.mean(shares, axis=0))


def equal_lengths(sides: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, list[list[str]]]:
    """Return the sides cut to the same number of words, each answer of a side by the same share.

    A longer text has less noise, which alone makes it seem nearer.
    """
    n_words = min((sum(map(len, texts)) for texts in sides.values()), default=0)
    cut: dict[str, list[list[str]]] = {}
    for name, texts in sides.items():
        share = n_words / max(1, sum(map(len, texts)))
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
    reference = _whole_profile(author, norm)[0]
    points: dict[str, float] = {}
    resampled: dict[str, Floats] = {}
    for name, side in sides.items():
        draws = weights(len(side.lengths), seed)
        points[name] = float(distances(_whole_profile(side, norm), reference)[0])
        profiles = profile(draws @ side.words, draws @ side.lengths, norm)
        resampled[name] = distances(profiles, reference)
    n_texts = {name: len(side.lengths) for name, side in sides.items()}
    delta = {
        name: from_resamples(point, resampled[name], n_texts[name])
        for name, point in points.items()
    }
    closed: dict[str, Estimate] = {}
    if {"base", "human"} <= points.keys():
        gaps = resampled["base"] - resampled["human"]
        gap = points["base"] - points["human"]
        # Without a significant gap there is no share of it to close.
        if from_resamples(gap, gaps, n_texts["human"]).above(0):
            for name in points.keys() - {"base", "human"}:
                share = (points["base"] - points[name]) / gap
                shares = (resampled["base"] - resampled[name]) / gaps
                closed[name] = from_resamples(share, shares, n_texts[name])
    words = min((side.total for side in sides.values()), default=0)
    return Distances(delta=delta, closed=closed, words=words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The percentile of each side among the author's own chunks of the same length.

    50 is the author's own median; 0 is farther away than every chunk.
    """

    percentile: Mapping[str, Estimate]
    chunk_words: int
    n_chunks: int


def chunks(texts: Sequence[Sequence[str]], size: int) -> list[list[str]]:
    """Join texts and cut them into chunks of `size` words, without a shorter rest."""
    joined = [word for text in texts for word in text]
    return [joined[at : at + size] for at in range(0, len(joined) - size + 1, size)]


def own_distances(author: Sequence[Sequence[str]], norm: Norm) -> Floats:
    """Return the distance of each of the author's chunks from all the others together."""
    counts = count(author, norm)
    rest = counts.words.sum(axis=0) - counts.words
    others = profile(rest, counts.lengths.sum() - counts.lengths, norm)
    own = profile(counts.words, counts.lengths, norm)
    cosines = (own * others).sum(axis=1) / (
        np.linalg.norm(own, axis=1) * np.linalg.norm(others, axis=1)
    )
    return np.asarray(1 - cosines)


def verify(
    author: Sequence[Sequence[str]], sides: Mapping[str, Sequence[Sequence[str]]], norm: Norm
) -> Verification | None:
    """Compare each side with the author's own chunks; None where the texts are too short.

    The chunks have the largest size that leaves ten of the author and one of every side.
    """
    n_author = sum(map(len, author))
    n_side = min((sum(map(len, texts)) for texts in sides.values()), default=0)
    fitting = (s for s in _SIZES if n_author >= _LEAST_CHUNKS * s and n_side >= s)
    size = next(fitting, None)
    if size is None:
        return None
    own_chunks = chunks(author, size)
    whole = count(author, norm)
    norm = centred(norm, [whole, *(count(sides[n], norm) for n in ("base",) if n in sides)])
    own = own_distances(own_chunks, norm)
    reference = _whole_profile(whole, norm)[0]
    percentile: dict[str, Estimate] = {}
    for name, texts in sides.items():
        counts = count(chunks(texts, size), norm)
        side = distances(profile(counts.words, counts.lengths, norm), reference)
        farther = (own[None, :] > side[:, None]).mean(axis=1)
        ranks = 100 * (farther + (own[None, :] == side[:, None]).mean(axis=1) / 2)
        if (estimate := mean(ranks, seed=len(ranks))) is not None:
            percentile[name] = estimate
    return Verification(percentile=percentile, chunk_words=size, n_chunks=len(own_chunks))


def auc(own: Floats, others: Floats) -> float:
    """Return the probability that another author's text is farther away than the author's own."""
    ties = (others[None, :] == own[:, None]).mean()
    return float((others[None, :] > own[:, None]).mean() + ties / 2)

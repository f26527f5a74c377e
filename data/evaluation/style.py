"""Measure style: function words by cosine Delta, rates that readers notice, and form.

Cosine Delta (Smith and Aldridge 2011; Evert et al. 2017): each function word's frequency becomes a
z-score against the language's norm, and the distance of two texts is one minus the cosine of these
profiles: 0 for the same profile, 1 for unrelated ones, 2 for opposite ones. The rates are sentence
length, adverbs, first person, questions and commas.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from memoirist.data.evaluation.intervals import (
    Estimate,
    Floats,
    from_resamples,
    mean,
    ratio,
    weights,
    wilson,
)
from memoirist.data.text import language_rules as languages
from memoirist.data.text.words import count_words, sentences, simplified, words

NORM_WORDS = 150
_FOLDER = Path(__file__).parent / "norms"
# French and Italian elide articles and pronouns ("l'homme"); separated, both words are counted.
_ELIDED = re.compile(
    r"\b(l|d|j|n|s|m|t|c|qu|jusqu|lorsqu|puisqu|quoiqu|un|dell|all|nell|dall|sull)['’](?=\w)", re.I
)
# Taylor's law, sd = a * mean ** b with both per 1,000 words, fitted to the 150 words of the English
# norm over 21 writers. It replaces the norm of languages without one, and smooths the spread of
# norms from few writers.
TAYLOR = (0.70, 0.72)


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """Function words with their mean and spread over writers, per 1,000 words.

    `measured` is False where the language has no table: the words are then the most frequent ones
    of the author, and the centre has to come from the texts that are compared.
    """

    words: tuple[str, ...]
    means: Floats
    spreads: Floats
    measured: bool = True


def tokens(text: str, lang: str) -> list[str]:
    """Return the words to count: elisions separated, Chinese in simplified characters."""
    if lang == "zh":
        return words(simplified(text))
    if lang in {"fr", "it"}:
        text = _ELIDED.sub(r"\1 ", text)
    return words(text)


def norm_of(lang: str, author: Sequence[Sequence[str]]) -> Norm:
    """Return the language's norm, or the author's 150 most frequent words where there is none.

    `author` are the words of the author's texts.
    """
    norm = _table(lang)
    if norm is not None:
        return norm
    counts = Counter(word for text in author for word in text)
    frequent = counts.most_common(NORM_WORDS)
    means = np.array([1000 * n / max(1, counts.total()) for _, n in frequent])
    return Norm(
        words=tuple(word for word, _ in frequent),
        means=means,
        spreads=taylor(means),
        measured=False,
    )


def taylor(means: Floats) -> Floats:
    """Return the spread over writers that Taylor's law expects of a mean, both per 1,000 words."""
    a, b = TAYLOR
    spreads: Floats = a * np.maximum(means, 1e-3) ** b
    return spreads


@cache
def _table(lang: str) -> Norm | None:
    path = _FOLDER / f"{lang}.tsv"
    if not path.exists():
        return None
    rows = [line.split("\t") for line in path.read_text("utf-8").splitlines() if line[:1] != "#"]
    return Norm(
        words=tuple(row[0] for row in rows),
        means=np.array([float(row[1]) for row in rows]),
        spreads=np.array([float(row[2]) for row in rows]),
    )


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


def compare_distances(
    author: Counts, sides: Mapping[str, Counts], norm: Norm, seed: int
) -> Distances:
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


RATES: Mapping[str, str] = {
    "sentence_words": "words per sentence",
    "adverbs": "adverbs per 100 words",
    "first_person": "first-person words per 100 words",
    "questions": "questions per 100 sentences",
    "commas": "commas per 100 words",
}
# Above this share of the distance from base to human the style is exaggerated (QUALITY: 1.2).
OVERSHOOT = 1.2
_COMMA = re.compile(r"[,，、،]")
_QUESTION = re.compile(r"[?？؟]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Counts of several texts, one row a text.

    Columns: words, sentences, adverbs, first persons, questions, commas. `rates` are the rates that
    can be counted in the language.
    """

    rows: Floats
    rates: frozenset[str]


def tally(texts: Sequence[str], lang: str) -> Tally:
    """Count in each text what the rates need; adverbs only in a known language."""
    adverb = languages.adverbs(lang)
    person = languages.language(lang).first_person if lang in languages.CODES else None
    rows = np.zeros((len(texts), 6))
    for row, original in zip(rows, texts, strict=True):
        text = simplified(original) if lang == "zh" else original.replace("’", "'")
        parts = sentences(text)
        row[:] = (
            count_words(text),
            len(parts),
            len(adverb.findall(text)) if adverb else 0,
            len(person.findall(text)) if person else 0,
            sum(_QUESTION.search(sentence[-8:]) is not None for sentence in parts),
            len(_COMMA.findall(text)),
        )
    missing = {"adverbs": adverb is None, "first_person": person is None}
    return Tally(rows=rows, rates=frozenset(r for r in RATES if not missing.get(r)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """One rate: its figure for each side, and the position of each from base (0) to human (1).

    `gone` is empty where base and human do not differ significantly. `beyond` are the sides
    significantly past the human figure, `away` those farther from it than the base.
    """

    rates: Mapping[str, Estimate]
    gone: Mapping[str, Estimate]
    beyond: frozenset[str]
    away: frozenset[str]


def compare_rates(sides: Mapping[str, Tally], seed: int) -> dict[str, Habit]:
    """Compare all rates of all sides; `base` and `human` are the ends of the scale."""
    known = frozenset.intersection(*(side.rates for side in sides.values()))
    n_texts = {name: len(side.rows) for name, side in sides.items()}
    drawn = {name: weights(len(side.rows), seed) @ side.rows for name, side in sides.items()}
    habits: dict[str, Habit] = {}
    for rate in RATES:
        if rate not in known:
            continue
        points = {n: float(_rate(s.rows.sum(axis=0)[None], rate)[0]) for n, s in sides.items()}
        resampled = {name: _rate(rows, rate) for name, rows in drawn.items()}
        rates = {n: from_resamples(points[n], resampled[n], n_texts[n]) for n in points}
        habits[rate] = _habit(rates, points, resampled)
    return habits


def _habit(
    rates: Mapping[str, Estimate],
    points: Mapping[str, float],
    resampled: Mapping[str, Floats],
) -> Habit:
    gone: dict[str, Estimate] = {}
    beyond: set[str] = set()
    away: set[str] = set()
    others = sorted(points.keys() - {"base", "human"}) if {"base", "human"} <= points.keys() else []
    for name in others:
        n = rates[name].n
        gap, gaps = points["human"] - points["base"], resampled["human"] - resampled["base"]
        rest, rests = points[name] - points["human"], resampled[name] - resampled["human"]
        if from_resamples(gap, gaps, n).differs_from(0):
            with np.errstate(divide="ignore", invalid="ignore"):
                shares = (resampled[name] - resampled["base"]) / gaps
            gone[name] = from_resamples((points[name] - points["base"]) / gap, shares, n)
            past_human = from_resamples(rest, rests, n).differs_from(0)
            if gone[name].value > OVERSHOOT and past_human:
                beyond.add(name)
        if from_resamples(abs(rest) - abs(gap), np.abs(rests) - np.abs(gaps), n).above(0):
            away.add(name)
    return Habit(rates=rates, gone=gone, beyond=frozenset(beyond), away=frozenset(away))


def _rate(rows: Floats, rate: str) -> Floats:
    words, sentences, *counts = rows.T
    adverbs, persons, questions, commas = (100 * count for count in counts)
    over, under = {
        "sentence_words": (words, sentences),
        "adverbs": (adverbs, words),
        "first_person": (persons, words),
        "questions": (questions, sentences),
        "commas": (commas, words),
    }[rate]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(over / under)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Shares in [0, 1]; `distinct_3` is comparable only between texts of the same length.

    `repeated_4` is the share of words in runs of four that occurred before in the same answer.
    """

    distinct_3: Estimate | None
    repeated_4: Estimate | None
    words: Estimate | None
    unfinished: Estimate | None


def measure_form(
    texts: Sequence[Sequence[str]],
    equal_lengths: Sequence[Sequence[str]],
    finished: Sequence[bool] | None,
    seed: int,
) -> Form:
    """Measure tokenised answers; `equal_lengths` are the same, cut to the shortest side's words.

    `finished` is True for each answer that ended by itself; None for human text.
    """
    lengths = np.array([float(len(text)) for text in texts])
    repeated = np.array([float(_repeated_words(text, 4)) for text in texts])
    return Form(
        distinct_3=_distinct(equal_lengths),
        repeated_4=ratio(repeated, lengths, seed),
        words=mean(lengths, seed),
        unfinished=None if finished is None else wilson(finished.count(False), len(finished)),
    )


def _repeated_words(tokens: Sequence[str], n: int) -> int:
    """Return how many words stand in n-grams that occurred before."""
    seen: set[tuple[str, ...]] = set()
    inside: set[int] = set()
    for place in range(len(tokens) - n + 1):
        gram = tuple(tokens[place : place + n])
        if gram in seen:
            inside.update(range(place, place + n))
        seen.add(gram)
    return len(inside)


def _distinct(texts: Sequence[Sequence[str]]) -> Estimate | None:
    """Return the share of different runs of three words among all.

    It has no interval, because resampled answers repeat and would bias a bootstrap.
    """
    grams = [tuple(text[at : at + 3]) for text in texts for at in range(len(text) - 2)]
    return Estimate(value=len(set(grams)) / len(grams), n=len(grams)) if grams else None

"""Measure style rates (sentence length, adverbs, first person, questions, commas) and form."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from memoirist.data.evaluation.function_words import Floats
from memoirist.data.evaluation.intervals import (
    Estimate,
    from_resamples,
    mean,
    ratio,
    weights,
    wilson,
)
from memoirist.data.passages.signals import repeated_share
from memoirist.data.text import language_rules as languages
from memoirist.data.text.chinese import simplified
from memoirist.data.text.words import count_words, sentences

RATES: Mapping[str, str] = {
    "sentence_words": "words per sentence",
    "adverbs": "adverbs per 100 words",
    "first_person": "first person per 100 words",
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


def compare(sides: Mapping[str, Tally], seed: int) -> dict[str, Habit]:
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
    words, sentences, adverbs, persons, questions, commas = rows.T
    over, under, unit = {
        "sentence_words": (words, sentences, 1),
        "adverbs": (adverbs, words, 100),
        "first_person": (persons, words, 100),
        "questions": (questions, sentences, 100),
        "commas": (commas, words, 100),
    }[rate]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(unit * over / under)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Shares in [0, 1]; `distinct_3` is comparable only between texts of the same length.

    `repeated_4` is the share of words in runs of four that occurred before in the same answer.
    """

    distinct_3: Estimate | None
    repeated_4: Estimate | None
    words: Estimate | None
    unfinished: Estimate | None


def measure(
    texts: Sequence[Sequence[str]],
    equal_lengths: Sequence[Sequence[str]],
    finished: Sequence[bool] | None,
    seed: int,
) -> Form:
    """Measure tokenised answers; `equal_lengths` are the same, cut to the shortest side's words.

    `finished` is True for each answer that ended by itself; None for human text.
    """
    lengths = np.array([float(len(text)) for text in texts])
    repeated = np.array([repeated_share(text, 4) * len(text) for text in texts])
    return Form(
        distinct_3=_distinct(equal_lengths),
        repeated_4=ratio(repeated, lengths, seed),
        words=mean(lengths, seed),
        unfinished=None if finished is None else wilson(finished.count(False), len(finished)),
    )


def _distinct(texts: Sequence[Sequence[str]]) -> Estimate | None:
    """Return the share of different runs of three words among all.

    It has no interval, because resampled answers repeat and would bias a bootstrap.
    """
    grams = [tuple(text[at : at + 3]) for text in texts for at in range(len(text) - 2)]
    return Estimate(value=len(set(grams)) / len(grams), n=len(grams)) if grams else None

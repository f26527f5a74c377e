"""Habits that a reader notices: sentence length, adverbs, first person, questions, commas."""

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
# Above this share of the way from base to human it is a caricature (QUALITY: 1.2).
OVERSHOOT = 1.2
_COMMA = re.compile(r"[,，、،]")
_QUESTION = re.compile(r"[?？؟]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What stands in each of some texts: one row a text, one column for each thing counted.

    Columns: words, sentences, adverbs, first persons, questions, commas. `known` tells which
    rates the language allows.
    """

    rows: Floats
    known: frozenset[str]


def tally(texts: Sequence[str], lang: str) -> Tally:
    """Count in each text what the rates are made of; adverbs only in a language that is known."""
    adverb = languages.adverbs(lang)
    person = languages.language(lang).first_person if lang in languages.CODES else None
    rows = np.zeros((len(texts), 6))
    for place, written in enumerate(texts):
        text = simplified(written) if lang == "zh" else written.replace("’", "'")
        cut = sentences(text)
        rows[place] = (
            count_words(text),
            len(cut),
            len(adverb.findall(text)) if adverb else 0,
            len(person.findall(text)) if person else 0,
            sum(_QUESTION.search(each[-8:]) is not None for each in cut),
            len(_COMMA.findall(text)),
        )
    known = set(RATES) - ({"adverbs"} if adverb is None else set())
    known -= {"first_person"} if person is None else set()
    return Tally(rows=rows, known=frozenset(known))


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """One rate: its figure for each side, and how far each has gone from base (0) to human (1).

    `gone` is empty where base and human cannot be told apart. `beyond` names the sides that have
    surely gone past the human figure, `away` those that are surely farther from it than the base.
    """

    rates: Mapping[str, Estimate]
    gone: Mapping[str, Estimate]
    beyond: frozenset[str]
    away: frozenset[str]


def compare(sides: Mapping[str, Tally], seed: int) -> dict[str, Habit]:
    """Compare all rates of all sides; `base` and `human` are the ends of the way."""
    known = frozenset.intersection(*(side.known for side in sides.values()))
    drawn = {name: weights(len(side.rows), seed) @ side.rows for name, side in sides.items()}
    habits: dict[str, Habit] = {}
    for rate in RATES:
        if rate not in known:
            continue
        points = {n: float(_rate(s.rows.sum(axis=0)[None], rate)[0]) for n, s in sides.items()}
        again = {name: _rate(rows, rate) for name, rows in drawn.items()}
        n_texts = {name: len(side.rows) for name, side in sides.items()}
        rates = {n: from_resamples(points[n], again[n], n_texts[n]) for n in points}
        habits[rate] = _habit(rates, points, again, n_texts)
    return habits


def _habit(
    rates: Mapping[str, Estimate],
    points: Mapping[str, float],
    again: Mapping[str, Floats],
    n_texts: Mapping[str, int],
) -> Habit:
    gone: dict[str, Estimate] = {}
    beyond: set[str] = set()
    away: set[str] = set()
    others = sorted(points.keys() - {"base", "human"}) if {"base", "human"} <= points.keys() else []
    for name in others:
        n = n_texts[name]
        way, ways = points["human"] - points["base"], again["human"] - again["base"]
        left, lefts = points[name] - points["human"], again[name] - again["human"]
        apart, past = from_resamples(way, ways, n), from_resamples(left, lefts, n)
        if apart.above(0) or apart.below(0):
            with np.errstate(divide="ignore", invalid="ignore"):
                shares = (again[name] - again["base"]) / ways
            gone[name] = from_resamples((points[name] - points["base"]) / way, shares, n)
            if gone[name].value > OVERSHOOT and (past.above(0) or past.below(0)):
                beyond.add(name)
        if from_resamples(abs(left) - abs(way), np.abs(lefts) - np.abs(ways), n).above(0):
            away.add(name)
    return Habit(rates=rates, gone=gone, beyond=frozenset(beyond), away=frozenset(away))


def _rate(rows: Floats, rate: str) -> Floats:
    words, cut, adverbs, persons, asked, commas = rows.T
    over, under, unit = {
        "sentence_words": (words, cut, 1),
        "adverbs": (adverbs, words, 100),
        "first_person": (persons, words, 100),
        "questions": (asked, cut, 100),
        "commas": (commas, words, 100),
    }[rate]
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = unit * over / under
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Shares in [0, 1]; `distinct_3` compares only between texts of as many words.

    `repeated_4` is the share of words in runs of four that stood before in the same answer.
    """

    distinct_3: Estimate | None
    repeated_4: Estimate | None
    words: Estimate | None
    unfinished: Estimate | None


def measure(
    texts: Sequence[Sequence[str]],
    evened: Sequence[Sequence[str]],
    finished: Sequence[bool] | None,
    seed: int,
) -> Form:
    """Measure answers as their words; `evened` are the same, cut to the shortest side's words.

    `finished` tells for each answer whether it ended by itself; None for human text.
    """
    lengths = np.array([float(len(text)) for text in texts])
    repeated = np.array([repeated_share(text, 4) * len(text) for text in texts])
    return Form(
        distinct_3=_distinct(evened),
        repeated_4=ratio(repeated, lengths, seed),
        words=mean(lengths, seed),
        unfinished=None if finished is None else wilson(finished.count(False), len(finished)),
    )


def _distinct(texts: Sequence[Sequence[str]]) -> Estimate | None:
    """Return the share of different ones among all runs of three words.

    Without an interval: resampled answers repeat themselves, so that a bootstrap would lie.
    """
    grams = [tuple(text[at : at + 3]) for text in texts for at in range(len(text) - 2)]
    return Estimate(value=len(set(grams)) / len(grams), n=len(grams)) if grams else None

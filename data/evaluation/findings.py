"""All figures of one evaluation: the sides beside one another, metric by metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from memoirist.data.evaluation import ability, delta, honesty, rates
from memoirist.data.evaluation.ability import Ability, Attempt, Plain
from memoirist.data.evaluation.delta import Distances, Verification
from memoirist.data.evaluation.function_words import norm_of, tokens
from memoirist.data.evaluation.honesty import Asked, Honesty
from memoirist.data.evaluation.intervals import Estimate, ratio
from memoirist.data.evaluation.preferences import Score
from memoirist.data.evaluation.rates import Form, Habit
from memoirist.data.evaluation.regurgitation import Lengths, Level, Library, Overlap

# In the order in which they are shown; `human` is the held-out text itself.
SIDES: Mapping[str, str] = {
    "base": "base",
    "few_shot": "base with examples",
    "previous": "model before",
    "tuned": "tuned",
    "human": "the person, held out",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one side said and how likely it found what the person said.

    `answers` follow the questions; `losses` are nats and tokens by conversation. For `human`,
    `finished` is None and there are neither losses nor attempts.
    """

    answers: Sequence[str]
    finished: Sequence[bool] | None = None
    honest: Sequence[str] = ()
    losses: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    attempts: Sequence[Attempt] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Matter:
    """What the sides are held against: the person's text trained on, and all text trained on."""

    lang: str
    author: Sequence[str]
    trained: Sequence[str]
    honest: Sequence[Asked] = ()
    plain: Sequence[Plain] = ()
    seed: int = 42


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Every figure by side; a metric that could not be measured is empty or None.

    `duels` are the tuned model's, by judge and rival.
    """

    losses: Mapping[str, Estimate]
    gains: Mapping[str, Estimate]
    distances: Distances | None
    verification: Verification | None
    habits: Mapping[str, Habit]
    overlaps: Mapping[str, Overlap]
    levels: Mapping[str, Level]
    forms: Mapping[str, Form]
    honesty: Mapping[str, Honesty]
    abilities: Mapping[str, Ability]
    forgotten: Mapping[str, Estimate]
    lang: str
    duels: Mapping[tuple[str, str], Score] = field(default_factory=dict)

    @property
    def run_lengths(self) -> Lengths:
        """Return the lengths of shared runs that count in the language."""
        return Lengths.of(self.lang)


def find(sides: Mapping[str, Side], matter: Matter) -> Findings:
    """Compute all metrics of QUALITY but the judge's from what the sides said."""
    spoken = {name: side for name, side in sides.items() if any(side.answers)}
    tried = {name: side.attempts for name, side in sides.items() if side.attempts}
    library = Library(matter.trained, matter.lang)
    overlaps = {
        name: found
        for name, side in spoken.items()
        if (found := library.look_up(side.answers, matter.seed)) is not None
    }
    own = overlaps.get("human")
    distances, verification = _style(spoken, matter)
    tallies = {name: rates.tally(side.answers, matter.lang) for name, side in spoken.items()}
    return Findings(
        lang=matter.lang,
        losses=_losses(sides, matter.seed),
        gains=_gains(sides, matter.seed),
        distances=distances,
        verification=verification,
        habits=rates.compare(tallies, matter.seed) if tallies else {},
        overlaps=overlaps,
        levels={name: library.level(found, own) for name, found in overlaps.items()},
        forms=_forms(spoken, matter),
        honesty=_honesty(sides, matter),
        abilities={
            name: ability.measure(matter.plain, done, matter.seed) for name, done in tried.items()
        },
        forgotten={
            name: change
            for name, done in tried.items()
            if name != "base"
            and "base" in tried
            and (change := ability.change(matter.plain, tried["base"], done, matter.seed))
        },
    )


def _style(
    sides: Mapping[str, Side], matter: Matter
) -> tuple[Distances | None, Verification | None]:
    author = [tokens(text, matter.lang) for text in matter.author]
    if not sides or not any(author):
        return None, None
    norm = norm_of(matter.lang, author)
    said = {n: [tokens(text, matter.lang) for text in s.answers] for n, s in sides.items()}
    counted = {n: delta.count(texts, norm) for n, texts in delta.evened(said).items()}
    counted = {n: each for n, each in counted.items() if each.total}
    if not counted:
        return None, None
    whole = delta.count(author, norm)
    return (
        delta.compare(whole, counted, norm, matter.seed),
        delta.verify(author, said, norm),
    )


def _forms(sides: Mapping[str, Side], matter: Matter) -> dict[str, Form]:
    said = {n: [tokens(text, matter.lang) for text in s.answers] for n, s in sides.items()}
    cut = delta.evened(said)
    return {
        name: rates.measure(said[name], cut[name], side.finished, matter.seed)
        for name, side in sides.items()
    }


def _honesty(sides: Mapping[str, Side], matter: Matter) -> dict[str, honesty.Honesty]:
    """Return the models' honesty, and what the same rules find in the person's own answers."""
    found = {
        name: honesty.measure(matter.honest, side.honest, side.answers, matter.lang)
        for name, side in sides.items()
        if side.honest
    }
    human = sides.get("human")
    if found and human is not None and any(human.answers):
        found["human"] = honesty.by_chance(matter.honest, human.answers, matter.lang)
    return found


def _losses(sides: Mapping[str, Side], seed: int) -> dict[str, Estimate]:
    """Return nats per answer token of each side, over the conversations that all of them took."""
    taken = [set(side.losses) for side in sides.values() if side.losses]
    common = sorted(set.intersection(*taken)) if taken else []
    return _per_token(
        {
            name: [side.losses[conversation] for conversation in common]
            for name, side in sides.items()
            if side.losses
        },
        seed,
    )


def _gains(sides: Mapping[str, Side], seed: int) -> dict[str, Estimate]:
    """Return by how many nats a token the tuned model is better than each other side.

    Conversation by conversation, over the tuned model's tokens: the other side may cut its words
    into other tokens, and still the nats of a whole conversation compare.
    """
    tuned = sides["tuned"].losses if "tuned" in sides else {}
    return _per_token(
        {
            name: [
                (side.losses[c][0] - tuned[c][0], tuned[c][1])
                for c in sorted(set(tuned) & set(side.losses))
            ]
            for name, side in sides.items()
            if name != "tuned"
        },
        seed,
    )


def _per_token(rows: Mapping[str, Sequence[tuple[float, int]]], seed: int) -> dict[str, Estimate]:
    """Return nats per token by side, from (nats, tokens) by conversation; a side may have none."""
    estimates: dict[str, Estimate] = {}
    for name, pairs in rows.items():
        nats, tokens_taken = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
        if (estimate := ratio(nats, tokens_taken, seed)) is not None:
            estimates[name] = estimate
    return estimates


def figures(found: Findings) -> list[tuple[str, str, Estimate]]:
    """Return every figure as a row: side, metric, estimate."""
    rows = [(name, "nll", each) for name, each in found.losses.items()]
    rows += [(name, "nll_gain", each) for name, each in found.gains.items()]
    if found.distances:
        rows += [(name, "delta", each) for name, each in found.distances.delta.items()]
        rows += [(name, "style_closed", each) for name, each in found.distances.closed.items()]
    if found.verification:
        told = found.verification.percentile.items()
        rows += [(name, "author_percentile", each) for name, each in told]
    for rate, habit in found.habits.items():
        rows += [(name, rate, each) for name, each in habit.rates.items()]
        rows += [(name, f"{rate}_gone", each) for name, each in habit.gone.items()]
    for name, overlap in found.overlaps.items():
        rows.append(
            (name, "longest_run", Estimate(value=float(overlap.longest), n=overlap.short.n))
        )
        rows += [(name, "runs_short", overlap.short), (name, "runs_long", overlap.long)]
    rows += [(name, "ability_change", each) for name, each in found.forgotten.items()]
    for (judge, rival), score in found.duels.items():
        if score.wins is not None:
            rows.append(("tuned", f"wins_over_{rival}:{judge}", score.wins))
    for metrics in (found.forms, found.honesty, found.abilities):
        for name, each in metrics.items():
            rows += [(name, metric, value) for metric, value in _estimates(each)]
    return rows


def _estimates(metrics: Form | Honesty | Ability) -> list[tuple[str, Estimate]]:
    prefix = {"Form": "form", "Honesty": "honest", "Ability": "ability"}[type(metrics).__name__]
    names = metrics.__dataclass_fields__
    values = [(name, getattr(metrics, name)) for name in names]
    return [(f"{prefix}_{name}", each) for name, each in values if isinstance(each, Estimate)]

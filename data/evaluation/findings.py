"""Compute all metrics of one evaluation for all sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from memoirist.data.evaluation import ability, honesty, style
from memoirist.data.evaluation.ability import Ability, Attempt, Plain
from memoirist.data.evaluation.honesty import Honesty, HonestyQuestion
from memoirist.data.evaluation.intervals import Estimate, ratio
from memoirist.data.evaluation.preferences import Score
from memoirist.data.evaluation.regurgitation import Lengths, Level, Overlap, RunIndex
from memoirist.data.evaluation.style import Distances, Form, Habit, Verification, norm_of, tokens

# In the order in which they are shown; `human` is the held-out text itself.
SIDES: Mapping[str, str] = {
    "base": "base",
    "few_shot": "base with examples",
    "previous": "previous model",
    "tuned": "tuned",
    "human": "the person (held-out text)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """The answers of one side, and its losses on the person's answers.

    `answers` follow the questions; `losses` are nats and tokens by conversation. For `human`,
    `finished` is None and there are neither losses nor attempts.
    """

    answers: Sequence[str]
    finished: Sequence[bool] | None = None
    honest: Sequence[str] = ()
    losses: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    attempts: Sequence[Attempt] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalData:
    """The data that all sides are compared with: the person's training text, and all of it."""

    lang: str
    author: Sequence[str]
    trained: Sequence[str]
    honest: Sequence[HonestyQuestion] = ()
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


def compute_findings(sides: Mapping[str, Side], data: EvalData) -> Findings:
    """Compute all metrics of QUALITY except the judge's."""
    lang, seed = data.lang, data.seed
    answering = {name: side for name, side in sides.items() if any(side.answers)}
    index = RunIndex(data.trained, lang)
    overlaps = {
        name: overlap
        for name, side in answering.items()
        if (overlap := index.overlap(side.answers, seed)) is not None
    }
    answers = {n: [tokens(text, lang) for text in side.answers] for n, side in answering.items()}
    cut = style.equal_lengths(answers)
    distances, verification = _distances(answers, cut, data)
    tallies = {name: style.tally(side.answers, lang) for name, side in answering.items()}
    attempts = {name: side.attempts for name, side in sides.items() if side.attempts}
    return Findings(
        lang=lang,
        losses=_losses(sides, seed),
        gains=_gains(sides, seed),
        distances=distances,
        verification=verification,
        habits=style.compare_rates(tallies, seed) if tallies else {},
        overlaps=overlaps,
        levels={
            name: index.level(overlap, overlaps.get("human")) for name, overlap in overlaps.items()
        },
        forms={
            name: style.measure_form(answers[name], cut[name], side.finished, seed)
            for name, side in answering.items()
        },
        honesty=_honesty(sides, data),
        abilities={name: ability.measure(data.plain, a, seed) for name, a in attempts.items()},
        forgotten=_changes(attempts, data),
    )


def _changes(attempts: Mapping[str, Sequence[Attempt]], data: EvalData) -> dict[str, Estimate]:
    """Return the change of ability from the base to each other side."""
    base = attempts.get("base", ())
    changes = {
        name: ability.change(data.plain, base, tried, data.seed)
        for name, tried in attempts.items()
        if base and name != "base"
    }
    return {name: change for name, change in changes.items() if change}


def _distances(
    answers: Mapping[str, list[list[str]]], cut: Mapping[str, list[list[str]]], data: EvalData
) -> tuple[Distances | None, Verification | None]:
    """Compare the words of the answers, and these cut to equal length, with the author's."""
    author = [tokens(text, data.lang) for text in data.author]
    norm = norm_of(data.lang, author)
    counts = {name: style.count(texts, norm) for name, texts in cut.items()} if any(author) else {}
    counts = {name: side for name, side in counts.items() if side.total}
    if not counts:
        return None, None
    distances = style.compare_distances(style.count(author, norm), counts, norm, data.seed)
    return distances, style.verify(author, answers, norm)


def _honesty(sides: Mapping[str, Side], data: EvalData) -> dict[str, honesty.Honesty]:
    """Return the honesty of the models, and the rules' hits by chance in the person's answers."""
    shares = {
        name: honesty.measure(zip(data.honest, side.honest, strict=True), side.answers, data.lang)
        for name, side in sides.items()
        if side.honest
    }
    human = sides.get("human")
    if shares and human is not None and any(human.answers):
        shares["human"] = honesty.by_chance(data.honest, human.answers, data.lang)
    return shares


def _losses(sides: Mapping[str, Side], seed: int) -> dict[str, Estimate]:
    """Return nats per answer token of each side, over the conversations that all sides have."""
    measured = [set(side.losses) for side in sides.values() if side.losses]
    common = sorted(set.intersection(*measured)) if measured else []
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

    Nats of whole conversations are compared, over the tuned model's tokens, because the other side
    may have another tokenizer.
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
    """Return nats per token by side, from (nats, tokens) of each conversation."""
    estimates: dict[str, Estimate] = {}
    for name, pairs in rows.items():
        nats, n_tokens = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
        if (estimate := ratio(nats, n_tokens, seed)) is not None:
            estimates[name] = estimate
    return estimates


def figures(findings: Findings) -> list[tuple[str, str, Estimate]]:
    """Return every figure as a row: side, metric, estimate."""
    by_metric: dict[str, Mapping[str, Estimate]] = {
        "nll": findings.losses,
        "nll_gain": findings.gains,
    }
    if findings.distances:
        by_metric |= {
            "delta": findings.distances.delta,
            "style_closed": findings.distances.closed,
        }
    if findings.verification:
        by_metric["author_percentile"] = findings.verification.percentile
    for rate, habit in findings.habits.items():
        by_metric |= {rate: habit.rates, f"{rate}_gone": habit.gone}
    by_metric["ability_change"] = findings.forgotten
    rows = [(side, metric, e) for metric, sides in by_metric.items() for side, e in sides.items()]
    for side, overlap in findings.overlaps.items():
        runs = {"longest_run": overlap.length, "runs_short": overlap.short}
        rows += [(side, name, e) for name, e in {**runs, "runs_long": overlap.long}.items()]
    for (judge, rival), score in findings.duels.items():
        if score.wins is not None:
            rows.append(("tuned", f"wins_over_{rival}:{judge}", score.wins))
    for prefix, metrics in (
        ("form", findings.forms),
        ("honest", findings.honesty),
        ("ability", findings.abilities),
    ):
        for side, record in metrics.items():
            values = [(name, getattr(record, name)) for name in record.__dataclass_fields__]
            rows += [(side, f"{prefix}_{n}", e) for n, e in values if isinstance(e, Estimate)]
    return rows

"""The report's chapters: what each metric is, its plot and its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data.evaluation.findings import SIDES, Findings
from data.evaluation.intervals import Estimate
from data.evaluation.plots import Dot, Scale, plot
from data.evaluation.rates import OVERSHOOT, RATES
from data.evaluation.reading import percent, spread
from data.evaluation.regurgitation import Lengths


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """One part of the report: words, plots as SVG by file name, and a table with its head first."""

    title: str
    told: str
    plots: Mapping[str, str]
    table: Sequence[Sequence[str]] = ()


def chapters(found: Findings, lang: str) -> list[Chapter]:
    """Return the chapters of what was measured."""
    made = [
        _loss(found),
        _style(found),
        _habits(found),
        _verification(found),
        _copies(found, lang),
        _form(found),
        _ability(found),
        _honesty(found),
    ]
    return [chapter for chapter in made if chapter is not None]


def _dots(each: Mapping[str, Estimate], by: float = 1.0) -> list[Dot]:
    return [Dot(label=SIDES[n], each=_times(each[n], by), side=n) for n in SIDES if n in each]


def _times(each: Estimate, by: float) -> Estimate:
    low, high = (None if end is None else by * end for end in (each.low, each.high))
    return Estimate(value=by * each.value, low=low, high=high, n=each.n)


def _loss(found: Findings) -> Chapter | None:
    if not found.losses:
        return None
    told = (
        "How well each model expects what the person said to questions that were never trained on:"
        " nats per answer token, lower is better."
    )
    if "few_shot" in found.losses:
        told += " The examples before the base's eyes are read, not counted."
    scale = Scale(unit="nats per answer token (lower is better)", digits=3)
    return Chapter(
        title="Held-out loss", told=told, plots={"loss": plot(_dots(found.losses), scale)}
    )


def _style(found: Findings) -> Chapter | None:
    if found.distances is None:
        return None
    told = (
        "Cosine Delta on 150 function words: how far each side's habits lie from the person's text"
        f" that was trained on. All sides are cut to {found.distances.words:,} words, since less"
        " text has more noise and lies farther for that alone. The person's own held-out text shows"
        " how near one can come."
    )
    plots = {
        "delta": plot(
            _dots(found.distances.delta), Scale(unit="distance from the person (lower is closer)")
        )
    }
    if found.distances.closed:
        plots["closed"] = plot(
            _dots(found.distances.closed),
            Scale(
                unit="share of the gap closed: 0 as the base, 1 as the person",
                marks=((0, "base"), (1, "person")),
                bad=(OVERSHOOT, 99),
                least=(-0.2, 1.3),
                most=2.5,
            ),
        )
    return Chapter(title="Style in function words", told=told, plots=plots)


def _habits(found: Findings) -> Chapter | None:
    if not found.habits:
        return None
    told = (
        "Habits that a reader notices. The plot shows how far the tuned model has gone from the"
        f" base (0) to the person (1); above {OVERSHOOT} it is a caricature. A habit is left out of"
        " the plot where base and person cannot be told apart in it."
    )
    sides = [n for n in SIDES if any(n in habit.rates for habit in found.habits.values())]
    table = [["", *(SIDES[n] for n in sides)]]
    for rate, habit in found.habits.items():
        table.append([RATES[rate], *(spread(habit.rates[n], 1, 1) for n in sides)])
    gone = [
        Dot(label=RATES[rate], each=habit.gone["tuned"], side="tuned")
        for rate, habit in found.habits.items()
        if "tuned" in habit.gone
    ]
    scale = Scale(
        unit="way gone from base (0) to person (1)",
        marks=((0, "base"), (1, "person")),
        bad=(OVERSHOOT, 99),
        least=(-0.2, 1.4),
        most=3.0,
    )
    plots = {"habits": plot(gone, scale)} if gone else {}
    return Chapter(title="Habits", told=told, plots=plots, table=table)


def _verification(found: Findings) -> Chapter | None:
    if found.verification is None:
        return None
    told = (
        f"The person's text was cut into {found.verification.n_chunks} stretches of"
        f" {found.verification.chunk_words:,} words; how many of them lie farther from the rest"
        " than a side's stretches do? 50 is the person's own middle, 0 means farther away than all."
    )
    scale = Scale(
        unit="percentile among the person's own stretches (50 is the middle)",
        marks=((50, "the person's middle"),),
        least=(0, 100),
        digits=0,
    )
    svg = plot(_dots(found.verification.percentile), scale)
    return Chapter(title="Would it pass as the person?", told=told, plots={"author": svg})


def _copies(found: Findings, lang: str) -> Chapter | None:
    if not found.overlaps:
        return None
    lengths = Lengths.of(lang)
    unit = "characters" if lengths.short != 8 else "words"
    told = (
        f"Runs of {unit} shared with the training text. A run of {lengths.long} or"
        f" 1 % in runs of {lengths.short} is worth a look, a run of {lengths.fatal} is recitation;"
        " what the person's own unseen text shares is the measure."
    )
    longest = {
        n: Estimate(value=float(each.longest), n=each.short.n) for n, each in found.overlaps.items()
    }
    scale = Scale(
        unit=f"longest shared run, {unit}",
        marks=((lengths.long, "look"), (lengths.fatal, "recites")),
        bad=(lengths.fatal, 10_000),
        least=(0, lengths.fatal + 3),
        digits=0,
    )
    table = [
        ["", "longest", f"in runs of {lengths.short}+", f"of {lengths.long}+", "the longest run"]
    ]
    for name in (n for n in SIDES if n in found.overlaps):
        each = found.overlaps[name]
        quote = each.quote if len(each.quote) <= 160 else f"{each.quote[:157]}..."
        table.append(
            [SIDES[name], str(each.longest), percent(each.short, 2), percent(each.long, 2), quote]
        )
    plots = {"runs": plot(_dots(longest), scale)}
    return Chapter(title="Regurgitation", told=told, plots=plots, table=table)


def _form(found: Findings) -> Chapter | None:
    if not found.forms:
        return None
    told = (
        "Variety (different ones among all runs of three words, at equal length), circles (words in"
        " runs of four that stood before in the same answer), length, and answers cut off by"
        " evaluate.max_new_tokens."
    )
    table = [["", "variety", "in circles", "words an answer", "cut off"]]
    for name in (n for n in SIDES if n in found.forms):
        each = found.forms[name]
        table.append(
            [
                SIDES[name],
                "-" if each.distinct_3 is None else f"{each.distinct_3.value:.2f}",
                "-" if each.repeated_4 is None else percent(each.repeated_4, 1),
                "-" if each.words is None else spread(each.words, 1, 0),
                "-" if each.unfinished is None else percent(each.unfinished),
            ]
        )
    return Chapter(title="Form", told=told, plots={}, table=table)


def _ability(found: Findings) -> Chapter | None:
    if not found.abilities:
        return None
    blind = next(iter(found.abilities.values())).blind
    told = (
        "Plain instructions without the persona, English and Chinese: sums, opposites, lists,"
        " formats. “Picked” compares how likely the model finds the right answer and wrong ones,"
        f" for models too weak to write it; blind choice gets {blind:.0%}. The last column is nats"
        " per token of the right answers: it rises before an answer is wrong."
    )
    picked = {n: e.chosen for n, e in found.abilities.items() if e.chosen is not None}
    scale = Scale(unit="picked right, %", marks=((100 * blind, "blind"),), least=(0, 100), digits=0)
    table = [["", "picked right", "written right", "loss of the right answer"]]
    for name in (n for n in SIDES if n in found.abilities):
        each = found.abilities[name]
        table.append(
            [
                SIDES[name],
                "-" if each.chosen is None else percent(each.chosen),
                "-" if each.written is None else percent(each.written),
                "-" if each.loss is None else spread(each.loss),
            ]
        )
    plots = {"ability": plot(_dots(picked, 100), scale)}
    return Chapter(title="General ability", told=told, plots=plots, table=table)


def _honesty(found: Findings) -> Chapter | None:
    if not found.honesty:
        return None
    told = (
        "Judged by rules on words, under the system prompt of the persona: does it say that it is"
        " an AI when asked, admit what it cannot know, object to what never was? An answer that"
        " babbles discloses nothing and counts as such. “Unasked” are ordinary answers that speak"
        " of an AI."
    )
    if "human" in found.honesty:
        told += (
            " The person was asked none of it: that row tells in how many ordinary answers the"
            " same rules find such words by chance. A share that lies no higher shows nothing."
        )
    table = [["", "discloses", "admits not to know", "objects", "unasked"]]
    for name in (n for n in SIDES if n in found.honesty):
        each = found.honesty[name]
        shares = (each.disclosed, each.outside, each.false_premise, each.unasked)
        table.append([SIDES[name], *("-" if s is None else percent(s) for s in shares)])
    return Chapter(title="Honesty", told=told, plots={}, table=table)

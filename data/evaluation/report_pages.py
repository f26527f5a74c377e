"""Make the report: Markdown with its plots beside it, and one HTML file that needs nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from markdown_it import MarkdownIt

from memoirist.data.evaluation.findings import SIDES, Findings
from memoirist.data.evaluation.honesty import MIN_DISCLOSED
from memoirist.data.evaluation.intervals import Estimate
from memoirist.data.evaluation.preferences import Score
from memoirist.data.evaluation.style import ENOUGH_WORDS, OVERSHOOT, RATES
from memoirist.data.templates import render

# How templates name what a figure belongs to, in the order in which it is shown.
_LABELS = {**SIDES, **RATES}
_COLOURS = {
    "base": "#7a808a",
    "few_shot": "#b7791f",
    "previous": "#7b5ea7",
    "tuned": "#1d6fb8",
    "human": "#2f855a",
}
_LEFT, _RIGHT = 230, 820


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The axis of a plot: its unit, lines at thresholds, and a range that is marked as bad.

    Values are multiplied by `factor`. The axis holds at least `least` and ends at `most`.
    """

    unit: str
    marks: Sequence[tuple[float, str]] = ()
    bad: tuple[float, float] | None = None
    least: tuple[float, ...] = ()
    digits: int = 2
    most: float | None = None
    factor: int = 1


@dataclass(frozen=True, slots=True)
class _Axis:
    """The ends of an axis, in its unit."""

    low: float
    high: float

    def x(self, value: float) -> float:
        """Return the pixel of a value; one outside is put at the end."""
        inside = min(max(value, self.low), self.high)
        share = (inside - self.low) / (self.high - self.low)
        return round(_LEFT + share * (_RIGHT - _LEFT), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """Return about five ticks: 1, 2 or 5 times a power of ten apart."""
        rough = (self.high - self.low) / 5
        power = 10 ** math.floor(math.log10(rough))
        step = next(k * power for k in (1, 2, 5, 10) if k * power >= rough)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [(self.x(n * step), f"{n * step + 0.0:,.{digits}f}") for n in range(first, last + 1)]


def plot(estimates: Mapping[str, Estimate], scale: Scale) -> str:
    """Return the SVG of figures by side or rate; intervals that leave the axis end in an arrow."""
    scaled = {key: estimates[key].times(scale.factor) for key in _LABELS if key in estimates}
    axis = _axis(scaled.values(), scale)
    rows = [
        (_LABELS[key], estimate, _COLOURS.get(key, _COLOURS["tuned"]))
        for key, estimate in scaled.items()
    ]
    values = {"scale": scale, "axis": axis, "rows": rows, "left": _LEFT, "right": _RIGHT}
    return render(TEMPLATES / "plot.svg.j2", values)


def _axis(estimates: Iterable[Estimate], scale: Scale) -> _Axis:
    ends = [end for e in estimates for end in (e.value, e.low, e.high) if end is not None]
    low, high = min([*ends, *scale.least]), max([*ends, *scale.least])
    if scale.most is not None:
        low, high = max(low, -scale.most), min(high, scale.most)
    margin = (high - low) * 0.05 or 0.5
    return _Axis(low if low == 0 else low - margin, high + margin)


_MAX_SHOWN = 900  # characters of an answer
LANGUAGES = {"en": "English", "zh": "Chinese", "de": "German", "fr": "French", "es": "Spanish"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the report shows beside the findings; `examples` are questions with each side's answer.

    `sampling` has temperature, top_p, seed, max_new_tokens and n_examples.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    findings: Findings
    examples: Sequence[tuple[str, Mapping[str, str]]]
    sampling: Mapping[str, object]
    on_test: bool


def pages(report: Report) -> dict[str, str]:
    """Return the files of the report by name: report.md, its plots, report.html."""
    plots: dict[str, str] = {}

    def image(name: str, title: str, estimates: Mapping[str, Estimate], **scale: Any) -> str:  # noqa: ANN401 - of Scale
        """Make a plot where there are figures, and return the Markdown that shows it."""
        if not estimates:
            return ""
        plots[name] = plot(estimates, Scale(**scale))
        return f"\n![{title}]({name}.svg)\n"

    values = {**_values(report), "plot": image}
    chapters, notes = (
        _html(render(TEMPLATES / name, values), plots) for name in ("chapters.md.j2", "notes.md.j2")
    )
    page = render(TEMPLATES / "report.html.j2", {**values, "chapters": chapters, "notes": notes})
    markdown = render(TEMPLATES / "report.md.j2", values)
    svgs = {f"{name}.svg": svg for name, svg in plots.items()}
    return {**svgs, "report.md": markdown, "report.html": page}


def _values(report: Report) -> dict[str, object]:
    findings = report.findings
    habits, abilities = findings.habits, findings.abilities
    return {
        **FORMATS,
        "report": report,
        "f": findings,
        "assessments": assess(findings),
        "sides": SIDES,
        "habit_sides": [s for s in SIDES if any(s in habit.rates for habit in habits.values())],
        "habits_gone": {r: h.gone["tuned"] for r, h in habits.items() if "tuned" in h.gone},
        "longest_runs": {side: overlap.length for side, overlap in findings.overlaps.items()},
        "chosen": {side: a.chosen for side, a in abilities.items() if a.chosen is not None},
        "rates": RATES,
        "overshoot": OVERSHOOT,
        "languages": LANGUAGES,
        "shortened": _shortened,
    }


def _html(markdown: str, plots: Mapping[str, str]) -> str:
    """Return Markdown of ours as HTML with the plots in it; HTML in it is shown, not taken."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    rules = parser.renderer.rules  # type: ignore[attr-defined]
    rules["image"] = lambda tokens, at, *_: plots[tokens[at].attrs["src"].removesuffix(".svg")]
    rules["table_open"] = lambda *_: '<div class="wide"><table>\n'
    rules["table_close"] = lambda *_: "</table></div>\n"
    return str(parser.render(markdown))


def _shortened(answer: str) -> str:
    return answer if len(answer) <= _MAX_SHOWN else f"{answer[:_MAX_SHOWN]} […]"


Rating = Literal["good", "mixed", "bad", "unknown"]
Answer: TypeAlias = tuple[Rating, str]
# Share of the gap from which a style counts as clearly closer (QUALITY: .3 to 1.0 is good).
CLOSER = 0.3
# With fewer words a side nothing is said about style (QUALITY: at 250 words the odds to tell an
# author from others are .88).
MIN_WORDS = 250
TEMPLATES = Path(__file__).parent / "templates"
_UNMEASURED: Answer = ("unknown", "not measured")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What one subject of the report comes to in a few words, its rating, and its figures."""

    subject: str
    rating: Rating
    answer: str
    details: str


def assess(findings: Findings) -> list[Assessment]:
    """Assess the tuned model subject by subject, the most important first."""
    beyond, away = _beyond_person(findings), _rates_off(findings, "away")
    faults = _faults(findings)
    answers: list[tuple[str, str, Answer, Score | None]] = [
        ("likelihood", "held-out loss", _likelihood(findings), None),
        ("style", "style", _style(findings), None),
        ("overshoot", "overshoot", _overshoot(findings, beyond, away), None),
        ("regurgitation", "regurgitation", _regurgitation(findings), None),
        ("forgetting", "general ability", _forgetting(findings), None),
        ("honesty", "disclosure of the AI", _honesty(findings), None),
        ("form", "form of the answers", _form(findings, faults), None),
    ]
    for (judge, rival), score in findings.duels.items():
        subject = f"closer to the person than the {SIDES[rival]}, judged by {judge}"
        answers.append(("preference", subject, _preference(score), score))
    values = {
        **FORMATS,
        "f": findings,
        "sides": SIDES,
        "enough_words": ENOUGH_WORDS,
        "min_disclosed": MIN_DISCLOSED,
        "beyond": beyond,
        "away": away,
        "faults": faults,
    }
    return [
        Assessment(
            subject=subject,
            rating=rating,
            answer=answer,
            details=_details({**values, "kind": kind, "answer": answer, "score": score}),
        )
        for kind, subject, (rating, answer), score in answers
    ]


def _details(values: Mapping[str, object]) -> str:
    text = " ".join(render(TEMPLATES / "assessments.j2", values).split())
    line = re.sub(r" (?=[;,.])", "", text)
    return line[:1].upper() + line[1:]


def _percent(estimate: Estimate | None, digits: int = 0) -> str:
    """Return a share with its interval in per cent, a dash for None."""
    return _spread(estimate, 100, digits, " %")


def _spread(estimate: Estimate | None, by: float = 1.0, digits: int = 2, unit: str = "") -> str:
    """Return a figure with its interval, `0.42 (0.31 to 0.55)`, a dash for None."""
    if estimate is None:
        return "-"
    value = f"{by * estimate.value:,.{digits}f}{unit}"
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} ({by * estimate.low:,.{digits}f} to {by * estimate.high:,.{digits}f})"


def _number(estimate: Estimate | None, digits: int) -> str:
    return "-" if estimate is None else f"{estimate.value:,.{digits}f}"


def _share(estimate: Estimate | None) -> str:
    return "-" if estimate is None else f"{100 * estimate.value:.0f} %"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


# How templates write figures.
FORMATS = {
    "percent": _percent,
    "spread": _spread,
    "number": _number,
    "share": _share,
    "listed": _listed,
    "thousands": "{:,}".format,
}


def _likelihood(findings: Findings) -> Answer:
    gain, prompted = findings.gains.get("base"), findings.gains.get("few_shot")
    if gain is None:
        return _UNMEASURED
    if prompted is not None and prompted.below(0):
        return "bad", "worse than the base with examples"
    if gain.above(0):
        return "good", "better than the base"
    if gain.value <= 0:
        return "bad", "no better than the base"
    return "mixed", "not clearly better than the base"


def _style(findings: Findings) -> Answer:
    if findings.distances is None or "tuned" not in findings.distances.delta:
        return _UNMEASURED
    if findings.distances.words < MIN_WORDS:
        return "unknown", "too few words"
    closed = findings.distances.closed.get("tuned")
    if closed is None:
        return "unknown", "no gap to close"
    if closed.below(0):
        return "bad", "farther from the person than the base"
    if not closed.above(0):
        return "mixed", "not clearly closer to the person"
    if closed.value < CLOSER:
        return "mixed", "a little closer to the person"
    return "good", "closer to the person"


def _beyond_person(findings: Findings) -> list[str]:
    """Return what the tuned model surely does more than the person, with its figures."""
    closed = findings.distances.closed.get("tuned") if findings.distances else None
    beyond = _rates_off(findings, "beyond")
    if closed is not None and closed.value > OVERSHOOT and closed.above(1.0):
        beyond.insert(0, f"function words ({_percent(closed)} of the gap)")
    return beyond


def _rates_off(findings: Findings, direction: Literal["beyond", "away"]) -> list[str]:
    names: list[str] = []
    for rate, habit in findings.habits.items():
        sides = habit.beyond if direction == "beyond" else habit.away - habit.beyond
        if "tuned" in sides:
            tuned, human, base = (habit.rates[side].value for side in ("tuned", "human", "base"))
            names.append(f"{RATES[rate]} ({tuned:.1f}, person {human:.1f}, base {base:.1f})")
    return names


def _overshoot(findings: Findings, beyond: Sequence[str], away: Sequence[str]) -> Answer:
    distances = findings.distances
    if distances is None or "tuned" not in distances.delta or distances.words < MIN_WORDS:
        return _UNMEASURED
    if beyond:
        return "bad", "exaggerates the person's habits"
    return ("mixed", "farther from the person than the base") if away else ("good", "none")


def _regurgitation(findings: Findings) -> Answer:
    if "tuned" not in findings.overlaps:
        return _UNMEASURED
    level = findings.levels["tuned"]
    if level == "ok":
        return "good", "none"
    return ("mixed", "some") if level == "warn" else ("bad", "recites its training text")


def _forgetting(findings: Findings) -> Answer:
    base, change = findings.abilities.get("base"), findings.forgotten.get("tuned")
    if base is None or base.chosen is None or base.written is None or change is None:
        return _UNMEASURED
    if (base.chosen.low or 0) <= base.blind and (base.written.low or 0) < 0.2:
        return "unknown", "not measurable, the base is too weak"
    return ("bad", "worse than the base") if change.below(0) else ("good", "no loss found")


def _honesty(findings: Findings) -> Answer:
    tuned = findings.honesty.get("tuned")
    if tuned is None or tuned.disclosed is None:
        return _UNMEASURED
    if tuned.disclosed.value >= MIN_DISCLOSED:
        return "good", "reliable"
    return "bad", "not reliable" if tuned.disclosed.value else "never"


def _faults(findings: Findings) -> list[str]:
    """Return what is wrong with the form of the tuned model's answers, the worst first."""
    tuned, human = findings.forms.get("tuned"), findings.forms.get("human")
    if tuned is None or human is None or tuned.words is None or human.words is None:
        return []
    repeats, human_repeats = tuned.repeated_4, human.repeated_4
    variety, human_variety = tuned.distinct_3, human.distinct_3
    ratio = tuned.words.value / human.words.value
    faults = {
        "they repeat themselves": repeats
        and human_repeats
        and repeats.above(human_repeats.value + 0.05),
        "most of them are cut off at the limit": tuned.unfinished and tuned.unfinished.value > 0.5,
        "their words vary less than the person's": variety
        and human_variety
        and variety.value < 0.8 * human_variety.value,
        f"they are {ratio:.1f} times as long as the person's": not 0.5 <= ratio <= 2,
    }
    return [fault for fault, is_there in faults.items() if is_there]


def _form(findings: Findings, faults: Sequence[str]) -> Answer:
    sides = [findings.forms.get(side) for side in ("tuned", "human")]
    if any(form is None or form.words is None for form in sides):
        return _UNMEASURED
    if not faults:
        return "good", "like the person's"
    return "bad" if "they repeat themselves" in faults else "mixed", "faulty"


def _preference(score: Score) -> Answer:
    if score.wins is None:
        return "unknown", "undecided"
    if score.is_win:
        return "good", "yes"
    return ("bad", "no") if score.wins.below(0.5) else ("mixed", "no clear difference")

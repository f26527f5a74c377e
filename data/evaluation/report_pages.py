"""Make the report: Markdown with its plots beside it, and one HTML file that needs nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

from memoirist.data.evaluation.assessment import FORMATS, TEMPLATES, assess
from memoirist.data.evaluation.findings import SIDES, Findings
from memoirist.data.evaluation.intervals import Estimate
from memoirist.data.evaluation.style import OVERSHOOT, RATES
from memoirist.data.templates import render

_COLOURS = {
    "base": "#7a808a",
    "few_shot": "#b7791f",
    "previous": "#7b5ea7",
    "tuned": "#1d6fb8",
    "human": "#2f855a",
}
_WIDTH, _LEFT, _RIGHT, _ROW = 920, 230, 820, 28


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """One row of a plot: its label, its figure, and the side that gives it its colour."""

    label: str
    estimate: Estimate
    side: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What the axis means: its unit, lines at thresholds, and a stretch that is bad to be in."""

    unit: str
    marks: Sequence[tuple[float, str]] = ()
    bad: tuple[float, float] | None = None
    least: tuple[float, ...] = ()  # what the axis shows at least
    digits: int = 2
    most: float | None = None  # where the axis ends, whatever the intervals do


@dataclass(frozen=True, slots=True)
class _Axis:
    """Where the axis begins and ends, in its unit."""

    low: float
    high: float

    def x(self, value: float) -> float:
        """Return the pixel of a value; what lies outside is put at the end."""
        inside = min(max(value, self.low), self.high)
        share = (inside - self.low) / (self.high - self.low)
        return round(_LEFT + share * (_RIGHT - _LEFT), 1)


def plots_of(findings: Findings) -> dict[str, str]:
    """Return the plots of the report as SVG by name."""
    gap = Scale(
        unit="share of the gap closed: 0 as the base, 1 as the person",
        marks=((0, "base"), (1, "person")),
        bad=(OVERSHOOT, 99),
        least=(-0.2, 1.3),
        most=2.5,
    )
    runs = findings.run_lengths
    longest = {
        side: Estimate(value=float(overlap.longest), n=overlap.short.n)
        for side, overlap in findings.overlaps.items()
    }
    chosen = {
        side: _in_percent(ability.chosen)
        for side, ability in findings.abilities.items()
        if ability.chosen is not None
    }
    blind = next((ability.blind for ability in findings.abilities.values()), 0.0)
    distances, verification = findings.distances, findings.verification
    rows: dict[str, tuple[list[Dot], Scale]] = {
        "loss": (
            _dots(findings.losses),
            Scale(unit="nats per answer token (lower is better)", digits=3),
        ),
        "delta": (
            _dots(distances.delta if distances else {}),
            Scale(unit="distance from the person (lower is closer)"),
        ),
        "closed": (_dots(distances.closed if distances else {}), gap),
        "habits": _habits(findings),
        "author": (
            _dots(verification.percentile if verification else {}),
            Scale(
                unit="percentile among the person's own stretches (50 is the middle)",
                marks=((50, "the person's middle"),),
                least=(0, 100),
                digits=0,
            ),
        ),
        "runs": (
            _dots(longest),
            Scale(
                unit=f"longest shared run, {runs.unit}",
                marks=((runs.long, "look"), (runs.fatal, "recites")),
                bad=(runs.fatal, 10_000),
                least=(0, runs.fatal + 3),
                digits=0,
            ),
        ),
        "ability": (
            _dots(chosen),
            Scale(
                unit="picked right, %", marks=((100 * blind, "blind"),), least=(0, 100), digits=0
            ),
        ),
    }
    return {name: plot(dots, scale) for name, (dots, scale) in rows.items() if dots}


def _habits(findings: Findings) -> tuple[list[Dot], Scale]:
    dots = [
        Dot(label=RATES[rate], estimate=habit.gone["tuned"], side="tuned")
        for rate, habit in findings.habits.items()
        if "tuned" in habit.gone
    ]
    return dots, Scale(
        unit="way gone from base (0) to person (1)",
        marks=((0, "base"), (1, "person")),
        bad=(OVERSHOOT, 99),
        least=(-0.2, 1.4),
        most=3.0,
    )


def _dots(estimates: Mapping[str, Estimate]) -> list[Dot]:
    return [
        Dot(label=label, estimate=estimates[side], side=side)
        for side, label in SIDES.items()
        if side in estimates
    ]


def _in_percent(estimate: Estimate) -> Estimate:
    low, high = (None if end is None else 100 * end for end in (estimate.low, estimate.high))
    return Estimate(value=100 * estimate.value, low=low, high=high, n=estimate.n)


def plot(dots: Sequence[Dot], scale: Scale) -> str:
    """Return the plot; intervals that leave the axis end in an arrow."""
    axis = _axis(dots, scale)
    top = 22 if scale.marks else 8
    bad = (axis.x(scale.bad[0]), axis.x(scale.bad[1])) if scale.bad else (0.0, 0.0)
    values = {
        "scale": scale,
        "rows": [
            _row(dot, top + _ROW * n + _ROW / 2, axis, scale.digits) for n, dot in enumerate(dots)
        ],
        "ticks": _ticks(axis),
        "marks": [
            (axis.x(value), name) for value, name in scale.marks if axis.low <= value <= axis.high
        ],
        "bad": bad if bad[0] < bad[1] else None,
        "width": _WIDTH,
        "left": _LEFT,
        "right": _RIGHT,
        "top": top,
        "bottom": top + _ROW * len(dots),
    }
    return render(Path(__file__).parent / "templates" / "plot.svg.j2", values)


def _row(dot: Dot, y: float, axis: _Axis, digits: int) -> dict[str, object]:
    """Return where a dot, its interval and the arrows at the ends of the axis stand."""
    low, high, value = dot.estimate.low, dot.estimate.high, dot.estimate.value
    arrows: list[tuple[float, int]] = []
    if low is not None and low < axis.low:
        arrows.append((axis.x(low), -1))
    if high is not None and high > axis.high:
        arrows.append((axis.x(high), 1))
    return {
        "label": dot.label,
        "figure": f"{value:,.{digits}f}",
        "colour": _COLOURS.get(dot.side, "#444"),
        "y": y,
        "x": axis.x(value) if axis.low <= value <= axis.high else None,
        "interval": None if low is None or high is None else (axis.x(low), axis.x(high)),
        "arrows": arrows,
    }


def _axis(dots: Sequence[Dot], scale: Scale) -> _Axis:
    estimates = [dot.estimate for dot in dots]
    ends = [end for e in estimates for end in (e.value, e.low, e.high) if end is not None]
    low, high = min([*ends, *scale.least]), max([*ends, *scale.least])
    if scale.most is not None:
        low, high = max(low, -scale.most), min(high, scale.most)
    margin = (high - low) * 0.05 or 0.5
    return _Axis(low if low == 0 else low - margin, high + margin)


def _ticks(axis: _Axis) -> list[tuple[float, str]]:
    """Return about five ticks: 1, 2 or 5 times a power of ten apart."""
    rough = (axis.high - axis.low) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(k * power for k in (1, 2, 5, 10) if k * power >= rough)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(axis.low / step - 1e-9), math.floor(axis.high / step + 1e-9)
    return [(axis.x(n * step), f"{n * step + 0.0:,.{digits}f}") for n in range(first, last + 1)]


_MARKS = {"good": "●", "mixed": "◐", "bad": "○", "unknown": "–"}
_LONGEST_ANSWER = 900
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
    plots = plots_of(report.findings)
    values = _values(report, plots)
    chapters, notes = (
        _html(render(TEMPLATES / name, values), plots) for name in ("chapters.md.j2", "notes.md.j2")
    )
    page = render(TEMPLATES / "report.html.j2", {**values, "chapters": chapters, "notes": notes})
    markdown = render(TEMPLATES / "report.md.j2", values)
    svgs = {f"{name}.svg": svg for name, svg in plots.items()}
    return {**svgs, "report.md": markdown, "report.html": page}


def _values(report: Report, plots: Mapping[str, str]) -> dict[str, object]:
    findings = report.findings
    habits = findings.habits.values()
    return {
        **FORMATS,
        "f": findings,
        "assessments": assess(findings),
        "sides": SIDES,
        "habit_sides": [side for side in SIDES if any(side in habit.rates for habit in habits)],
        "rates": RATES,
        "overshoot": OVERSHOOT,
        "plots": plots,
        "languages": LANGUAGES,
        "marks": _MARKS,
        "shortened": _shortened,
        "title": report.title,
        "facts": report.facts,
        "examples": report.examples,
        "sampling": report.sampling,
        "on_test": report.on_test,
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
    return answer if len(answer) <= _LONGEST_ANSWER else f"{answer[:_LONGEST_ANSWER]} […]"

"""Make the report: Markdown with its plots beside it, and one HTML file that needs nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt

from memoirist.data.evaluation.assessment import FORMATS, TEMPLATES, assess
from memoirist.data.evaluation.findings import SIDES, Findings
from memoirist.data.evaluation.plots import plots_of
from memoirist.data.evaluation.rates import OVERSHOOT, RATES
from memoirist.data.templates import render

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

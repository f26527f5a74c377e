"""The report as Markdown with its plots beside it, and as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

from data.evaluation.chapters import Chapter
from data.evaluation.findings import SIDES
from data.evaluation.reading import Reading

_MARKS = {"good": "●", "mixed": "◐", "bad": "○", "unknown": "–"}
_LONGEST = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that both pages show; `shown` are questions with the answer of each side."""

    title: str
    facts: Sequence[tuple[str, str]]
    readings: Sequence[Reading]
    chapters: Sequence[Chapter]
    shown: Sequence[tuple[str, Mapping[str, str]]]
    notes: Sequence[str]


def markdown(report: Report) -> str:
    """Return the report as Markdown; plots are images named `NAME.svg` beside it."""
    lines = [f"# {report.title}", "", *(f"- {name}: {told}" for name, told in report.facts), ""]
    lines += ["| | | |", "|---|---|---|"]
    for reading in report.readings:
        mark = f"{_MARKS[reading.tone]} **{reading.word}**"
        lines.append(f"| {reading.question} | {mark} | {_cell(reading.told)} |")
    for chapter in report.chapters:
        lines += ["", f"## {chapter.title}", "", chapter.told]
        for name in chapter.plots:
            lines += ["", f"![{chapter.title}]({name}.svg)"]
        if chapter.table:
            head, *rows = chapter.table
            lines += ["", _row(head), "|" + "---|" * len(head), *map(_row, rows)]
    if report.shown:
        lines += ["", "## Side by side", "", "Drawn by chance, not chosen."]
    for asked, answers in report.shown:
        lines += ["", f"### {_cell(asked)}"]
        for name in (n for n in SIDES if n in answers):
            said = _cut(answers[name]).replace("\n", "\n> ")
            lines += ["", f"**{SIDES[name]}**", "", f"> {said}"]
    lines += ["", "## How to read this", "", *(f"- {note}" for note in report.notes)]
    return "\n".join(lines) + "\n"


def html(report: Report) -> str:
    """Return the report as one HTML page with its plots inside; it has no script."""
    facts = " · ".join(f"{escape(name)} <b>{escape(told)}</b>" for name, told in report.facts)
    cards = "".join(
        f'<section class="card {reading.tone}"><h3>{escape(reading.question)}</h3>'
        f'<p class="word">{escape(reading.word)}</p><p>{escape(reading.told)}</p></section>'
        for reading in report.readings
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    page = Template((Path(__file__).parent / "report.html").read_text("utf-8"))
    return page.substitute(
        title=escape(report.title),
        facts=facts,
        cards=cards,
        chapters="".join(map(_chapter, report.chapters)),
        shown="".join(_side_by_side(asked, answers) for asked, answers in report.shown),
        notes=notes,
    )


def _chapter(chapter: Chapter) -> str:
    plots = "".join(f"<figure>{svg}</figure>" for svg in chapter.plots.values())
    table = ""
    if chapter.table:
        head, *rows = chapter.table
        cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
        body = "".join(
            f"<tr><th>{escape(row[0])}</th>"
            + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
            + "</tr>"
            for row in rows
        )
        table = f'<div class="wide"><table><tr>{cells}</tr>{body}</table></div>'
    return f"<h2>{escape(chapter.title)}</h2><p>{escape(chapter.told)}</p>{plots}{table}"


def _side_by_side(asked: str, answers: Mapping[str, str]) -> str:
    columns = "".join(
        f'<div class="answer {name}"><h4>{escape(SIDES[name])}</h4>'
        f"<p>{escape(_cut(answers[name])) or '<i>nothing</i>'}</p></div>"
        for name in SIDES
        if name in answers
    )
    return f'<article><h3>{escape(asked)}</h3><div class="answers">{columns}</div></article>'


def _cut(answer: str) -> str:
    return answer if len(answer) <= _LONGEST else f"{answer[:_LONGEST]} […]"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"

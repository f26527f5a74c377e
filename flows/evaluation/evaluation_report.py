"""Write the report of an evaluation into the workspace, and say the main of it on the terminal."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

from data.measures.chapters import Chapter, chapters
from data.measures.findings import Findings, Side
from data.measures.pages import Report, html, markdown
from data.measures.reading import read
from data.nouns import Run
from flows.evaluation.eval_set import EvalSet
from flows.recipe.recipe import Recipe
from flows.runtime.context import Context

_SHOWN = 5
_LANGUAGE = {"en": "English", "zh": "Chinese", "de": "German", "fr": "French", "es": "Spanish"}


def write_report(
    context: Context, run: Run, sides: Mapping[str, Side], found: Findings, setting: EvalSet
) -> Path:
    """Write report.md with its plots and report.html; return the latter's path."""
    folder = context.workspace.reports / run.id
    folder.mkdir(parents=True, exist_ok=True)
    parts = chapters(found, setting.matter.lang)
    report = _report(context, run, sides, found, setting, parts)
    for old in folder.glob("*.svg"):
        old.unlink()
    for chapter in parts:
        for name, svg in chapter.plots.items():
            _write(folder / f"{name}.svg", svg)
    _write(folder / "report.md", markdown(report))
    _write(folder / "report.html", html(report))
    return folder / "report.html"


def report_findings(context: Context, found: Findings, page: Path) -> None:
    """Say in a few lines what came out, the warnings among them as warnings."""
    for reading in read(found):
        told = f"{reading.question} {reading.word}"
        if reading.tone == "bad":
            first = reading.told.split(". ")[0].split("; ")[0].rstrip(".")
            context.report.warn(f"{told}. {first}.")
        else:
            context.report.note(told)
    context.report.note(f"report: {page}")


def _report(  # noqa: PLR0913 - what a report is made of
    context: Context,
    run: Run,
    sides: Mapping[str, Side],
    found: Findings,
    setting: EvalSet,
    parts: list[Chapter],
) -> Report:
    persona = Recipe.model_validate_json(run.recipe).persona.name
    rows = "test" if setting.on_test else "validation"
    return Report(
        title=f"How much is it {persona}?" if persona else "How close is the model?",
        facts=(
            ("run", run.id),
            ("base", run.base_model),
            ("dataset", run.dataset_id),
            ("language", _LANGUAGE.get(setting.matter.lang, setting.matter.lang)),
            ("held out", f"{len(setting.rows)} {rows} conversations"),
            ("questions", str(len(setting.held))),
            ("made", f"{context.now:%Y-%m-%d %H:%M} UTC"),
        ),
        readings=read(found),
        chapters=parts,
        shown=_drawn(sides, setting),
        notes=_notes(context, setting),
    )


def _drawn(sides: Mapping[str, Side], setting: EvalSet) -> list[tuple[str, Mapping[str, str]]]:
    """Return some questions with the answer of each side."""
    n = len(setting.held)
    places = sorted(random.Random(setting.matter.seed).sample(range(n), min(_SHOWN, n)))
    return [
        (
            setting.held[place].question,
            {name: side.answers[place] for name, side in sides.items() if side.answers},
        )
        for place in places
    ]


def _notes(context: Context, setting: EvalSet) -> list[str]:
    settings = context.recipe.evaluate
    notes = [
        "Intervals are 95 %: Wilson's for shares, the bootstrap over questions for the rest. Where"
        " two intervals overlap widely, do not read a difference into them.",
        f"Answers are drawn at temperature {settings.temperature:g} and top_p {settings.top_p:g},"
        f" seed {settings.seed}, at most {settings.max_new_tokens} tokens. The base with examples"
        f" sees {len(setting.examples) // 2} exchanges of the person before each question.",
        "No single figure decides: style, judges and likelihood hardly agree with one another."
        " Read the answers above as well.",
        "The model has the person's manner, not the person's memory: what it says of facts may be"
        " invented.",
    ]
    if not setting.on_test:
        notes.append(
            "The dataset is too small for a test split: the validation rows were used, which have"
            " also decided when training stopped. That flatters the tuned model."
        )
    if setting.matter.lang not in _LANGUAGE:
        notes.append(
            f"There is no list of function words for the language {setting.matter.lang!r}: the"
            " person's own most frequent words stand in for it, measured from the middle between"
            " person and base."
        )
    return notes


def _write(path: Path, text: str) -> None:
    making = path.with_name(f".{path.name}.making")
    making.write_text(text, encoding="utf-8")
    making.replace(path)

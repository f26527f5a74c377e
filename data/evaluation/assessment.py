"""Answer the questions that a person asks about a tuned model, from the findings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from memoirist.data.evaluation.findings import SIDES, Findings
from memoirist.data.evaluation.honesty import LEAST
from memoirist.data.evaluation.intervals import Estimate
from memoirist.data.evaluation.preferences import Score
from memoirist.data.evaluation.style import ENOUGH_WORDS, OVERSHOOT, RATES
from memoirist.data.templates import render

Tone = Literal["good", "mixed", "bad", "unknown"]
Answer: TypeAlias = tuple[Tone, str]
# Share of the gap from which a style counts as clearly closer (QUALITY: .3 to 1.0 is good).
CLOSER = 0.3
# Below so many words a side nothing is said of style (QUALITY: at 250 words the odds to tell an
# author from others are .88).
LEAST_WORDS = 250
TEMPLATES = Path(__file__).parent / "templates"
_UNMEASURED: Answer = ("unknown", "not measured")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """The answer to one question: a word for the eye, and a sentence with its figures."""

    question: str
    tone: Tone
    word: str
    details: str


def assess(findings: Findings) -> list[Assessment]:
    """Return the answers about the tuned model, the most wanted first."""
    past, astray = _past(findings), _habits(findings, "away")
    faults = _faults(findings)
    answers: list[tuple[str, str, Answer, dict[str, object]]] = [
        ("Does it expect the person's words?", "likelihood", _likelihood(findings), {}),
        ("Is it closer in style?", "style", _style(findings), {}),
        (
            "Does it overdo it?",
            "overshoot",
            _overshoot(findings, past, astray),
            {"past": past, "astray": astray},
        ),
        ("Does it recite what it was trained on?", "recitation", _recitation(findings), {}),
        ("Has it forgotten general abilities?", "forgetting", _forgetting(findings), {}),
        ("Does it say that it is an AI?", "honesty", _honesty(findings), {}),
        ("Are its answers well formed?", "form", _form(findings, faults), {"faults": faults}),
    ]
    for (judge, rival), score in findings.duels.items():
        question = f"Is it taken for the person rather than the {SIDES[rival]}? ({judge})"
        answers.append((question, "preference", _preference(score), {"score": score}))
    return [
        Assessment(
            question=question,
            tone=tone,
            word=word,
            details=_details(findings, {"subject": subject, "word": word, **more}),
        )
        for question, subject, (tone, word), more in answers
    ]


def _details(findings: Findings, values: dict[str, object]) -> str:
    figures = {"f": findings, "sides": SIDES, "enough_words": ENOUGH_WORDS}
    text = render(
        TEMPLATES / "assessments.j2",
        {**figures, **FORMATS, "wanted_disclosure": LEAST, **values},
    )
    line = re.sub(r" (?=[;,.])", "", " ".join(text.split()))
    return line[:1].upper() + line[1:]


def percent(estimate: Estimate | None, digits: int = 0) -> str:
    """Return a share with its interval in per cent, a dash for None."""
    return spread(estimate, 100, digits, " %")


def spread(estimate: Estimate | None, by: float = 1.0, digits: int = 2, unit: str = "") -> str:
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
    return "-" if estimate is None else f"{estimate.value:.0%}"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


# How templates write figures.
FORMATS = {
    "percent": percent,
    "spread": spread,
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
        return "bad", "less than a prompt"
    if gain.above(0):
        return "good", "better than base"
    return ("bad", "no better") if gain.value <= 0 else ("mixed", "perhaps better")


def _style(findings: Findings) -> Answer:
    if findings.distances is None or "tuned" not in findings.distances.delta:
        return _UNMEASURED
    if findings.distances.words < LEAST_WORDS:
        return "unknown", "too few words"
    closed = findings.distances.closed.get("tuned")
    if closed is None:
        return "unknown", "no gap to close"
    if closed.below(0):
        return "bad", "farther away"
    if not closed.above(0):
        return "mixed", "not surely"
    return ("mixed", "a little") if closed.value < CLOSER else ("good", "closer")


def _past(findings: Findings) -> list[str]:
    """Return what the tuned model surely does more than the person, with its figures."""
    closed = findings.distances.closed.get("tuned") if findings.distances else None
    past = _habits(findings, "beyond")
    if closed is not None and closed.value > OVERSHOOT and closed.above(1.0):
        past.insert(0, f"function words ({percent(closed)} of the gap)")
    return past


def _habits(findings: Findings, direction: Literal["beyond", "away"]) -> list[str]:
    names: list[str] = []
    for rate, habit in findings.habits.items():
        sides = habit.beyond if direction == "beyond" else habit.away - habit.beyond
        if "tuned" in sides:
            tuned, human, base = (habit.rates[side].value for side in ("tuned", "human", "base"))
            names.append(f"{RATES[rate]} ({tuned:.1f}, the person {human:.1f}, base {base:.1f})")
    return names


def _overshoot(findings: Findings, past: Sequence[str], astray: Sequence[str]) -> Answer:
    distances = findings.distances
    if distances is None or "tuned" not in distances.delta or distances.words < LEAST_WORDS:
        return _UNMEASURED
    if past:
        return "bad", "overshoots"
    return ("mixed", "strays") if astray else ("good", "no")


def _recitation(findings: Findings) -> Answer:
    if "tuned" not in findings.overlaps:
        return _UNMEASURED
    answers: dict[str, Answer] = {
        "ok": ("good", "no"),
        "warn": ("mixed", "some"),
        "fail": ("bad", "recites"),
    }
    return answers[findings.levels["tuned"]]


def _forgetting(findings: Findings) -> Answer:
    base, change = findings.abilities.get("base"), findings.forgotten.get("tuned")
    if base is None or base.chosen is None or base.written is None or change is None:
        return _UNMEASURED
    if (base.chosen.low or 0) <= base.blind and (base.written.low or 0) < 0.2:
        return "unknown", "cannot be told"
    return ("bad", "forgets") if change.below(0) else ("good", "not seen to")


def _honesty(findings: Findings) -> Answer:
    tuned = findings.honesty.get("tuned")
    if tuned is None or tuned.disclosed is None:
        return _UNMEASURED
    if tuned.disclosed.value >= LEAST:
        return "good", "yes"
    return "bad", "not always" if tuned.disclosed.value else "never"


def _faults(findings: Findings) -> list[str]:
    """Return what is wrong with the form of the tuned model's answers, the worst first."""
    tuned, human = findings.forms.get("tuned"), findings.forms.get("human")
    if tuned is None or human is None or tuned.words is None or human.words is None:
        return []
    repeats, human_repeats = tuned.repeated_4, human.repeated_4
    variety, human_variety = tuned.distinct_3, human.distinct_3
    ratio = tuned.words.value / human.words.value
    faults = {
        "it goes in circles": repeats
        and human_repeats
        and repeats.above(human_repeats.value + 0.05),
        "most answers do not end by themselves within the limit": tuned.unfinished
        and tuned.unfinished.value > 0.5,
        "its words vary less": variety
        and human_variety
        and variety.value < 0.8 * human_variety.value,
        f"its answers have {ratio:.1f} times the person's length": not 0.5 <= ratio <= 2,
    }
    return [fault for fault, is_there in faults.items() if is_there]


def _form(findings: Findings, faults: Sequence[str]) -> Answer:
    sides = [findings.forms.get(side) for side in ("tuned", "human")]
    if any(form is None or form.words is None for form in sides):
        return _UNMEASURED
    if not faults:
        return "good", "yes"
    return "bad" if "it goes in circles" in faults else "mixed", "not quite"


def _preference(score: Score) -> Answer:
    if score.wins is None:
        return "unknown", "undecided"
    if score.is_win:
        return "good", "wins"
    return ("bad", "loses") if score.wins.below(0.5) else ("mixed", "a draw")

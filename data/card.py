"""The model card: what a tuned model was made of, how, how well, and what it must not be taken for.

Written from the store alone, as Markdown under the YAML that hubs read
(https://huggingface.co/docs/hub/model-cards).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

# The sides of an evaluation in the order of the columns: the base stands beside the tuned model.
_SIDES = ("base", "few_shot", "previous", "tuned", "human")
# Of the hub's own names for licences, those that texts come under beside Creative Commons.
_LICENCES = {"apache-2.0", "mit", "gfdl", "odbl", "odc-by", "pddl", "bsd-3-clause"}
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """What the store knows of one model; `figures` has the sides of each metric by name.

    `disclosure` is the measured share of answers that disclose the AI, empty where none was asked.
    `sources` have title, author, kind, rights, rights_basis and pairs; `drops` rule, subject and n.
    """

    name: str
    persona: str
    languages: Sequence[str]
    base_model: str
    run_id: str
    dataset: Mapping[str, Any]
    sources: Sequence[Mapping[str, Any]]
    origins: Mapping[str, int]
    drops: Sequence[Mapping[str, Any]]
    settings: Mapping[str, Any]
    figures: Mapping[str, Mapping[str, str]]
    merge: Mapping[str, Any] = field(default_factory=dict)
    system: str = ""
    notes: Sequence[str] = ()
    disclosure: str = ""


def card(facts: CardFacts, *, adapter: bool) -> str:
    """Return the card of the merged model, or of the adapter alone."""
    front = {
        "language": list(facts.languages),
        "license": _license(facts.sources),
        "base_model": facts.base_model if _HUB_ID.fullmatch(facts.base_model) else "unknown",
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["memoirist", "persona", "conversational", "lora", "text-generation"],
    }
    if front["license"] == "other":
        front["license_name"] = "see-sources"
    told = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{told}---",
        _opening(facts, adapter=adapter),
        _sources(facts),
        _data(facts),
        _training(facts),
        _figures(facts),
        _limits(facts),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _license(sources: Sequence[Mapping[str, Any]]) -> str:
    """Return the one licence that all sources share as hubs spell it, else `other`."""
    rights = {str(source.get("rights") or "unknown") for source in sources}
    if len(rights) == 1:
        told = rights.pop()
        if told.startswith("licence:"):
            licence = told.removeprefix("licence:").lower()
            return licence if licence.startswith("cc") or licence in _LICENCES else "other"
    return "other"


def _opening(facts: CardFacts, *, adapter: bool) -> str:
    what = "A LoRA adapter" if adapter else "A language model with its LoRA adapter merged in"
    system = f"\n\nIts system prompt:\n\n> {' '.join(facts.system.split())}" if facts.system else ""
    notes = "".join(f"\n- {note}" for note in facts.notes)
    return (
        f"# {facts.name}\n\n{what} that answers in the voice of {facts.persona}, made with"
        f" Memoirist.\n\n**This is an AI.** It imitates how {facts.persona} wrote and spoke; it is"
        f" not that person and does not speak for them.{system}"
        + (f"\n\nHow to load it:\n{notes}" if notes else "")
    )


def _sources(facts: CardFacts) -> str:
    rows = [
        (
            source.get("title") or "untitled",
            source.get("author") or "",
            source.get("kind") or "",
            f"{source.get('rights') or 'unknown'}"
            + (f" ({source['rights_basis']})" if source.get("rights_basis") else ""),
            f"{source.get('pairs', 0):,}",
        )
        for source in facts.sources
    ]
    table = _table(("source", "author", "kind", "rights", "exchanges used"), rows)
    return f"## Sources and rights\n\n{table}"


def _data(facts: CardFacts) -> str:
    dataset = facts.dataset
    origins = ", ".join(f"{n:,} {origin}" for origin, n in facts.origins.items())
    drops = _table(
        ("what", "rule", "left out"),
        [(row["subject"], row["rule"], f"{row['n']:,}") for row in facts.drops],
    )
    return (
        f"## Data\n\nDataset version `{dataset.get('id', '')}` of {dataset.get('created_at', '')}:"
        f" {dataset.get('n_train', 0):,} conversations to train on,"
        f" {dataset.get('n_validation', 0):,} to know when to stop,"
        f" {dataset.get('n_test', 0):,} never seen. Answers are the sources' own words;"
        f" the questions come from: {origins or 'unknown'} (`spoken` was really asked, `given` came"
        " with the data, `generated` was written by a language model, `template` by a rule)."
        + (f"\n\nLeft out, by the rule that spoke against it:\n\n{drops}" if facts.drops else "")
    )


def _training(facts: CardFacts) -> str:
    rows = [(key, str(value)) for key, value in facts.settings.items()]
    return (
        f"## Training\n\nRun `{facts.run_id}` on `{facts.base_model}`, of whose answers alone the"
        f" loss was taken.\n\n{_table(('setting', 'value'), rows)}"
    )


def _figures(facts: CardFacts) -> str:
    parts = []
    sides = [side for side in _SIDES if any(side in row for row in facts.figures.values())]
    if sides:
        rows = [
            (name.replace("_", " "), *(row.get(side, "") for side in sides))
            for name, row in facts.figures.items()
        ]
        parts.append(_table(("", *(side.replace("_", " ") for side in sides)), rows))
        parts.append(
            "Measured on what was never trained on; in brackets the 95 % interval. `few shot` is"
            " the base with examples before its eyes, `human` the person's own held-out text; `nll`"
            " is the loss in nats a token."
        )
    if facts.merge:
        merged = [(name, str(value)) for name, value in facts.merge.items()]
        parts.append("The merged model against base and adapter, as they were trained:")
        parts.append(_table(("figure", "value"), merged))
    return "\n\n".join(["## Figures", *parts]) if parts else ""


def _limits(facts: CardFacts) -> str:
    told = (
        "- Asked by the evaluation, under its system prompt, what it is, it disclosed an AI in"
        f" {facts.disclosure}.\n"
        if facts.disclosure
        else ""
    )
    return (
        "## Limits\n\n"
        f"- It has learnt a manner and some opinions of {facts.persona}, not facts: what it states"
        " may be invented, names, dates and numbers first of all.\n"
        "- It may repeat passages of its sources word for word; their rights are above.\n"
        "- It knows nothing beyond its sources and its base model, and keeps the faults and the"
        " licence conditions of that base.\n"
        f"{told}"
        "- Do not use it to deceive, to speak in a person's name, or where an error does harm. Tell"
        " those who talk to it that it is an AI."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = (" ".join(str(cell).split()).replace("|", "\\|") for cell in row)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)

"""The model card: what a tuned model was made of, how, how well, and what it must not be taken for.

Written from the store alone, as Markdown under the YAML that hubs read
(https://huggingface.co/docs/hub/model-cards).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from memoirist.data.evaluation.findings import SIDES
from memoirist.data.evaluation.intervals import Estimate
from memoirist.data.templates import render

# Of the hub's own names for licences, those that texts come under beside Creative Commons.
_LICENCES = {"apache-2.0", "mit", "gfdl", "odbl", "odc-by", "pddl", "bsd-3-clause"}
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """What the store knows of one model; `figures` has the sides of each metric by name.

    `sources` have title, author, kind, rights, rights_basis and pairs; `drops` rule, subject and n.
    `merge` has the columns of the merged model in `models`, and max_new_tokens; it may be empty.
    `prepared_base` is the folder of the base that an adapter with tokens of its own belongs on.
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
    figures: Mapping[str, Mapping[str, Estimate]]
    merge: Mapping[str, Any] = field(default_factory=dict)
    system: str = ""
    prepared_base: str = ""


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
    values = {
        "f": facts,
        "adapter": adapter,
        "front": yaml.safe_dump(front, sort_keys=False, allow_unicode=True),
        "sides": [side for side in SIDES if any(side in row for row in facts.figures.values())],
        "thousands": "{:,}".format,
        "figure": _figure,
    }
    return render(Path(__file__).with_suffix(".md.j2"), values)


def _figure(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3g}"
    return f"{estimate.value:.3g} [{estimate.low:.3g}, {estimate.high:.3g}]"


def _license(sources: Sequence[Mapping[str, Any]]) -> str:
    """Return the one licence that all sources share as hubs spell it, else `other`."""
    rights = {str(source.get("rights") or "unknown") for source in sources}
    if len(rights) == 1:
        only = rights.pop()
        if only.startswith("licence:"):
            licence = only.removeprefix("licence:").lower()
            return licence if licence.startswith("cc") or licence in _LICENCES else "other"
    return "other"

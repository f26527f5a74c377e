"""The model card: what a tuned model was made of, how, how well, and what it must not be taken for.

Written from the store alone, as Markdown under the YAML that hubs read
(https://huggingface.co/docs/hub/model-cards), beside the weights with their Modelfile.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from memoirist.data.evaluation.findings import SIDES
from memoirist.data.evaluation.intervals import Estimate
from memoirist.data.provenance.rights import hub_licence
from memoirist.data.schema.records import Model, Run
from memoirist.data.store.transaction import statement
from memoirist.data.templates import render
from memoirist.flows.recipe import Recipe
from memoirist.flows.runtime.context import Context, persona_language
from memoirist.train.disk import write_text

Facts = Mapping[str, Any]
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")
# The settings that the card shows.
_SETTINGS = (
    "quantisation", "rank", "alpha", "dropout", "target_modules", "learning_rate", "scheduler",
    "epochs", "steps", "best_step", "stopped_by", "max_length", "effective_batch", "optimizer",
    "template", "packing", "seed",
)  # fmt: skip


def write_model_card(context: Context, run: Run, model: Model) -> None:
    """Write the card to merged model and adapter, and the Modelfile to the merged model.

    Other tools can load the adapter's folder afterwards. Each call writes again, because figures
    and rights may have changed.
    """
    from memoirist.train.export.hub_upload import complete_adapter
    from memoirist.train.export.ollama import folder_modelfile
    from memoirist.train.loop.run_folder import WHOLE, base_of, mark_whole

    root = context.workspace.root
    merged, adapter = root / str(model.merged_path), root / model.adapter_path
    facts = card_facts(context, run, model)
    if adapter.is_dir():
        complete_adapter(adapter, base_of(context.workspace.run_folder(run.id)))
        prepared = {"prepared_base": _prepared_base(adapter)}
        write_text(adapter / "README.md", card({**facts, **prepared}, adapter=True))
    if (adapter / WHOLE).exists():
        mark_whole(adapter)  # a picked checkpoint can still be tried, and merged again
    if not merged.is_dir():
        return
    write_text(merged / "README.md", card(facts, adapter=False))
    write_text(merged / "Modelfile", folder_modelfile(merged, facts["system"]))


def card_facts(context: Context, run: Run, model: Model) -> Facts:
    """Return what the store knows of a run and its model, by the names in the card's template.

    `figures` has the estimates of each metric by side. `merge` has the columns of the merged model
    in `models`, and max_new_tokens; it may be empty. `prepared_base` is the folder of the base that
    an adapter with tokens of its own belongs on.
    """
    store = context.workspace.store
    recipe = Recipe.model_validate_json(run.recipe)
    sources = store.rows(statement("card_sources"), [run.dataset_id])
    language = persona_language(context)
    origins = store.rows(statement("card_origins"), [run.dataset_id])
    drops = store.rows(statement("card_drops"), [[row["id"] for row in sources]])
    trained = {**recipe.train.model_dump(), **_training_outcome(context, run, model)}
    return {
        "name": f"{recipe.persona.name or 'A persona'} ({run.id[:8]})",
        "persona": recipe.persona.name or "the person in its sources",
        "languages": [language],
        "base_model": run.base_model,
        "run_id": run.id,
        "dataset": store.rows("SELECT * FROM datasets WHERE id = ?", [run.dataset_id])[0],
        "sources": sources,
        "origins": {row["origin"]: row["n"] for row in origins},
        "drops": drops,
        "settings": {key: trained[key] for key in _SETTINGS if trained.get(key) is not None},
        # The figures belong to the step that training kept, and to no other.
        "figures": _evaluation_figures(context, run) if model.step is None else {},
        "merge": asdict(model) | {"max_new_tokens": recipe.merge.max_new_tokens}
        if model.prompts is not None
        else {},
        "system": recipe.persona.system_prompt(language),
        "prepared_base": "",
    }


def _training_outcome(context: Context, run: Run, model: Model) -> dict[str, Any]:
    """Return the settings that the training chose itself, and why it stopped."""
    from memoirist.train.loop.launch import STOP_REASONS, read_result

    folder = context.workspace.run_folder(run.id)
    if not (folder / "result.json").exists():
        return {}
    result = read_result(folder)
    plan = result.plan
    rate = plan["learning_rate"]
    other = "" if model.step in {None, result.best_step} else f" (this is step {model.step})"
    return {
        "learning_rate": f"{rate:.3g}",
        "epochs": f"{result.steps / plan['steps_per_epoch']:.3g}",
        "steps": result.steps,
        "best_step": f"{result.best_step}{other}",
        "stopped_by": STOP_REASONS.get(result.stopped_by, result.stopped_by),
    }


def _evaluation_figures(context: Context, run: Run) -> dict[str, dict[str, Estimate]]:
    """Return the estimates of each metric, by metric and model."""
    figures: dict[str, dict[str, Estimate]] = {}
    sql = (
        "SELECT metric, model, value, low, high, n FROM evaluations WHERE run_id = ? ORDER BY rowid"
    )
    for row in context.workspace.store.rows(sql, [run.id]):
        estimate = Estimate(value=row["value"], low=row["low"], high=row["high"], n=row["n"])
        figures.setdefault(row["metric"], {})[row["model"]] = estimate
    return figures


def _prepared_base(adapter: Path) -> str:
    """Return the folder's name of the base of an adapter that trains its own tokens, else ""."""
    from memoirist.train.export.hub_upload import trains_tokens

    if not trains_tokens(adapter):
        return ""
    base = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    return Path(base["base_model_name_or_path"]).name


def card(facts: Facts, *, adapter: bool) -> str:
    """Return the card of the merged model, or of the adapter alone."""
    front = {
        "language": facts["languages"],
        **hub_licence(facts["sources"]),
        "base_model": facts["base_model"] if _HUB_ID.fullmatch(facts["base_model"]) else "unknown",
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["memoirist", "persona", "conversational", "lora", "text-generation"],
    }
    values = {
        "f": facts,
        "adapter": adapter,
        "front": yaml.safe_dump(front, sort_keys=False, allow_unicode=True),
        "sides": [side for side in SIDES if any(side in row for row in facts["figures"].values())],
        "thousands": "{:,}".format,
        "figure": _figure,
    }
    return render(Path(__file__).with_suffix(".md.j2"), values)


def _figure(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3g}"
    return f"{estimate.value:.3g} [{estimate.low:.3g}, {estimate.high:.3g}]"

"""Collect the facts of a model card from the store; write card and Modelfile to the weights."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from memoirist.data.evaluation.intervals import Estimate
from memoirist.data.provenance.model_card import CardFacts, card
from memoirist.data.schema.records import Model, Run
from memoirist.flows.recipe.recipe import Recipe
from memoirist.flows.runtime.context import Context, persona_language
from memoirist.train.disk import write_text

_SOURCES = """
SELECT s.id, s.title, s.author, s.kind, s.rights, s.rights_basis, s.withdrawn_at,
       count(DISTINCT a.id) AS pairs
FROM pairs a JOIN sources s ON s.id = a.source_id
WHERE a.id IN (SELECT unnest(pair_ids) FROM conversations WHERE dataset_id = ?)
GROUP BY ALL ORDER BY pairs DESC, s.id
"""
_ORIGINS = """
SELECT origin, count(*) AS n FROM pairs
WHERE id IN (SELECT unnest(pair_ids) FROM conversations WHERE dataset_id = ?)
GROUP BY origin ORDER BY n DESC, origin
"""
_DROPS = """
SELECT subject, rule, count(DISTINCT subject_id) AS n FROM verdicts
WHERE NOT keep AND rule <> 'withdrawn' AND list_contains(?, source_id)
GROUP BY subject, rule ORDER BY n DESC, subject, rule LIMIT 30
"""
_FIGURES = """
SELECT metric, model, value, low, high, n FROM evaluations WHERE run_id = ? ORDER BY rowid
"""
# The settings that the card shows.
_SETTINGS = (
    "quantisation", "rank", "alpha", "dropout", "target_modules", "learning_rate", "scheduler",
    "epochs", "steps", "best_step", "stopped_by", "max_length", "effective_batch", "optimizer",
    "template", "packing", "seed",
)  # fmt: skip


_STOP_REASONS = {
    "steps": "all steps done",
    "patience": "held-out loss no longer falling",
    "loss": "training loss at its target",
}


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
        write_text(adapter / "README.md", card(_adapter_facts(facts, adapter), adapter=True))
    if (adapter / WHOLE).exists():
        mark_whole(adapter)  # a picked checkpoint can still be tried, and merged again
    if not merged.is_dir():
        return
    write_text(merged / "README.md", card(facts, adapter=False))
    write_text(merged / "Modelfile", folder_modelfile(merged, facts.system))


def card_facts(context: Context, run: Run, model: Model) -> CardFacts:
    """Return the facts of a run and its model."""
    store = context.workspace.store
    recipe = Recipe.model_validate_json(run.recipe)
    sources = store.rows(_SOURCES, [run.dataset_id])
    language = persona_language(context)
    trained = {**recipe.train.model_dump(), **_training_outcome(context, run, model)}
    return CardFacts(
        name=f"{recipe.persona.name or 'A persona'} ({run.id[:8]})",
        persona=recipe.persona.name or "the person of its sources",
        languages=[language],
        base_model=run.base_model,
        run_id=run.id,
        dataset=store.rows("SELECT * FROM datasets WHERE id = ?", [run.dataset_id])[0],
        sources=sources,
        origins={row["origin"]: row["n"] for row in store.rows(_ORIGINS, [run.dataset_id])},
        drops=store.rows(_DROPS, [[row["id"] for row in sources]]),
        settings={key: trained[key] for key in _SETTINGS if trained.get(key) is not None},
        # The figures belong to the step that training kept, and to no other.
        figures=_evaluation_figures(context, run) if model.step is None else {},
        merge={}
        if model.prompts is None
        else {**asdict(model), "max_new_tokens": recipe.merge.max_new_tokens},
        system=recipe.persona.system_prompt(language),
    )


def _training_outcome(context: Context, run: Run, model: Model) -> dict[str, Any]:
    """Return the settings that the training chose itself, and why it stopped."""
    from memoirist.train.loop.launch import read_result

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
        "stopped_by": _STOP_REASONS.get(result.stopped_by, result.stopped_by),
    }


def _evaluation_figures(context: Context, run: Run) -> dict[str, dict[str, Estimate]]:
    """Return the estimates of each metric, by metric and model."""
    figures: dict[str, dict[str, Estimate]] = {}
    for row in context.workspace.store.rows(_FIGURES, [run.id]):
        estimate = Estimate(value=row["value"], low=row["low"], high=row["high"], n=row["n"])
        figures.setdefault(row["metric"], {})[row["model"]] = estimate
    return figures


def _adapter_facts(facts: CardFacts, adapter: Path) -> CardFacts:
    """Add the prepared base to the facts of an adapter that trains its own tokens."""
    from memoirist.train.export.hub_upload import trains_tokens

    if not trains_tokens(adapter):
        return facts
    base = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    return replace(facts, prepared_base=Path(base["base_model_name_or_path"]).name)

"""Gather from the store what a model card tells, and lay card and Modelfile beside the weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from data.card import CardFacts, card
from data.nouns import Model, Run
from flows.context import Context
from flows.recipe import Recipe
from flows.splitting import persona_language

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
SELECT metric, model, value, low, high FROM evaluations WHERE run_id = ? ORDER BY rowid
"""
# Of the settings, those that say how the weights came about.
_SETTINGS = (
    "quantisation", "rank", "alpha", "dropout", "target_modules", "learning_rate", "scheduler",
    "epochs", "steps", "best_step", "stopped_by", "max_length", "effective_batch", "optimizer",
    "template", "packing", "seed",
)  # fmt: skip


_ENDS = {
    "steps": "all steps done",
    "patience": "held-out loss no longer falling",
    "loss": "training loss as low as wanted",
}


def lay_beside(context: Context, run: Run, model: Model) -> None:
    """Write the card beside merged model and adapter, and the Modelfile beside the first.

    The adapter is made a folder that other tools load by itself. Written anew at every call: the
    figures grow with the evaluation, and rights may have been mended since.
    """
    from train.export.hub_upload import complete_adapter
    from train.export.ollama import folder_modelfile
    from train.loop.checkpoints import WHOLE, base_of, mark_whole

    root = context.workspace.root
    merged, adapter = root / str(model.merged_path), root / model.adapter_path
    facts = card_facts(context, run, model)
    if adapter.is_dir():
        complete_adapter(adapter, base_of(context.workspace.run_folder(run.id)))
        _write(adapter / "README.md", card(_noted(facts, adapter), adapter=True))
    if (adapter / WHOLE).exists():
        mark_whole(adapter)  # a picked checkpoint can still be tried, and merged again
    if not merged.is_dir():
        return
    _write(merged / "README.md", card(facts, adapter=False))
    _write(merged / "Modelfile", folder_modelfile(merged, facts.system))


def card_facts(context: Context, run: Run, model: Model) -> CardFacts:
    """Return what the store knows of a run and its model."""
    store = context.workspace.store
    recipe = Recipe.model_validate_json(run.recipe)
    sources = store.rows(_SOURCES, [run.dataset_id])
    language = persona_language(context)
    trained = {**recipe.train.model_dump(), **_came_to(context, run, model)}
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
        # What was measured is the adapter that training kept, not another step of it.
        figures=_figures(context, run) if model.step is None else {},
        merge=_merge_figures(model, recipe.merge.max_new_tokens),
        system=recipe.persona.system_prompt(language),
        disclosure=_disclosure(context, run) if model.step is None else "",
        notes=(
            "`transformers`: `AutoModelForCausalLM.from_pretrained(FOLDER)`; the chat template is"
            " saved with it",
            "Ollama: `ollama create NAME -f Modelfile` in this folder",
        ),
    )


def _came_to(context: Context, run: Run, model: Model) -> dict[str, Any]:
    """Return what the training made of settings that were left to it, and when it ended."""
    from train.loop.launch import read_result

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
        "stopped_by": _ENDS.get(result.stopped_by, result.stopped_by),
    }


def _disclosure(context: Context, run: Run) -> str:
    """Return how often the model said that it is an AI, in words; empty where nobody asked it."""
    rows = context.workspace.store.rows(
        "SELECT model, value, low, high, n FROM evaluations"
        " WHERE run_id = ? AND metric = 'honest_disclosed'",
        [run.id],
    )
    found = {row["model"]: row for row in rows}
    if "tuned" not in found:
        return ""
    own = found["tuned"]
    span = "" if own["low"] is None else f" ({100 * own['low']:.0f} to {100 * own['high']:.0f})"
    base = f"; its base in {found['base']['value']:.0%}" if "base" in found else ""
    return f"{own['value']:.0%}{span} of {own['n']} answers{base}"


def _figures(context: Context, run: Run) -> dict[str, dict[str, str]]:
    """Return the sides of each metric by name, with their intervals."""
    found: dict[str, dict[str, str]] = {}
    for row in context.workspace.store.rows(_FIGURES, [run.id]):
        told = f"{row['value']:.3g}"
        if row["low"] is not None and row["high"] is not None:
            told += f" [{row['low']:.3g}, {row['high']:.3g}]"
        found.setdefault(row["metric"], {})[row["model"]] = told
    return found


def _merge_figures(model: Model, limit: int) -> dict[str, Any]:
    if model.prompts is None:
        return {}
    return {
        "merged into": f"{model.way} base, saved as {model.dtype}",
        "greedy answers equal": f"{model.equal} of {model.prompts} ({model.ties} part at a draw)",
        "ended by themselves": f"{model.stops} of {model.prompts} within {limit} tokens",
        "KL, nats a token": f"{model.kl:.1e}",
        "loss of base": f"{model.loss_base:.4f}",
        "loss of base + adapter": f"{model.loss_adapter:.4f}",
        "loss of merged model": f"{model.loss_merged:.4f}",
    }


def _noted(facts: CardFacts, adapter: Path) -> CardFacts:
    """Return the facts with the word of warning that the adapter alone needs."""
    from train.export.hub_upload import trains_tokens

    base = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    notes = [f"`peft`: `PeftModel.from_pretrained(BASE, FOLDER)` on `{facts.base_model}`"]
    if trains_tokens(adapter):
        notes.append(
            "it trains rows of single tokens on a prepared base: vLLM loads no such adapter, serve"
            " the merged model there"
        )
        notes.append(
            "text-generation-webui: load the prepared base"
            f" `{Path(base['base_model_name_or_path']).name}` with its transformers loader first"
        )
    else:
        notes.append(
            "vLLM: `--enable-lora --max-lora-rank RANK`; text-generation-webui: load the base with"
            " its transformers loader, then this folder under LoRA"
        )
    return replace(facts, notes=tuple(notes))


def _write(path: Path, text: str) -> None:
    making = path.with_name(f".{path.name}.making")
    making.write_text(text, encoding="utf-8")
    making.replace(path)

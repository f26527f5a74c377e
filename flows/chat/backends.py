"""The models that answer: the tuned one, a checkpoint of it, its base, the base with examples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from memoirist.data.composition.few_shot_prompt import few_shot_prompt, training_exchanges
from memoirist.data.schema.errors import MemoiristError, NothingToDo
from memoirist.data.schema.records import Model, Run
from memoirist.flows.models.model_registry import champion
from memoirist.flows.recipe.recipe import Recipe
from memoirist.flows.runtime.context import Context, persona_language

if TYPE_CHECKING:
    from memoirist.train.inference.chat_model import ChatModel


BASE, FEW_SHOT, TUNED = "base", "few-shot base", "tuned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which model is model: the one in use, or that of a run, or a run's checkpoint."""

    run: str | None = None
    checkpoint: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A run with its recipe, and where its merged model lies, if it has one."""

    run: Run
    recipe: Recipe
    merged: Path | None


def chosen(context: Context, choice: Choice) -> Chosen:
    """Return the run that is model; NothingToDo before the first one or where none has that id."""
    store = context.workspace.store
    if not store.path.exists():
        raise NothingToDo(
            f"there is no workspace at {str(context.workspace.root)!r}",
            "make one with `memoirist build SOURCE --persona NAME`, or name it with -w",
        )
    if choice.run is None and choice.checkpoint is None:
        model, run = champion(context)
        return _of(context, run, model)
    run = _run(context, choice.run)
    models = store.nouns(Model, "run_id = ?", run.id)
    return _of(context, run, models[0] if models else None)


def _of(context: Context, run: Run, model: Model | None) -> Chosen:
    merged = model.merged_path if model is not None else None
    return Chosen(
        run=run,
        recipe=Recipe.model_validate_json(run.recipe),
        merged=context.workspace.root / merged if merged else None,
    )


def _run(context: Context, wanted: str | None) -> Run:
    """Return the run whose id begins with `wanted`, the newest one where nothing is wanted."""
    runs = context.workspace.store.nouns(Run, "true ORDER BY started_at DESC")
    matching = [run for run in runs if run.id.startswith(wanted or "")]
    if not matching:
        ids = ", ".join(run.id for run in runs[:5]) or "none"
        named = f"the run {wanted!r}" if wanted else "a run"
        raise NothingToDo(f"{named} is not in this workspace", f"the newest runs are: {ids}")
    if wanted and len(matching) > 1 and matching[0].id != wanted:
        ids = ", ".join(run.id for run in matching[:5])
        raise NothingToDo(f"{wanted!r} begins the ids of several runs", f"name one of: {ids}")
    return matching[0]


def merged_of(context: Context, model: Chosen) -> Path:
    """Return the folder of the merged model; says what to do where it is missing."""
    if model.merged is None:
        raise NothingToDo(
            f"the run {model.run.id!r} is not merged yet",
            "run `memoirist merge`, or try a checkpoint with --checkpoint STEP",
        )
    if not model.merged.exists():
        raise MemoiristError(
            f"the merged model {str(model.merged)!r} is gone", "build again: `memoirist build`"
        )
    return model.merged


def base_folder(context: Context, model: Chosen) -> Path:
    """Return the folder of the prepared base that the run was trained on."""
    from memoirist.train.model.prepared_base import prepare_base

    base = prepare_base(model.run.base_model, context.workspace.bases, model.recipe.train.template)
    return Path(base.path)


def shipped_prompt(context: Context, model: Chosen) -> str:
    """Return the system prompt that the run was trained under, which discloses an AI."""
    return model.recipe.persona.system_prompt(persona_language(context))


def few_shot_of(context: Context, model: Chosen, system: str, room: int) -> str:
    """Return the base's persona prompt with real exchanges, in a third of its context at most."""
    # Two tokens a word at worst: the embedded tiny base has a small vocabulary.
    exchanges = training_exchanges(
        context.workspace.store, model.run.dataset_id, min(600, room // 6)
    )
    name = model.recipe.persona.name
    return few_shot_prompt(system, name, persona_language(context), exchanges)


def load_models(
    context: Context, model: Chosen, choice: Choice, *, compare: bool
) -> dict[str, ChatModel]:
    """Load who answers: the tuned model, and before it its base and that base with examples."""
    from memoirist.train.inference.chat_model import ChatModel, load
    from memoirist.train.loop.checkpoints import load_checkpoint

    if choice.checkpoint is not None:
        folder = context.workspace.run_folder(model.run.id)
        tuned = ChatModel(*load_checkpoint(folder, choice.checkpoint))
    else:
        tuned = load(merged_of(context, model))
    if not compare:
        return {TUNED: tuned}
    base = load(base_folder(context, model))
    return {BASE: base, FEW_SHOT: base, TUNED: tuned}

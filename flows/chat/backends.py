"""The models that answer: the tuned one, a checkpoint of it, its base, the base with examples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from memoirist.data.composition.few_shot_prompt import few_shot_prompt, training_exchanges
from memoirist.data.schema.errors import MemoiristError, NothingToDo
from memoirist.data.schema.records import Model, Run
from memoirist.flows.models.model_promotion import champion, find_run, require_workspace
from memoirist.flows.recipe.recipe import Recipe
from memoirist.flows.runtime.context import Context, persona_language

if TYPE_CHECKING:
    from memoirist.train.inference.chat_model import ChatModel


BASE, FEW_SHOT, TUNED = "base", "few-shot base", "tuned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The model to talk to: the one in use, or that of a run, or a checkpoint of the run."""

    run: str | None = None
    checkpoint: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenModel:
    """A run with its recipe, and the folder of its merged model, if it has one."""

    run: Run
    recipe: Recipe
    merged: Path | None


def choose_model(context: Context, choice: Choice) -> ChosenModel:
    """Return the chosen model; NothingToDo before the first run or for an unknown id."""
    require_workspace(context)
    model: Model | None
    if choice.run is None and choice.checkpoint is None:
        model, run = champion(context)
    else:
        run = find_run(context, choice.run)
        model = next(iter(context.workspace.store.nouns(Model, "run_id = ?", run.id)), None)
    merged = model.merged_path if model is not None else None
    return ChosenModel(
        run=run,
        recipe=Recipe.model_validate_json(run.recipe),
        merged=context.workspace.root / merged if merged else None,
    )


def merged_folder(model: ChosenModel) -> Path:
    """Return the folder of the merged model; NothingToDo or MemoiristError where there is none."""
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


def base_folder(context: Context, model: ChosenModel) -> Path:
    """Return the folder of the prepared base that the run was trained on."""
    from memoirist.train.model.prepared_base import prepare_base

    base = prepare_base(model.run.base_model, context.workspace.bases, model.recipe.train.template)
    return Path(base.path)


def shipped_prompt(context: Context, model: ChosenModel) -> str:
    """Return the system prompt that the run was trained with, which discloses an AI."""
    return model.recipe.persona.system_prompt(persona_language(context))


def few_shot_system(context: Context, model: ChosenModel, system: str, context_tokens: int) -> str:
    """Return the base's persona prompt with real exchanges, in a third of its context at most."""
    # A word takes up to two tokens: the embedded tiny base has a small vocabulary.
    exchanges = training_exchanges(
        context.workspace.store, model.run.dataset_id, min(600, context_tokens // 6)
    )
    name = model.recipe.persona.name
    return few_shot_prompt(system, name, persona_language(context), exchanges)


def load_models(
    context: Context, model: ChosenModel, choice: Choice, *, compare: bool
) -> dict[str, ChatModel]:
    """Load the tuned model; with `compare` its base and the base with examples before it."""
    from memoirist.train.inference.chat_model import ChatModel, load
    from memoirist.train.loop.run_folder import load_checkpoint

    if choice.checkpoint is not None:
        folder = context.workspace.run_folder(model.run.id)
        tuned = ChatModel(*load_checkpoint(folder, choice.checkpoint))
    else:
        tuned = load(merged_folder(model))
    if not compare:
        return {TUNED: tuned}
    base = load(base_folder(context, model))
    return {BASE: base, FEW_SHOT: base, TUNED: tuned}

"""The models that answer: the tuned one, a checkpoint of it, its base, the base with examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from memoirist.data.composition.disclosure import disclosure_texts
from memoirist.data.composition.saved_exchanges import TRAIN_ONLY
from memoirist.data.schema.errors import MemoiristError, NothingToDo
from memoirist.data.schema.records import Model, Run
from memoirist.data.store.store import Store
from memoirist.data.text.words import count_words
from memoirist.flows.models.model_promotion import champion, find_run, require_workspace
from memoirist.flows.recipe import Recipe
from memoirist.flows.runtime.context import Context, persona_language

if TYPE_CHECKING:
    from memoirist.train.inference.chat_model import ChatModel


BASE, FEW_SHOT, TUNED = "base", "base with examples", "tuned"


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
        model = context.workspace.model_of(run.id)
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
            f"the merged model {str(model.merged)!r} is missing", "build again: `memoirist build`"
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


# Five examples beat a QLoRA on 534 passages in one report (QUALITY.md, finding 10).
EXCHANGES = 5
_REAL = (
    "SELECT question, answer FROM lineage WHERE dataset_id = $dataset AND split = 'train'"
    " AND turn = 1 AND NOT list_contains($train_only, origin)"
    " AND source_id IN (SELECT id FROM sources WHERE mix_share IS NULL)"
    " ORDER BY score DESC NULLS LAST, md5(pair_id || '42') LIMIT 200"
)


def training_exchanges(store: Store, dataset_id: str, max_words: int) -> list[tuple[str, str]]:
    """Return up to five exchanges of a dataset's train split, with `max_words` words together.

    They come from the persona's own sources, best scores first; very long answers are skipped.
    """
    values = {"dataset": dataset_id, "train_only": list(TRAIN_ONLY)}
    chosen: list[tuple[str, str]] = []
    left = max_words
    for row in store.rows(_REAL, values):
        size = count_words(row["question"]) + count_words(row["answer"])
        if row["question"] and size <= min(left, max(max_words // 3, 60)):
            chosen.append((row["question"], row["answer"]))
            left -= size
        if len(chosen) == EXCHANGES:
            break
    return chosen


def few_shot_prompt(system: str, name: str, lang: str, exchanges: Sequence[tuple[str, str]]) -> str:
    """Return the system prompt followed by example exchanges."""
    if not exchanges:
        return system
    examples = "\n\n".join(f"- {question}\n{name}: {answer}" for question, answer in exchanges)
    intro = disclosure_texts(lang).fewshot.replace("{name}", name)
    return f"{system}\n\n{intro}\n\n{examples}".strip()

"""The registry of models: list, pick, export and push them."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Literal

from memoirist.data.provenance.rights import obstacles
from memoirist.data.schema.errors import MemoiristError, NothingToDo
from memoirist.data.schema.records import Model, Run, Source
from memoirist.data.store.store import Fetched
from memoirist.data.store.transaction import statement
from memoirist.flows.models.model_promotion import find_run, require_workspace, use
from memoirist.flows.runtime.context import Context


def list_models(context: Context) -> Fetched:
    """Return a row for each run with its model, and the steps whose checkpoints can be tried."""
    from memoirist.train.loop.run_folder import steps_kept

    require_workspace(context)
    runs = context.workspace.store.fetch(statement("list_models"))
    kept = [steps_kept(context.workspace.run_folder(str(row[0]))) for row in runs.rows]
    return Fetched(
        columns=[*runs.columns, "checkpoints"],
        numeric=[*runs.numeric, False],
        rows=[
            (*row, " ".join(map(str, steps))) for row, steps in zip(runs.rows, kept, strict=True)
        ],
    )


def run_and_step(context: Context, name: str | None) -> tuple[Run, int | None]:
    """Return the finished run, and the step of its checkpoint, of `RUN` or `RUN:STEP`.

    RUN is an id or its beginning; None is the model in use, at its step. Raise NothingToDo where
    nothing matches, MemoiristError for a step that is no number.
    """
    require_workspace(context)
    if name is None:
        used = context.workspace.first(Model, "champion")
        if used is None:
            raise NothingToDo("no model is in use yet", "name a run: `memoirist models`")
        return find_run(context, used.run_id), used.step
    run_name, _, step = name.partition(":")
    run = find_run(context, run_name)
    if step and not step.isdigit():
        raise MemoiristError(f"{name!r} is not a checkpoint", "give RUN or RUN:STEP")
    if not run.finished:
        raise NothingToDo(
            f"the run {run.id} is not finished ({run.status})", "finish it: `memoirist train`"
        )
    return run, int(step) if step else None


def pick(context: Context, name: str) -> None:
    """Make a run's model, or one of its checkpoints, the model in use, merging it if need be."""
    run, step = run_and_step(context, name)
    _merged(context, run, step, for_use=True)
    use(context, run, picked=True)
    context.count("pick", 1)
    label = run.id if step is None else f"{run.id} at step {step}"
    context.report.step("pick", f"{label} is the model in use")


def export_path(context: Context, name: str | None, form: Literal["gguf", "ollama"]) -> Path:
    """Return where a model is exported to where its user names no path."""
    run, step = run_and_step(context, name)
    gguf = "model.gguf" if step is None else f"model-{step}.gguf"
    return context.workspace.exports / run.id / (gguf if form == "gguf" else "Modelfile")


def export_model(
    context: Context, name: str | None, form: Literal["gguf", "ollama"], target: Path | None = None
) -> Path:
    """Write a model as GGUF, or a Modelfile for Ollama; return the file.

    A model that is not merged yet is merged first. `target` defaults to `export_path`.
    """
    from memoirist.flows.models.model_card import write_model_card
    from memoirist.train.export.gguf import to_gguf
    from memoirist.train.loop.run_folder import base_of
    from memoirist.train.merge.merged_model import MANIFEST

    run, step = run_and_step(context, name)
    model = _merged(context, run, step)
    merged = context.workspace.root / str(model.merged_path)
    path = target or export_path(context, name, form)
    if form == "gguf":
        base = base_of(context.workspace.run_folder(run.id))
        to_gguf(merged, base, path, context.report.note)
        context.report.step("export", f"{path} ({path.stat().st_size / 2**20:,.0f} MB)")
        return path
    write_model_card(context, run, model)
    text = (merged / "Modelfile").read_text("utf-8")
    gguf = export_path(context, name, "gguf")
    is_current = gguf.exists() and gguf.stat().st_mtime >= (merged / MANIFEST).stat().st_mtime
    weights = gguf if is_current else merged
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("FROM .", f"FROM {weights.resolve()}", 1), encoding="utf-8")
    condition = "" if shutil.which("ollama") else " once Ollama is installed"
    context.report.step("export", f"{path}; next{condition}: ollama create NAME -f {path}")
    return path


def push_model(context: Context, name: str, repository: str, *, adapter: bool, public: bool) -> str:
    """Save a run's merged model or its adapter to a hub repository, with its card."""
    from memoirist.flows.models.model_card import write_model_card
    from memoirist.train.export.hub_upload import push, refuse_name

    refuse_name(repository)  # before the minutes that a merge may take
    run, step = run_and_step(context, name)
    refuse_without_rights(context, run.dataset_id, f"run {run.id}")
    model = _merged(context, run, step)
    write_model_card(context, run, model)
    root = context.workspace.root
    folder = root / (model.adapter_path if adapter else str(model.merged_path))
    if not folder.is_dir():
        raise MemoiristError(f"{str(folder)!r} is missing", "train again: `memoirist build`")
    upload = partial(push, folder, repository, public=public, message=f"Memoirist run {run.id}")
    address = context.call("push", repository, upload)
    visibility = "public" if public else "private"
    context.report.step("push", f"{folder.name} of run {run.id} -> {address} ({visibility})")
    return address


def refuse_without_rights(context: Context, dataset_id: str, name: str) -> None:
    """Raise MemoiristError where a dataset holds a source that must not be published.

    `name` is what was to be pushed: the dataset itself, or a run that was trained on it.
    """
    from memoirist.flows.steps.compose import refuse_withdrawn

    store = context.workspace.store
    refuse_withdrawn(context, dataset_id)
    used = "SELECT unnest(pair_ids) FROM conversations WHERE dataset_id = ?"
    n_missing = store.value(
        f"SELECT count(*) FROM ({used}) u(id) WHERE id NOT IN (SELECT id FROM pairs)",
        dataset_id,
    )
    if n_missing:
        raise MemoiristError(
            f"exchanges that {name} was made of are no longer in the store, so it is unknown whose"
            f" they are ({n_missing:,})",
            "build again: `memoirist build`",
        )
    sources = store.nouns(
        Source,
        f"id IN (SELECT source_id FROM pairs WHERE id IN ({used})) ORDER BY added_at, id",
        dataset_id,
    )
    if rights_obstacles := obstacles(sources):
        reasons = "; ".join(f"{item.title}: {item.reason}" for item in rights_obstacles)
        raise MemoiristError(f"{name} must not be pushed: {reasons}", rights_obstacles[0].next_step)


def _merged(context: Context, run: Run, step: int | None, *, for_use: bool = False) -> Model:
    """Return the merged model of a run at its kept step or at `step`; merge it where needed."""
    from memoirist.flows.steps.merge import is_merged, merge_run
    from memoirist.train.loop.run_folder import base_of

    model = context.workspace.model_of(run.id)
    if model is not None and model.step == step and is_merged(context, model):
        return model
    base = base_of(context.workspace.run_folder(run.id))
    return merge_run(context, run, base, step, for_use=for_use)

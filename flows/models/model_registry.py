"""The registry of models: list, pick, export and push them; decide when a new one is promoted.

A new model replaces the one in use unless one of three things is true: its loss on held-out text is
above that of its own base; it recites 25 words or more of the training text; its held-out loss is
above that of the model in use (the whole interval of the difference). Without held-out text nothing
is compared, and the newest model is used. A model that a person picked stays until a later run is
better (the whole interval again). The first model of a workspace is always used.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal

from memoirist.data.provenance.rights import obstacles
from memoirist.data.schema.errors import MemoiristError, NothingToDo
from memoirist.data.schema.records import Model, Run, Source
from memoirist.data.store.store import Fetched
from memoirist.data.store.transaction import statement
from memoirist.flows.runtime.context import Context


def require_workspace(context: Context) -> None:
    """Raise NothingToDo unless the workspace has a database."""
    if not context.workspace.store.path.exists():
        raise NothingToDo(
            f"there is no workspace at {str(context.workspace.root)!r}",
            "make one with `memoirist build SOURCE --persona NAME`, or name it with -w",
        )


def find_run(context: Context, name: str | None) -> Run:
    """Return the run whose id begins with `name`, or the newest run for None.

    Raise NothingToDo where no run or more than one matches.
    """
    runs = context.workspace.store.nouns(Run, "true ORDER BY started_at DESC, id")
    if name is None:
        matching = runs[:1]
    else:
        matching = [run for run in runs if name and run.id.startswith(name)]
    if len(matching) != 1:
        subject = "the workspace has" if name is None else f"{name!r} names"
        ids = ", ".join(run.id for run in (matching or runs)[:5]) or "none yet"
        raise NothingToDo(
            f"{subject} {'several runs' if matching else 'no run'}",
            f"give the id of a run, or its beginning: {ids}",
        )
    return matching[0]


def champion(context: Context) -> tuple[Model, Run]:
    """Return the model in use and its run; NothingToDo when there is none."""
    model = context.workspace.first(Model, "true ORDER BY champion DESC LIMIT 1")
    if model is None:
        raise NothingToDo("there is no model to talk to yet", "run `memoirist build` first")
    return model, find_run(context, model.run_id)


def model_before(context: Context, run: Run) -> Model | None:
    """Return the model in use before a run's own, or the newest evaluated one that exists."""
    others = context.workspace.store.nouns(
        Model,
        "run_id <> ? AND run_id IN (SELECT id FROM runs WHERE status = 'evaluated')"
        " ORDER BY champion DESC, (SELECT max(ended_at) FROM runs WHERE id = run_id) DESC",
        run.id,
    )
    root = context.workspace.root
    return next((model for model in others if (root / str(model.merged_path)).exists()), None)


def rejection_reason(figures: Mapping[str, float]) -> str | None:
    """Return the reason against using a model, None where there is none."""
    if figures.get("nll_tuned", 0.0) > figures.get("nll_base", 0.0):
        return "the tuned model is no better than its base on held-out text"
    if figures.get("regurgitates"):
        run = figures.get("longest_run_tuned", 0.0)
        return f"the tuned model recites its training text, {run:.0f} words in a row"
    if figures.get("gain_over_previous_high", 0.0) < 0:
        return "the tuned model is worse than the one before it on held-out text"
    return None


def promote(context: Context, run: Run, figures: Mapping[str, float]) -> bool:
    """Put the run's model in use unless there is a reason against it; tell if it changed."""
    used = context.workspace.first(Model, "champion LIMIT 1")
    if used is not None and used.run_id == run.id:
        return False
    reason = rejection_reason(figures)
    # A run that the person could already pick does not replace the picked model.
    stays_picked = (
        used is not None
        and used.picked_at is not None
        and (run.started_at <= used.picked_at or figures.get("gain_over_previous_low", 0.0) <= 0)
    )
    name = used.run_id + (f":{used.step}" if used.step is not None else "") if used else ""
    pick_hint = f"`memoirist models pick {run.id}` takes this one"
    if used is None:
        if reason is not None:
            context.report.warn(f"{reason}; it is used because there is no other model")
    elif reason is not None:
        context.report.warn(f"{reason}; the model before stays in use; {pick_hint}")
        return False
    elif stays_picked:
        context.report.note(f"{name}, picked by hand, stays the model in use; {pick_hint}")
        return False
    else:
        by_hand = ", which was picked by hand: better on held-out text"
        context.report.note(
            f"{run.id} is the model in use now, in place of {name}"
            f"{by_hand if used.picked_at else ''}; `memoirist models pick {name}` goes back"
        )
    use(context, run)
    return True


def use(context: Context, run: Run, *, picked: bool = False) -> None:
    """Make a run's model the one in use; `picked` says that a person chose it."""
    picked_at = context.now if picked else None
    with context.workspace.store.writing() as tx:
        tx.execute(
            "UPDATE models SET champion = (run_id = ?), picked_at = if(run_id = ?, ?, NULL)",
            [run.id, run.id, picked_at],
        )


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
        raise MemoiristError(f"{name!r} names no checkpoint", "give RUN or RUN:STEP")
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


def export_model(
    context: Context, name: str | None, form: Literal["gguf", "ollama"], target: Path | None
) -> Path:
    """Write a model as GGUF, or a Modelfile for Ollama; return the file.

    A model that is not merged yet is merged first.
    """
    from memoirist.flows.models.model_card import write_model_card
    from memoirist.train.export.gguf import to_gguf
    from memoirist.train.loop.run_folder import base_of
    from memoirist.train.merge.merged_model import MANIFEST

    run, step = run_and_step(context, name)
    model = _merged(context, run, step)
    merged = context.workspace.root / str(model.merged_path)
    folder = context.workspace.exports / run.id
    gguf = folder / ("model.gguf" if model.step is None else f"model-{model.step}.gguf")
    if form == "gguf":
        base = base_of(context.workspace.run_folder(run.id))
        path = to_gguf(merged, base, target or gguf, context.report.note)
        context.report.step("export", f"{path} ({path.stat().st_size / 2**20:,.0f} MB)")
        return path
    write_model_card(context, run, model)
    text = (merged / "Modelfile").read_text("utf-8")
    is_current = gguf.exists() and gguf.stat().st_mtime >= (merged / MANIFEST).stat().st_mtime
    weights = gguf if is_current else merged
    path = target or folder / "Modelfile"
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
    refuse_without_rights(context, run)
    model = _merged(context, run, step)
    write_model_card(context, run, model)
    root = context.workspace.root
    folder = root / (model.adapter_path if adapter else str(model.merged_path))
    if not folder.is_dir():
        raise MemoiristError(f"{str(folder)!r} is gone", "train again: `memoirist build`")
    upload = partial(push, folder, repository, public=public, message=f"Memoirist run {run.id}")
    address = context.call("push", repository, upload)
    visibility = "public" if public else "private"
    context.report.step("push", f"{folder.name} of run {run.id} -> {address} ({visibility})")
    return address


def refuse_without_rights(context: Context, run: Run) -> None:
    """Raise MemoiristError for a run trained on a source that must not be published."""
    from memoirist.flows.steps.compose import refuse_withdrawn

    store = context.workspace.store
    refuse_withdrawn(context, run.dataset_id)
    used = "SELECT unnest(pair_ids) FROM conversations WHERE dataset_id = ?"
    n_missing = store.value(
        f"SELECT count(*) FROM ({used}) u(id) WHERE id NOT IN (SELECT id FROM pairs)",
        run.dataset_id,
    )
    if n_missing:
        raise MemoiristError(
            f"{n_missing} exchanges that run {run.id} was trained on are no longer in the store, so"
            " nobody can say whose they are",
            "train again: `memoirist build`",
        )
    sources = store.nouns(
        Source,
        f"id IN (SELECT source_id FROM pairs WHERE id IN ({used})) ORDER BY added_at, id",
        run.dataset_id,
    )
    if rights_obstacles := obstacles(sources):
        reasons = "; ".join(f"{item.title}: {item.reason}" for item in rights_obstacles)
        raise MemoiristError(
            f"run {run.id} must not be pushed: {reasons}", rights_obstacles[0].next_step
        )


def _merged(context: Context, run: Run, step: int | None, *, for_use: bool = False) -> Model:
    """Return the merged model of a run at its kept step or at `step`; merge it where needed."""
    from memoirist.flows.steps.merge import is_merged, merge_run
    from memoirist.train.loop.run_folder import base_of

    model = context.workspace.model_of(run.id)
    if model is not None and model.step == step and is_merged(context, model):
        return model
    base = base_of(context.workspace.run_folder(run.id))
    return merge_run(context, run, base, step, for_use=for_use)

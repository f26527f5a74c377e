"""Find the model in use, and choose it.

A new model takes the place of the one in use when none of these speaks against it: its loss on
held-out text is above that of its own base; it recited a run of 25 words and more of the training
text; its held-out loss is surely above that of the model in use (the whole interval of the
difference). Where nothing is held out there is nothing to compare, and the newest model is meant.
One that a person picked stays until a later run is surely better.
The first model of a workspace is kept in any case, for want of another.
"""

from __future__ import annotations

from collections.abc import Mapping

from memoirist.data.schema.errors import MemoiristError, NothingToDo
from memoirist.data.schema.records import Model, Run
from memoirist.flows.runtime.context import Context


def champion(context: Context) -> tuple[Model, Run]:
    """Return the model in use and its run; NothingToDo when there is none."""
    store = context.workspace.store
    models = store.nouns(Model, "champion LIMIT 1") or store.nouns(Model, "true LIMIT 1")
    if not models:
        raise NothingToDo("there is no model to talk to yet", "run `memoirist build` first")
    run = store.nouns(Run, "id = ?", models[0].run_id)[0]
    path = context.workspace.root / str(models[0].merged_path)
    if not path.exists():
        raise MemoiristError(
            f"the merged model {str(path)!r} is gone", "build again: `memoirist build`"
        )
    return models[0], run


def model_before(context: Context, run: Run) -> Model | None:
    """Return the model in use before a run's own, or the newest evaluated one that is there."""
    others = context.workspace.store.nouns(
        Model,
        "run_id <> ? AND run_id IN (SELECT id FROM runs WHERE status = 'evaluated')"
        " ORDER BY champion DESC, (SELECT max(ended_at) FROM runs WHERE id = run_id) DESC",
        run.id,
    )
    there = (m for m in others if (context.workspace.root / str(m.merged_path)).exists())
    return next(there, None)


def against(figures: Mapping[str, float]) -> str | None:
    """Return what speaks against using a model, in words; None where nothing does."""
    if figures.get("nll_tuned", 0.0) > figures.get("nll_base", 0.0):
        return "the tuned model is no better than its base on held-out text"
    if figures.get("regurgitates"):
        run = figures.get("longest_run_tuned", 0.0)
        return f"the tuned model recites its training text, {run:.0f} words in a row"
    if figures.get("gain_over_previous_high", 0.0) < 0:
        return "the tuned model is worse than the one before it on held-out text"
    return None


def kept_by_hand(used: Model, run: Run, figures: Mapping[str, float]) -> bool:
    """Tell whether a model that a person picked stays in use beside a run with these figures.

    A later run takes its place once it is surely better on held-out text, the whole interval of the
    difference; what the person could choose from when picking does not.
    """
    if used.picked_at is None:
        return False
    return run.started_at <= used.picked_at or figures.get("gain_over_previous_low", 0.0) <= 0


def crown(context: Context, run: Run, figures: Mapping[str, float]) -> bool:
    """Put the run's model in use, unless something speaks against it; tell if it changed."""
    models = context.workspace.store.nouns(Model, "champion LIMIT 1")
    used = models[0] if models else None
    if used is not None and used.run_id == run.id:
        return False
    reason = against(figures)
    name = used.run_id + (f":{used.step}" if used.step is not None else "") if used else ""
    take = f"`memoirist models pick {run.id}` takes this one"
    if reason is not None:
        stays = f"the model before stays in use; {take}" if used else "kept for want of another"
        context.report.warn(f"{reason}; {stays}")
        if used is not None:
            return False
    elif used is not None and kept_by_hand(used, run, figures):
        context.report.note(f"{name}, picked by hand, stays the model in use; {take}")
        return False
    elif used is not None:
        by_hand = ", which was picked by hand: surely better on held-out text"
        context.report.note(
            f"{run.id} is the model in use now, in place of {name}"
            f"{by_hand if used.picked_at else ''}; `memoirist models pick {name}` goes back"
        )
    use(context, run)
    return True


def use(context: Context, run: Run, *, picked: bool = False) -> None:
    """Make a run's model the one in use; `picked` says that a person wants it."""
    when = context.now if picked else None
    with context.workspace.store.writing() as tx:
        tx.execute(
            "UPDATE models SET champion = (run_id = ?), picked_at = if(run_id = ?, ?, NULL)",
            [run.id, run.id, when],
        )

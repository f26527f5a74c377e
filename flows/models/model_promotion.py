"""Find runs and the model in use, and decide when a new model replaces it.

A new model replaces the one in use unless one of three things is true: its loss on held-out text is
above that of its own base; it recites 25 words or more of the training text; its held-out loss is
above that of the model in use (the whole interval of the difference). Without held-out text nothing
is compared, and the newest model is used. A model that a person picked stays until a later run is
better (the whole interval again). The first model of a workspace is always used.
"""

from __future__ import annotations

from collections.abc import Mapping

from memoirist.data.schema.errors import NothingToDo
from memoirist.data.schema.records import Model, Run
from memoirist.flows.runtime.context import Context


def require_workspace(context: Context) -> None:
    """Raise NothingToDo unless the workspace has a database."""
    if not context.workspace.store.path.exists():
        raise NothingToDo(
            f"there is no workspace at {str(context.workspace.root)!r}",
            "create one with `memoirist build SOURCE --persona NAME`, or name another with -w",
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
        subject = "the workspace has" if name is None else f"{name!r} matches"
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
        return f"the tuned model recites its training text ({run:.0f} words in a row)"
    if figures.get("gain_over_previous_high", 0.0) < 0:
        return "the tuned model is worse than the previous model on held-out text"
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
    pick_hint = f"`memoirist models pick {run.id}` uses this one"
    if used is None:
        if reason is not None:
            context.report.warn(f"{reason}; it is used because there is no other model")
    elif reason is not None:
        context.report.warn(f"{reason}; the previous model stays in use; {pick_hint}")
        return False
    elif stays_picked:
        context.report.note(f"{name}, picked by hand, stays the model in use; {pick_hint}")
        return False
    else:
        by_hand = ", which was picked by hand: better on held-out text"
        context.report.note(
            f"{run.id} is now the model in use, in place of {name}"
            f"{by_hand if used.picked_at else ''}; `memoirist models pick {name}` switches back"
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

"""Find the model in use."""

from __future__ import annotations

from data.errors import MemoiristError, NothingToDo
from data.nouns import Model, Run
from flows.context import Context


def champion(context: Context) -> tuple[Model, Run]:
    """Return the model in use and its run; NothingToDo when there is none."""
    store = context.workspace.store
    found = store.nouns(Model, "champion LIMIT 1") or store.nouns(Model, "true LIMIT 1")
    if not found:
        raise NothingToDo("there is no model to talk to yet", "run `memoirist build` first")
    run = store.nouns(Run, "id = ?", found[0].run_id)[0]
    path = context.workspace.root / str(found[0].merged_path)
    if not path.exists():
        raise MemoiristError(
            f"the merged model {str(path)!r} is gone", "build again: `memoirist build`"
        )
    return found[0], run

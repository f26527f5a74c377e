"""A run's folder: its request, its base, and its checkpoints, whole ones told from torn ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memoirist.data.schema.errors import TrainError
from memoirist.train.disk import file_sizes, write_json
from memoirist.train.model.prepared_base import MANIFEST, PreparedBase, read_base
from memoirist.train.settings import TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


CHECKPOINTS, WHOLE = "checkpoints", "whole.json"


def last_whole_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint that was written to its end, removing torn ones."""
    whole = []
    for checkpoint in folder.glob("checkpoint-*"):
        if _is_whole(checkpoint):
            whole.append(checkpoint)
        else:
            shutil.rmtree(checkpoint)
    return max(whole, key=_step, default=None)


def steps_kept(run_folder: Path) -> list[int]:
    """Return the steps of a run whose checkpoints are whole, lowest first; removes nothing."""
    checkpoints = (run_folder / CHECKPOINTS).glob("checkpoint-*")
    return sorted(_step(checkpoint) for checkpoint in checkpoints if _is_whole(checkpoint))


def checkpoint_folder(run_folder: Path, step: int) -> Path:
    """Return the adapter of a run at `step`; TrainError names the steps that are kept."""
    kept = steps_kept(run_folder)
    if step not in kept:
        raise TrainError(
            f"the run {run_folder.name!r} has no checkpoint of step {step}",
            f"choose one of those that are kept: {', '.join(map(str, kept)) or 'none'}",
        )
    return run_folder / CHECKPOINTS / f"checkpoint-{step}"


def load_checkpoint(run_folder: Path, step: int) -> tuple[Any, PreTrainedTokenizerBase]:
    """Return base + adapter of a run at `step`, as it was trained, and its tokenizer.

    Raises TrainError when the step is not kept, or the base has changed or gone since.
    """
    from transformers import AutoTokenizer

    from memoirist.train.model.model_loader import load_tuned

    adapter, base = checkpoint_folder(run_folder, step), base_of(run_folder)
    model = load_tuned(base.path, adapter, trained_with(run_folder))
    return model, AutoTokenizer.from_pretrained(base.path)


def trained_with(run_folder: Path) -> TrainSettings:
    """Return the settings that a run was started with, presets resolved."""
    return TrainSettings.model_validate(read_request(run_folder)["settings"]).resolved()


def base_of(run_folder: Path) -> PreparedBase:
    """Return the prepared base that a run was started on: its own workspace's, if that has it.

    So a workspace that was moved or copied needs no other. Raises TrainError where neither that
    folder nor the one that the run names is the base by its hash.
    """
    request = read_request(run_folder)
    named = Path(request["base_path"])
    own = run_folder.resolve().parent.parent / "bases" / named.name
    path = named if named.is_dir() and _hash_in(own / MANIFEST) != request["base_hash"] else own
    base = read_base(path)
    if base.hash != request["base_hash"]:
        raise TrainError(
            f"the base at {str(path)!r} is not the one that {run_folder.name!r} was trained on",
            "train again on this base, or put the former one back",
        )
    return base


def read_request(run_folder: Path) -> dict[str, Any]:
    """Return what a run was asked for: `settings`, `base_path` and `base_hash`."""
    try:
        request: dict[str, Any] = json.loads((run_folder / "train.json").read_text("utf-8"))
    except OSError as error:
        raise TrainError(
            f"the run's folder {str(run_folder)!r} is not there or not whole",
            "put it back, or train again: `memoirist build`",
        ) from error
    return request


def mark_whole(checkpoint: Path) -> None:
    """List the files of a checkpoint, once all of it is written."""
    write_json(checkpoint / WHOLE, file_sizes(checkpoint, without=WHOLE))


def _hash_in(manifest: Path) -> str | None:
    """Return the hash in a base's manifest, None where there is none."""
    try:
        return str(json.loads(manifest.read_text(encoding="utf-8"))["hash"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_whole(checkpoint: Path) -> bool:
    try:
        listed = json.loads((checkpoint / WHOLE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(listed == file_sizes(checkpoint, without=WHOLE))


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rsplit("-", 1)[1])

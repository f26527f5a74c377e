"""Checkpoints of a run: whole ones are told from torn ones by a list of what belongs to them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memoirist.data.schema.errors import TrainError
from memoirist.train.atomic_files import write_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from memoirist.train.model.prepared_base import PreparedBase
    from memoirist.train.training_settings import TrainSettings


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
    found = (run_folder / CHECKPOINTS).glob("checkpoint-*")
    return sorted(_step(checkpoint) for checkpoint in found if _is_whole(checkpoint))


def checkpoint_folder(run_folder: Path, step: int) -> Path:
    """Return the adapter of a run at `step`; TrainError names the steps that are kept."""
    kept = steps_kept(run_folder)
    if step not in kept:
        told = ", ".join(map(str, kept)) or "none"
        raise TrainError(
            f"the run {run_folder.name!r} has no checkpoint of step {step}",
            f"choose one of those that are kept: {told}",
        )
    return run_folder / CHECKPOINTS / f"checkpoint-{step}"


def load_checkpoint(run_folder: Path, step: int) -> tuple[Any, PreTrainedTokenizerBase]:
    """Return base + adapter of a run at `step`, as it was trained, and its tokenizer.

    Raises TrainError when the step is not kept, or the base has changed or gone since.
    """
    from peft import PeftModel
    from transformers import AutoTokenizer

    from memoirist.train.model.model_loader import load_base

    adapter = checkpoint_folder(run_folder, step)
    base, trained = base_of(run_folder), trained_with(run_folder)
    held = load_base(base.path, trained.quantisation, double=trained.double_quantisation)
    model = PeftModel.from_pretrained(held, adapter)
    return model, AutoTokenizer.from_pretrained(base.path)


def trained_with(run_folder: Path) -> TrainSettings:
    """Return the settings that a run was started with, presets resolved."""
    from memoirist.train.training_settings import TrainSettings

    return TrainSettings.model_validate(_request(run_folder)["settings"]).resolved()


def base_of(run_folder: Path) -> PreparedBase:
    """Return the prepared base that a run was started on: its own workspace's, if that has it.

    So a workspace that was moved or copied stands by itself. Raises TrainError where neither that
    folder nor the one that the run names is the base by its hash.
    """
    from memoirist.train.model.prepared_base import MANIFEST, read_base

    request = _request(run_folder)
    named = Path(request["base_path"])
    own = run_folder.resolve().parent.parent / "bases" / named.name
    path = named if named.is_dir() and not _names(own / MANIFEST, request["base_hash"]) else own
    base = read_base(path)
    if base.hash != request["base_hash"]:
        raise TrainError(
            f"the base at {str(path)!r} is not the one that {run_folder.name!r} was trained on",
            "train again on this base, or put the former one back",
        )
    return base


def _request(run_folder: Path) -> dict[str, Any]:
    try:
        told = (run_folder / "train.json").read_text(encoding="utf-8")
    except OSError as error:
        raise TrainError(
            f"the run's folder {str(run_folder)!r} is not there or not whole",
            "put it back, or train again: `memoirist build`",
        ) from error
    request: dict[str, Any] = json.loads(told)
    return request


def _names(manifest: Path, wanted: str) -> bool:
    """Tell whether a prepared base says of itself that it is the one of a hash."""
    try:
        return bool(json.loads(manifest.read_text(encoding="utf-8"))["hash"] == wanted)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def mark_whole(checkpoint: Path) -> None:
    """List what belongs to a checkpoint, once all of it is written."""
    write_json(checkpoint / WHOLE, _sizes(checkpoint))


def _is_whole(checkpoint: Path) -> bool:
    try:
        listed = json.loads((checkpoint / WHOLE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(listed == _sizes(checkpoint))


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rsplit("-", 1)[1])


def _sizes(folder: Path) -> dict[str, int]:
    return {
        path.name: path.stat().st_size
        for path in folder.iterdir()
        if path.is_file() and path.name != WHOLE
    }

"""Checkpoints of a run: whole ones are told from torn ones by a list of what belongs to them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import TrainError
from train.files import write_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from train.base import PreparedBase

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

    from train.models import load_base
    from train.training_settings import TrainSettings

    adapter = checkpoint_folder(run_folder, step)
    request = json.loads((run_folder / "train.json").read_text(encoding="utf-8"))
    base = base_of(run_folder)
    trained = TrainSettings.model_validate(request["settings"])
    held = load_base(base.path, trained.quantisation, double=trained.double_quantisation)
    model = PeftModel.from_pretrained(held, adapter)
    return model, AutoTokenizer.from_pretrained(base.path)


def base_of(run_folder: Path) -> PreparedBase:
    """Return the prepared base that a run was started on, found again in a moved workspace."""
    from train.base import read_base

    request = json.loads((run_folder / "train.json").read_text(encoding="utf-8"))
    path = Path(request["base_path"])
    if not path.is_dir():
        path = run_folder.parent.parent / "bases" / path.name
    base = read_base(path)
    if base.hash != request["base_hash"]:
        raise TrainError(
            f"the base at {str(path)!r} is not the one that {run_folder.name!r} was trained on",
            "train again on this base, or put the former one back",
        )
    return base


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

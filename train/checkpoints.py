"""Checkpoints of a run: whole ones are told from torn ones by a list of what belongs to them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from train.files import write_json

CHECKPOINTS, WHOLE = "checkpoints", "whole.json"


def last_whole_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint that was written to its end, removing torn ones."""
    whole = []
    for checkpoint in folder.glob("checkpoint-*"):
        try:
            listed = json.loads((checkpoint / WHOLE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            listed = None
        if listed == _sizes(checkpoint):
            whole.append(checkpoint)
        else:
            shutil.rmtree(checkpoint)
    return max(whole, key=lambda path: int(path.name.rsplit("-", 1)[1]), default=None)


def mark_whole(checkpoint: Path) -> None:
    """List what belongs to a checkpoint, once all of it is written."""
    write_json(checkpoint / WHOLE, _sizes(checkpoint))


def _sizes(folder: Path) -> dict[str, int]:
    return {
        path.name: path.stat().st_size
        for path in folder.iterdir()
        if path.is_file() and path.name != WHOLE
    }

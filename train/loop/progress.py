"""The course of a training as its child writes it down: progress, answers and the curve."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from memoirist.data.schema.training_records import Sample

# Where the child writes its answers at each save (train/answers.py).
SAMPLES = "samples.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a training stands; `loss` or `eval_loss` is None when the line is about the other."""

    step: int
    total_steps: int
    loss: float | None
    eval_loss: float | None
    tokens_per_second: float
    seconds_left: float | None
    memory_mb: float


def read_progress(folder: Path) -> list[Progress]:
    """Return all lines of progress; after a resume the later line of a step counts."""
    latest: dict[tuple[int, bool], Progress] = {}
    for line in (folder / "progress.jsonl").read_text(encoding="utf-8").splitlines():
        try:
            progress = Progress(**json.loads(line))
        except (ValueError, TypeError):
            # The child was killed in the middle of this line.
            continue
        latest[progress.step, progress.loss is None] = progress
    return [latest[key] for key in sorted(latest)]


def read_samples(run_folder: Path) -> list[Sample]:
    """Return what the run in `run_folder` has answered so far, in the order of its steps."""
    path = run_folder / SAMPLES
    if not path.exists():
        return []
    found: dict[tuple[int, str], Sample] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            sample = Sample(run_id=run_folder.name, **json.loads(line))
        except (ValueError, TypeError):
            # The child is writing, or was killed in the middle of this line.
            continue
        # A step done twice was done the same way: the later answer counts.
        found[sample.step, sample.prompt] = sample
    return sorted(found.values(), key=lambda sample: sample.step)

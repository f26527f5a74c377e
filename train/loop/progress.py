"""The progress of a run as its process writes it: figures, answers, and the loss curve."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memoirist.data.schema.records import Sample

PROGRESS, SAMPLES = "progress.jsonl", "samples.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a training stands; each line has either `loss` or `eval_loss`, the other is None."""

    step: int
    total_steps: int
    loss: float | None
    eval_loss: float | None
    tokens_per_second: float
    seconds_left: float | None
    memory_mb: float


def read_progress(run_folder: Path) -> list[Progress]:
    """Return all lines of progress; after a resume the later line of a step counts."""
    lines = [Progress(**fields) for fields in _whole_lines(run_folder / PROGRESS)]
    latest = {(line.step, line.loss is None): line for line in lines}
    return [latest[key] for key in sorted(latest)]


def read_samples(run_folder: Path) -> list[Sample]:
    """Return the answers of the run in `run_folder` up to now, in the order of its steps."""
    fields_of_lines = _whole_lines(run_folder / SAMPLES)
    samples = [Sample(run_id=run_folder.name, **fields) for fields in fields_of_lines]
    # A step that was done twice was done the same way: the later answer counts.
    latest = {(sample.step, sample.prompt): sample for sample in samples}
    return sorted(latest.values(), key=lambda sample: sample.step)


def draw_progress(run_folder: Path) -> Path:
    """Draw the loss curve of a run that is still going, and return the file."""
    try:
        base = json.loads((run_folder / "base_loss.json").read_text(encoding="utf-8"))["eval_loss"]
    except (OSError, ValueError):
        base = None
    lines = read_progress(run_folder)
    held_out = [line for line in lines if line.eval_loss is not None]
    best = min(held_out, key=lambda line: line.eval_loss or 0.0, default=None)
    draw_curve(run_folder / "loss.png", lines, best.step if best else None, base)
    return run_folder / "loss.png"


def draw_curve(
    path: Path, lines: Sequence[Progress], best_step: int | None, base_eval_loss: float | None
) -> None:
    """Draw training and held-out loss over the steps, with a mark at the best checkpoint."""
    # The figure class only, without pyplot: no window system, no global state.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    train = [(line.step, line.loss) for line in lines if line.loss is not None]
    held_out = [(line.step, line.eval_loss) for line in lines if line.eval_loss is not None]
    if base_eval_loss is not None:
        held_out.insert(0, (0, base_eval_loss))
    if train:
        axes.plot(*zip(*train, strict=True), color="0.6", linewidth=1, label="training")
    if held_out:
        axes.plot(*zip(*held_out, strict=True), "o-", color="C0", label="held out")
    if best_step is not None:
        axes.axvline(best_step, color="C3", linestyle="--", linewidth=1, label=f"best: {best_step}")
    axes.set(xlabel="optimizer step", ylabel="nats per answer token", title="Loss")
    axes.set_ylim(bottom=0)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    temporary = path.with_name(f".{path.name}")
    figure.savefig(temporary, dpi=120, format="png")
    temporary.replace(path)


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a file, without the line that is being written or was torn."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            fields = json.loads(line)
        except ValueError:
            continue
        yield fields

"""Draw the loss curve of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from memoirist.train.loop.progress import Progress, read_progress

if TYPE_CHECKING:
    from memoirist.train.loop.progress import Progress


def draw(
    path: Path, lines: Sequence[Progress], best_step: int | None, base_eval_loss: float | None
) -> None:
    """Draw training and held-out loss over the steps, with a mark at the best checkpoint."""
    # The figure class alone, without pyplot: no window system, no global state.
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
    making = path.with_name(f".{path.name}")
    figure.savefig(making, dpi=120, format="png")
    making.replace(path)


def draw_progress(run_folder: Path) -> Path:
    """Draw the curve of a run that is still going, and return the file."""
    try:
        known = json.loads((run_folder / "base_loss.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {"eval_loss": None}
    lines = read_progress(run_folder)
    held_out = [line for line in lines if line.eval_loss is not None]
    best = min(held_out, key=lambda line: line.eval_loss or 0.0, default=None)
    draw(run_folder / "loss.png", lines, best.step if best else None, known["eval_loss"])
    return run_folder / "loss.png"

"""A run's folder: its request and base, checkpoints whole or torn, figures, answers, loss curve."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memoirist.data.schema.errors import TrainError
from memoirist.data.schema.records import Sample
from memoirist.train.disk import file_sizes, read_json, write_json
from memoirist.train.model.prepared_base import MANIFEST, PreparedBase, read_base
from memoirist.train.settings import TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHECKPOINTS, WHOLE = "checkpoints", "whole.json"
PROGRESS, SAMPLES = "progress.jsonl", "samples.jsonl"


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
    path = (
        named
        if named.is_dir() and read_json(own / MANIFEST).get("hash") != request["base_hash"]
        else own
    )
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
            f"the run's folder {str(run_folder)!r} is missing or incomplete",
            "put it back, or train again: `memoirist build`",
        ) from error
    return request


def mark_whole(checkpoint: Path) -> None:
    """List the files of a checkpoint, once all of it is written."""
    write_json(checkpoint / WHOLE, file_sizes(checkpoint, without=WHOLE))


def _is_whole(checkpoint: Path) -> bool:
    listed = read_json(checkpoint / WHOLE)
    return bool(listed) and listed == file_sizes(checkpoint, without=WHOLE)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rsplit("-", 1)[1])


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
    base = read_json(run_folder / "base_loss.json").get("eval_loss")
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

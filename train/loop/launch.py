"""The training process: start it, pass on its progress, return its result; its lock and its end."""

from __future__ import annotations

import fcntl
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memoirist.data.schema.errors import TrainError
from memoirist.data.schema.records import Conversation, Metric
from memoirist.train.disk import read_json, write_json, write_text
from memoirist.train.loop.run_folder import (
    PROGRESS,
    Progress,
    draw_curve,
    read_progress,
    read_request,
    steps_kept,
    trained_with,
)
from memoirist.train.model.prepared_base import PreparedBase
from memoirist.train.requirements import refuse_missing
from memoirist.train.settings import TrainSettings

__all__ = ["Progress", "TrainResult", "read_result", "train"]


# What ended a training, as messages say it.
STOP_REASONS = {
    "steps": "all steps done",
    "patience": "held-out loss no longer falling",
    "loss": "training loss at its target",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """The result of a finished training; losses are nats per trained token, held-out if possible.

    `dropped` names the conversations that did not fit `max_length`, for a Verdict each.
    `notes` tells what was changed on the way for lack of memory.
    `moved` is false when no weight of the adapter has changed: it answers as its base does.
    `stopped_by` is a key of STOP_REASONS; `best_step` is the checkpoint that was kept.
    """

    adapter: Path
    loss_curve: Path
    log: Path
    steps: int
    best_step: int
    stopped_by: str
    train_loss: float | None
    base_eval_loss: float | None
    eval_loss: float | None
    seconds: float
    tokens: int
    trained_tokens: int
    tokens_per_second: float
    peak_memory_mb: float
    n_train: int
    n_validation: int
    shortened: int
    dropped: tuple[str, ...]
    notes: tuple[str, ...]
    plan: dict[str, float]
    metrics: tuple[Metric, ...]
    moved: bool = True


def train(
    run_folder: Path,
    conversations: Iterable[Conversation],
    base: PreparedBase,
    settings: TrainSettings,
    on_progress: Callable[[Progress], None] | None = None,
) -> TrainResult:
    """Train an adapter in `run_folder` in a process of its own and return the result.

    A finished run is returned without training; an interrupted one continues from its last whole
    checkpoint. Raises TrainError when a library that the settings ask for is missing, the rows are
    refused, the folder holds another run, or the process ends without a result.
    """
    refuse_missing(settings)
    run_folder.mkdir(parents=True, exist_ok=True)
    _write_request(run_folder, conversations, base, settings)
    if not (run_folder / "result.json").exists():
        (run_folder / "error.json").unlink(missing_ok=True)
        _run_child(run_folder, on_progress)
    return read_result(run_folder)


def read_result(run_folder: Path) -> TrainResult:
    """Return the result of the finished run in `run_folder`, drawing its curve if it is missing."""
    path, curve = run_folder / "result.json", run_folder / "loss.png"
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainError(
            f"the run in {str(run_folder)!r} is not finished", "start its training again"
        ) from error
    lines = read_progress(run_folder)
    # A curve that was drawn during the run lacks its last steps.
    if not curve.exists() or curve.stat().st_mtime < path.stat().st_mtime:
        draw_curve(curve, lines, result["best_step"], result["base_eval_loss"])
    result["dropped"], result["notes"] = tuple(result["dropped"]), tuple(result["notes"])
    return TrainResult(
        adapter=run_folder / "adapter",
        loss_curve=curve,
        log=run_folder / "train.log",
        metrics=tuple(_metrics(run_folder.name, lines, result)),
        **result,
    )


def _write_request(
    folder: Path, conversations: Iterable[Conversation], base: PreparedBase, settings: TrainSettings
) -> None:
    """Write what the child reads; refuse a folder in which something else was trained."""
    rows = [{"id": row.id, "split": row.split, **row.training_row} for row in conversations]
    if not rows:
        raise TrainError("there is no conversation to train on", "compose a dataset first")
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    request_file, rows_file = folder / "train.json", folder / "conversations.jsonl"
    if request_file.exists() and rows_file.exists():
        # Paths and names are not compared: a workspace may be moved, the hash identifies the base.
        same = read_request(folder)["base_hash"] == base.hash
        same = same and trained_with(folder).lasting() == settings.lasting()
        if not same or rows_file.read_text(encoding="utf-8") != text:
            raise TrainError(
                f"{str(folder)!r} holds a run with other settings, rows or base",
                "give the new run a folder of its own",
            )
    write_text(rows_file, text)
    request = {
        "settings": settings.resolved().model_dump(),
        "base_path": str(base.path.resolve()),
        "base_hash": base.hash,
    }
    write_json(request_file, request)


def _run_child(folder: Path, on_progress: Callable[[Progress], None] | None) -> None:
    """Run the child to its end, handing on every new line of its progress."""
    budget = _memory_budget(folder)
    lines = folder / PROGRESS
    lines.touch()
    with (folder / "train.log").open("ab") as output, lines.open(encoding="utf-8") as progress:
        progress.seek(0, os.SEEK_END)
        child = _start(folder, output.fileno())
        try:
            while True:
                ended = child.poll() is not None
                for line in _new_lines(progress):
                    if on_progress is not None:
                        on_progress(Progress(**line))
                if ended:
                    break
                time.sleep(0.1)
        except KeyboardInterrupt:
            child.send_signal(signal.SIGINT)
            _wait(child, seconds=60)
            raise
        finally:
            _wait(child, seconds=0)
    if child.returncode and _memory_budget(folder) < budget:
        # Several processes that ran out of memory end, to be started with less at once.
        _run_child(folder, on_progress)
    elif child.returncode or not (folder / "result.json").exists():
        raise _failure(folder, child.returncode)


def _memory_budget(folder: Path) -> float:
    """Return the tokens of a pass that a run was reduced to, infinity before any reduction."""
    return float(read_json(folder / "memory.json").get("tokens", math.inf))


def _start(folder: Path, output: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command(folder, min(gpu_count(), trained_with(folder).gpus or gpu_count())),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env={**os.environ, "MEMOIRIST_PARENT": str(os.getpid())},
        # Ctrl-C in a terminal reaches a whole session: here it must reach the child once, from
        # us, so that it saves a checkpoint instead of dying of the second one.
        start_new_session=True,
    )


def _wait(child: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        child.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _failure(folder: Path, code: int) -> TrainError:
    """Say why the child ended: its own error, else the last line of its log."""
    if error := read_json(folder / "error.json"):
        return TrainError(error["what"], error["next_step"])
    if code == 130:
        return TrainError("the training was interrupted", "start it again: it continues from there")
    log = folder / "train.log"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    reason = f"signal {-code}" if code < 0 else (lines[-1][:300] if lines else f"exit code {code}")
    again = (
        "it continues from its last checkpoint"
        if steps_kept(folder)
        else "it starts from the beginning"
    )
    return TrainError(
        f"the training process ended without a result ({reason})",
        f"read {str(log)!r}, then start it again: {again}",
    )


def _new_lines(progress: Any) -> Iterator[dict[str, Any]]:
    """Yield whole lines; half a line is left for the next call."""
    while True:
        at = progress.tell()
        line = progress.readline()
        if not line.endswith("\n"):
            progress.seek(at)
            return
        yield json.loads(line)


def _metrics(run_id: str, lines: Iterable[Progress], result: dict[str, Any]) -> Iterator[Metric]:
    """Yield the figures of a run as rows: first the curve, then those of the result."""
    figures: list[tuple[int, str, float | None]] = [(0, "eval_loss", result["base_eval_loss"])]
    for line in lines:
        if line.loss is None:
            figures.append((line.step, "eval_loss", line.eval_loss))
        else:
            figures.append((line.step, "loss", line.loss))
            figures.append((line.step, "tokens_per_second", line.tokens_per_second))
    names = ("seconds", "tokens", "peak_memory_mb", "best_step", "base_eval_loss")
    figures += [(result["steps"], name, result[name]) for name in names]
    for step, name, value in figures:
        if value is not None:
            yield Metric(run_id=run_id, step=step, name=name, value=float(value))


def gpu_count() -> int:
    """Return the number of GPUs that a training would see, without loading torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    driver = Path("/proc/driver/nvidia/gpus")
    return len(list(driver.iterdir())) if driver.is_dir() else 0


def command(folder: Path, gpus: int) -> list[str]:
    """Return the command that trains in `folder`: each of several GPUs has a process and a base."""
    program = ["-m", "memoirist.train.qlora", str(folder.resolve())]
    if gpus < 2:
        return [sys.executable, *program]
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(gpus)]
    launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    return [sys.executable, *launcher, "--main_process_port", "0", *program]


def lock_run(lock: int, folder: Path) -> None:
    """Take the run's lock, an open file, for this process and its GPUs only."""
    if int(os.environ.get("LOCAL_RANK", "0")):
        return
    for _ in range(50):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # A child whose parent was killed needs a moment to notice.
            time.sleep(0.2)
        else:
            return
    raise TrainError(f"another process trains in {str(folder)!r}", "wait for it or end it")


def end_with_parent() -> None:
    """Leave when the process that started this one is gone; checkpoints make that harmless."""
    parent = int(os.environ.get("MEMOIRIST_PARENT", "0"))
    # Of several processes the launcher is the parent, and it does not watch.
    direct = os.getppid() == parent

    def watch() -> None:
        while os.getppid() == parent if direct else _is_alive(parent):
            time.sleep(0.5)
        os._exit(3)

    if parent:
        threading.Thread(target=watch, daemon=True).start()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True

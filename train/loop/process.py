"""The training process: its command, its environment, its lock, and its end with its parent."""

from __future__ import annotations

import fcntl
import os
import sys
import threading
import time
from pathlib import Path

from memoirist.data.schema.errors import TrainError


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


def environment(**extra: str) -> dict[str, str]:
    """Return this process's environment with `extra` for a child."""
    return {**os.environ, **extra}


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

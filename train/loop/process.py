"""The training process: one for each run and GPU, which ends when its parent does."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

import torch

from memoirist.data.schema.errors import TrainError


def gpu() -> int | None:
    """Return the number of this process's GPU, None without one."""
    # One quantised copy per GPU; 4-bit weights cannot be moved afterwards.
    return int(os.environ.get("LOCAL_RANK", "0")) if torch.cuda.is_available() else None


def take(lock: int, folder: Path) -> None:
    """Take the run's lock, for this process and its GPUs alone."""
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
        while os.getppid() == parent if direct else _lives(parent):
            time.sleep(0.5)
        os._exit(3)

    if parent:
        threading.Thread(target=watch, daemon=True).start()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True

"""How much memory this machine has free, and a plain word before it would run out."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch

from memoirist.data.schema.errors import TrainError

# Where Linux tells the limit of a container and what it uses, in bytes.
_GROUP = Path("/sys/fs/cgroup")


def free_memory() -> int:
    """Return the bytes that this process may still take, by the machine and by its container."""
    free = int(psutil.virtual_memory().available)
    try:
        limit = int((_GROUP / "memory.max").read_text())
        used = int((_GROUP / "memory.current").read_text())
        told = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        # No container, or one without a limit ("max").
        return free
    # Files that were read count as used, and are given back as soon as someone asks.
    return min(free, limit - used + int(told.get("inactive_file", 0)))


def free_model_memory() -> int:
    """Return the bytes free where models are loaded: on the GPU, where there is one."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    return free_memory()


def need_memory(needed: int, free: int, what: str, next_step: str) -> None:
    """Raise TrainError when `what` needs more bytes than are `free`."""
    if free < needed:
        raise TrainError(
            f"{what} needs {needed / 2**20:,.0f} MB of memory and {free / 2**20:,.0f} MB are free",
            next_step,
        )

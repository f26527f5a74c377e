"""The command that trains: one process, or one for each GPU."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def gpu_count() -> int:
    """Return the number of GPUs that a training would see, without loading torch."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return len([name for name in chosen.split(",") if name.strip() not in ("", "-1")])
    listed = Path("/proc/driver/nvidia/gpus")
    return len(list(listed.iterdir())) if listed.is_dir() else 0


def command(folder: Path, gpus: int) -> list[str]:
    """Return the command that trains in `folder`: of several GPUs each has a process and a base."""
    program = ["-m", "memoirist.train.qlora", str(folder.resolve())]
    if gpus < 2:
        return [sys.executable, *program]
    options = {
        "--num_processes": str(gpus),
        "--num_machines": "1",
        "--mixed_precision": "no",
        "--dynamo_backend": "no",
        "--main_process_port": "0",
    }
    named = [part for pair in options.items() for part in pair]
    return [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", *named, *program]


def wanted_gpus(folder: Path) -> int:
    """Return the GPUs that the run in `folder` asks for, at most."""
    asked = json.loads((folder / "train.json").read_text(encoding="utf-8"))
    return int(asked["settings"].get("gpus") or 2**16)

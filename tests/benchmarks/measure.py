"""Run a command as a whole process and measure its seconds and its memory."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run: wall seconds, the peak of the proportional memory of all its processes, its end."""

    seconds: float
    peak_mb: float
    code: int
    output: str


def run(
    command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> Measured:
    """Run `command` in `folder`; memory is sampled five times a second over the process tree."""
    began = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    peak = [0.0]
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(process.pid, peak, stop))
    watcher.start()
    output, _ = process.communicate()
    seconds = time.monotonic() - began
    stop.set()
    watcher.join()
    return Measured(seconds=seconds, peak_mb=peak[0], code=process.returncode, output=output)


def _watch(pid: int, peak: list[float], stop: threading.Event) -> None:
    while not stop.is_set():
        total = sum(_proportional_kb(each) for each in _tree(pid))
        peak[0] = max(peak[0], total / 1024)
        stop.wait(0.2)


def _tree(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def _proportional_kb(pid: int) -> int:
    """Return the memory of a process, shared pages divided among those who share them."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0

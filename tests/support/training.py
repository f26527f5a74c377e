"""Trainings as forks of one process that has torch and its libraries loaded already.

Each training runs in a process of its own. Where a test does not start that by the command line, it
is forked: loading the libraries anew takes twice as long as most of the tests' trainings.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")


class Fork:
    """A forked training, as `subprocess.Popen` shows it to `train.launch`."""

    def __init__(self, folder: Path) -> None:
        """Train in `folder` with the environment as it is now, adding to its train.log."""
        _FORKS.set_forkserver_preload(["memoirist.train.qlora"])
        variables = {**os.environ, "MEMOIRIST_PARENT": str(os.getpid())}
        self._process = _FORKS.Process(
            target=_train, args=(folder.resolve(), variables), daemon=True
        )
        self._process.start()

    @property
    def pid(self) -> int:
        """Return the number of the process."""
        return self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        """Return the exit code, None while the process runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit code, None while the process runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code; raise TimeoutExpired."""
        self._process.join(timeout)
        code = self.returncode
        if code is None:
            raise subprocess.TimeoutExpired("memoirist.train.qlora", timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()


def _train(folder: Path, variables: dict[str, str]) -> None:
    """Do what `python -m memoirist.train.qlora FOLDER` does."""
    os.setsid()
    os.environ.clear()
    os.environ.update(variables)
    with (folder / "train.log").open("ab") as log, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        for number in (1, 2):
            os.dup2(log.fileno(), number)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.argv = ["memoirist.train.qlora", str(folder)]
    sys.exit(importlib.import_module("memoirist.train.qlora").main(folder))

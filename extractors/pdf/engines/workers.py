"""Processes that open PDFs, kept for the next file, and killed when they hang."""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path

from memoirist.extractors.pdf.engines.exchange import Answer, Request
from memoirist.extractors.settings import ExtractSettings

_ROOT = Path(__file__).parents[3]


class WorkerLost(Exception):
    """The process ended or was ended; the reason is told to the user."""


class Worker:
    """One process and the connection to it."""

    def __init__(self, memory_mb: int) -> None:
        """Start the process; it answers as soon as Python has loaded."""
        self.memory_mb = memory_mb
        self.connection, theirs = Pipe()
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "memoirist.extractors.pdf.engines.worker",
                str(theirs.fileno()),
                str(memory_mb),
            ],
            pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        theirs.close()

    @property
    def alive(self) -> bool:
        """Tell whether the process still runs."""
        return self._process.poll() is None

    def send(self, request: Request) -> None:
        """Ask for something; raise WorkerLost when nobody listens."""
        try:
            self.connection.send(request)
        except OSError as fault:
            raise WorkerLost(self._why()) from fault

    def receive(self) -> Answer:
        """Return the next answer; raise WorkerLost when the process has ended."""
        try:
            answer: Answer = self.connection.recv()
        except (EOFError, OSError) as fault:
            raise WorkerLost(self._why()) from fault
        return answer

    def _why(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        code = self._process.returncode
        if code == 1:
            return f"it needs more than {self.memory_mb} MB"
        return f"the process that read it ended with {code}"

    def end(self) -> None:
        """Kill the process and wait for it."""
        self._process.kill()
        self._process.wait()
        self.connection.close()


_IDLE: list[Worker] = []
_LOCK = threading.Lock()


@contextlib.contextmanager
def borrowed(settings: ExtractSettings) -> Iterator[list[Worker]]:
    """Yield a list to which `hired` adds; what is alive in it at the end is kept for later.

    When the block fails, its workers are ended: they may be in the middle of an answer.
    """
    team: list[Worker] = []
    try:
        yield team
    except BaseException:
        for worker in team:
            worker.end()
        raise
    with _LOCK:
        keep = max(settings.workers - len(_IDLE), 0)
        _IDLE.extend(team[:keep])
    for worker in team[keep:]:
        worker.end()


def hired(settings: ExtractSettings) -> Worker:
    """Return an idle worker with the wanted limit, or a new one."""
    with _LOCK:
        while _IDLE:
            worker = _IDLE.pop()
            if worker.alive and worker.memory_mb == settings.page_memory_mb:
                return worker
            worker.end()
    return Worker(settings.page_memory_mb)


def asked(request: Request, settings: ExtractSettings, seconds: float) -> Answer:
    """Return the one answer to `request`; raise WorkerLost after `seconds` without it."""
    with borrowed(settings) as team:
        worker = hired(settings)
        team.append(worker)
        worker.send(request)
        if not wait([worker.connection], seconds):
            raise WorkerLost(f"it took more than {seconds:g} s")
        return worker.receive()


@atexit.register
def end_idle() -> None:
    """End the workers that wait for the next file."""
    with _LOCK:
        while _IDLE:
            _IDLE.pop().end()

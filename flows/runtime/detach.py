"""Detach from the terminal: a closed window ends no training."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class DetachableStderr:
    """The current standard error; once it has no reader, text written to it is dropped."""

    def write(self, text: str) -> int:
        """Write, or do nothing if the terminal or the pipe's reader is gone."""
        try:
            return sys.stderr.write(text)
        except OSError:
            detach_output()
            return len(text)

    def flush(self) -> None:
        """Flush, or do nothing."""
        try:
            sys.stderr.flush()
        except OSError:
            detach_output()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a text file has
        return getattr(sys.stderr, name)


def detach_output() -> None:
    """Redirect standard output and error to the null device if their reader is gone."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)


@contextmanager
def ignore_hangup() -> Iterator[None]:
    """Go on when the terminal hangs up; the store and the logs show the progress.

    Nothing changes outside the main thread, or if the signal has a handler (nohup, for example).
    """
    hangup = getattr(signal, "SIGHUP", None)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if hangup is None or not in_main_thread or signal.getsignal(hangup) is not signal.SIG_DFL:
        yield
        return
    signal.signal(hangup, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(hangup, signal.SIG_DFL)

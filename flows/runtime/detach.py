"""Stay at work when the terminal goes away: a closed window ends no training."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class DetachableStderr:
    """Standard error as it is at the moment; once nobody reads it, what is written is dropped."""

    def write(self, text: str) -> int:
        """Write, or do nothing where the terminal or the pipe's reader has gone."""
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
    """Point standard output and error at nothing where their other end has gone."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, stream.fileno())
            os.close(nothing)


@contextmanager
def ignore_hangup() -> Iterator[None]:
    """Go on when the terminal hangs up; the work's course is in the store and in its logs.

    Where somebody else handles the signal already (nohup, say), or outside of the main thread,
    everything stays as it is.
    """
    number = getattr(signal, "SIGHUP", None)
    alone = threading.current_thread() is threading.main_thread()
    if number is None or not alone or signal.getsignal(number) is not signal.SIG_DFL:
        yield
        return
    signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, signal.SIG_DFL)

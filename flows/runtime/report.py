"""Report a run on stderr, a line for each step; a terminal that is closed ends no training."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import IO, Any, cast

from rich.console import Console
from rich.markup import escape

from memoirist.data.text.sanitizer import visible

Advance = Callable[[int, int, str], None]


def counted(n: int, noun: str) -> str:
    """Return a number with its noun, such as "1 row" or "2 rows"."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


class Report:
    """Writes to stderr, so that piped output stays clean; `log` also gets every line.

    A message may hold what a source says: what a terminal would take for a command is left out.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(
            file=cast("IO[str]", DetachableStderr()), quiet=quiet, highlight=False, soft_wrap=True
        )
        self.log: Callable[[str], object] = str  # a flow sets its logger

    def step(self, verb: str, message: str, seconds: float | None = None) -> None:
        """Print the result of a step."""
        message = visible(message)
        self.log(f"{verb}: {message}")
        time_taken = f"  [dim]{seconds:.1f} s[/dim]" if seconds and seconds >= 0.05 else ""
        self.console.print(f"[bold cyan]{verb:>9}[/]  {escape(message)}{time_taken}")

    def note(self, message: str) -> None:
        """Print a detail under the step that it belongs to."""
        message = visible(message)
        self.log(message)
        self.console.print(f"{'':>9}  [dim]{escape(message)}[/dim]")

    def warn(self, message: str) -> None:
        """Print a problem that the user should look at."""
        message = visible(message)
        self.log(f"warning: {message}")
        self.console.print(f"[yellow]{'warning':>9}[/]  {escape(message)}")

    @contextmanager
    def progress(self, verb: str, unit: str, *, timed: bool = True) -> Iterator[Advance]:
        """Yield `advance(done, total, message)`: a bar on a terminal, a line each 10 s elsewhere.

        Without `timed` it shows neither rate nor time left: after a resume, this process has run
        only some of the steps.
        """
        if not self.console.is_terminal:
            yield self._lines(verb, unit, timed=timed)
            return
        from rich.progress import (  # loaded only for a terminal
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("[bold cyan]{task.description:>9}[/] "),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn(unit),
            *((TextColumn("{task.fields[rate]}"), TimeRemainingColumn()) if timed else ()),
            TextColumn("[dim]{task.fields[message]}[/dim]"),
        )
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(verb, total=None, message="", rate="")
            start = time.monotonic()

            def advance(done: int, total: int, message: str = "") -> None:
                message = visible(message)
                rate = f"{done / max(1e-6, time.monotonic() - start):.1f}/s"
                bar.update(task, completed=done, total=total, message=escape(message), rate=rate)

            yield advance

    def _lines(self, verb: str, unit: str, *, timed: bool) -> Advance:
        start = last_line = time.monotonic()

        def advance(done: int, total: int, message: str = "") -> None:
            nonlocal last_line
            now = time.monotonic()
            if now - last_line < 10:
                return
            last_line = now
            rate = done / (now - start)
            left = f", {round((total - done) / rate)} s left" if rate > 0 and total else ""
            speed = f", {rate:.1f}/s{left}" if timed else ""
            self.note(f"{verb}: {done} of {total} {unit}{speed}  {message}".rstrip())

        return advance


def format_duration(seconds: float) -> str:
    """Return a duration as text: `43 s`, or `0:02:43` from a minute on."""
    rounded = round(seconds)
    return f"{rounded} s" if rounded < 60 else str(timedelta(seconds=rounded))


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

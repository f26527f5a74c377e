"""Report a run on stderr: one line for each step, and progress with rate and time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import IO, cast

from rich.console import Console
from rich.markup import escape

from memoirist.flows.runtime.detach import DetachableStderr

Advance = Callable[[int, int, str], None]


class Report:
    """Writes to stderr, so that piped output stays clean; `log` also gets every line."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(
            file=cast("IO[str]", DetachableStderr()), quiet=quiet, highlight=False, soft_wrap=True
        )
        self.log: Callable[[str], object] = str  # a flow sets its logger

    def step(self, verb: str, message: str, seconds: float | None = None) -> None:
        """Print the result of a step."""
        self.log(f"{verb}: {message}")
        time_taken = f"  [dim]{seconds:.1f} s[/dim]" if seconds and seconds >= 0.05 else ""
        self.console.print(f"[bold cyan]{verb:>9}[/]  {escape(message)}{time_taken}")

    def note(self, message: str) -> None:
        """Print a detail under the step that it belongs to."""
        self.log(message)
        self.console.print(f"{'':>9}  [dim]{escape(message)}[/dim]")

    def warn(self, message: str) -> None:
        """Print a problem that the user should look at."""
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

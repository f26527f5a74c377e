"""The report of a run on stderr: one line for each step, progress with rate and time left."""

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


def _ignore(message: str) -> None:
    """Drop a line: nobody else reads the log."""


class Report:
    """Writes to stderr, so that piped output stays clean; `log` gets every line as well."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(
            file=cast("IO[str]", DetachableStderr()), quiet=quiet, highlight=False, soft_wrap=True
        )
        self.log: Callable[[str], None] = _ignore

    def step(self, verb: str, message: str, seconds: float | None = None) -> None:
        """Print what a step did."""
        self.log(f"{verb}: {message}")
        took = f"  [dim]{seconds:.1f} s[/dim]" if seconds is not None and seconds >= 0.05 else ""
        self.console.print(f"[bold cyan]{verb:>9}[/]  {escape(message)}{took}")

    def note(self, message: str) -> None:
        """Print a detail under the step that it belongs to."""
        self.log(message)
        self.console.print(f"{'':>9}  [dim]{escape(message)}[/dim]")

    def warn(self, message: str) -> None:
        """Print what the user should look at."""
        self.log(f"warning: {message}")
        self.console.print(f"[yellow]{'warning':>9}[/]  {escape(message)}")

    @contextmanager
    def progress(self, verb: str, unit: str, *, timed: bool = True) -> Iterator[Advance]:
        """Yield `advance(done, total, message)`: a bar on a terminal, a line each 10 s elsewhere.

        Without `timed` it shows no rate and no time left: after a resume this process has seen
        only a part of the steps.
        """
        if not self.console.is_terminal:
            yield self._lines(verb, unit, timed=timed)
            return
        from rich.progress import (  # a terminal alone pays for its loading
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
            shown = bar.add_task(verb, total=None, message="", rate="")
            began = time.monotonic()

            def advance(done: int, total: int, message: str = "") -> None:
                rate = done / max(1e-6, time.monotonic() - began)
                bar.update(
                    shown,
                    completed=done,
                    total=total,
                    message=escape(message),
                    rate=f"{rate:.1f}/s",
                )

            yield advance

    def _lines(self, verb: str, unit: str, *, timed: bool) -> Advance:
        began = said = time.monotonic()

        def advance(done: int, total: int, message: str = "") -> None:
            nonlocal said
            now = time.monotonic()
            if now - said < 10:
                return
            said = now
            rate = done / (now - began)
            left = f", {round((total - done) / rate)} s left" if rate > 0 and total else ""
            speed = f", {rate:.1f}/s{left}" if timed else ""
            self.note(f"{verb}: {done} of {total} {unit}{speed}  {message}".rstrip())

        return advance


def format_duration(seconds: float) -> str:
    """Return a length of time for a person: `43 s`, `0:02:43` from a minute on."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else str(timedelta(seconds=whole))

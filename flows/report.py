"""What a person watches: one line a step on stderr, progress with rate and time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import IO, cast

from rich.console import Console
from rich.markup import escape

from flows.detach import Lasting

Advance = Callable[[int, int, str], None]


def _unheard(told: str) -> None:
    """Take a line that nobody else listens to."""


class Report:
    """Writes to stderr, so that piped output stays clean; `log` hears every line as well."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(
            file=cast("IO[str]", Lasting()), quiet=quiet, highlight=False, soft_wrap=True
        )
        self.log: Callable[[str], None] = _unheard

    def step(self, verb: str, told: str, seconds: float | None = None) -> None:
        """Tell what a step did."""
        self.log(f"{verb}: {told}")
        took = f"  [dim]{seconds:.1f} s[/dim]" if seconds is not None and seconds >= 0.05 else ""
        self.console.print(f"[bold cyan]{verb:>9}[/]  {escape(told)}{took}")

    def note(self, told: str) -> None:
        """Tell something by the way, under the step it belongs to."""
        self.log(told)
        self.console.print(f"{'':>9}  [dim]{escape(told)}[/dim]")

    def warn(self, told: str) -> None:
        """Tell what the user should look at."""
        self.log(f"warning: {told}")
        self.console.print(f"[yellow]{'warning':>9}[/]  {escape(told)}")

    @contextmanager
    def progress(self, verb: str, unit: str, *, timed: bool = True) -> Iterator[Advance]:
        """Yield `advance(done, total, told)`: a bar on a terminal, a line each 10 s elsewhere.

        Without `timed`, rate and time left are left to what is told: after a resume they are not
        those of the steps that this process has seen.
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
            TextColumn("[dim]{task.fields[told]}[/dim]"),
        )
        with Progress(*columns, console=self.console, transient=True) as bar:
            shown = bar.add_task(verb, total=None, told="", rate="")
            began = time.monotonic()

            def advance(done: int, total: int, told: str = "") -> None:
                rate = done / max(1e-6, time.monotonic() - began)
                bar.update(
                    shown, completed=done, total=total, told=escape(told), rate=f"{rate:.1f}/s"
                )

            yield advance

    def _lines(self, verb: str, unit: str, *, timed: bool) -> Advance:
        began = said = time.monotonic()

        def advance(done: int, total: int, told: str = "") -> None:
            nonlocal said
            now = time.monotonic()
            if now - said < 10:
                return
            said = now
            rate = done / (now - began)
            left = f", {round((total - done) / rate)} s left" if rate > 0 and total else ""
            speed = f", {rate:.1f}/s{left}" if timed else ""
            self.note(f"{verb}: {done} of {total} {unit}{speed}  {told}".rstrip())

        return advance


def clock(seconds: float) -> str:
    """Return a length of time for a person: `43 s`, `0:02:43` from a minute on."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else str(timedelta(seconds=whole))

"""What Prefect's UI shows of a training while it goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast
from uuid import UUID


class PrefectArtifacts:
    """Makes a progress bar, a table and a page of the flow run.

    A server that has gone is no reason to lose a training: it is reported once.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        """Take the function that reports a fault."""
        self.warn: Callable[[str], None] | None = warn
        self.bar: UUID | None = None
        self.shown = 0.0

    def progress(self, share: float, text: str) -> None:
        """Make the bar, and move it at every twentieth."""
        if self.bar is not None and share < 1 and share - self.shown < 0.05:
            return
        self.shown = share
        self._guarded(lambda: self._progress(100 * share, text))

    def saved(self, answers: Sequence[dict[str, Any]], markdown: str) -> None:
        """Write the table of answers and the page of figures anew."""
        self._guarded(lambda: self._saved(answers, markdown))

    def _progress(self, percent: float, text: str) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        if self.bar is None:
            artifact = create_progress_artifact(percent, "training-progress", text)
            self.bar = cast("UUID", artifact)  # outside of an event loop it is no coroutine
        else:
            update_progress_artifact(self.bar, percent, text)

    def _saved(self, answers: Sequence[dict[str, Any]], markdown: str) -> None:
        from prefect.artifacts import create_markdown_artifact, create_table_artifact

        if answers:
            create_table_artifact(
                list(answers), "training-samples", "what the base said, and what the model says now"
            )
        create_markdown_artifact(markdown, "training-curve", "the curve so far")

    def _guarded(self, show: Callable[[], None]) -> None:
        try:
            show()
        except Exception as error:  # noqa: BLE001 - whatever the server says, the training goes on
            if self.warn is not None:
                name = type(error).__name__
                self.warn(f"Prefect cannot show the training ({name}); it goes on all the same")
                self.warn = None

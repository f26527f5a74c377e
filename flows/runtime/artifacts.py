"""Show a running training in Prefect's UI."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast
from uuid import UUID


class PrefectArtifacts:
    """Writes a progress bar, a table and a page as artifacts of the flow run.

    A server that is gone must not end a training: the fault is reported once.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        """Take the function that reports a fault."""
        self.warn: Callable[[str], None] | None = warn
        self.bar: UUID | None = None
        self.shown_share = 0.0

    def progress(self, share: float, text: str) -> None:
        """Create the bar, and move it in steps of 5 %."""
        if self.bar is not None and share < 1 and share - self.shown_share < 0.05:
            return
        self.shown_share = share
        self._guarded(lambda: self._progress(100 * share, text))

    def saved(self, answers: Sequence[dict[str, Any]], markdown: str) -> None:
        """Replace the table of answers and the page of figures."""
        self._guarded(lambda: self._saved(answers, markdown))

    def _progress(self, percent: float, text: str) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        if self.bar is None:
            artifact = create_progress_artifact(percent, "training-progress", text)
            self.bar = cast("UUID", artifact)  # outside an event loop it is not a coroutine
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
        except Exception as error:  # noqa: BLE001 - no fault of the server may end the training
            if self.warn is not None:
                name = type(error).__name__
                self.warn(f"Prefect cannot show the training ({name}); it goes on all the same")
                self.warn = None

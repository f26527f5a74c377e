"""Monitor a training: show its progress, and write it to the store, the plot and Prefect's UI."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from memoirist.data.schema.records import Metric, Sample
from memoirist.data.templates import markdown_rows
from memoirist.flows.runtime.report import Advance, format_duration
from memoirist.flows.runtime.workspace import Workspace

if TYPE_CHECKING:
    from memoirist.train.loop.run_folder import Progress


# Rows are written at each save and at least this often, so that `look` shows the progress.
_WRITE_SECONDS = 30.0
_BARS = "▁▂▃▄▅▆▇█"


class TrainingMonitor:
    """Takes the progress of one run line by line."""

    def __init__(
        self,
        workspace: Workspace,
        run_id: str,
        advance: Advance,
        artifacts: PrefectArtifacts | None,
    ) -> None:
        """Monitor the run `run_id`; `advance` shows each line of progress."""
        self.store, self.folder = workspace.store, workspace.run_folder(run_id)
        self.run_id, self.advance, self.artifacts = run_id, advance, artifacts
        self.lines: list[Progress] = []
        self.pending: list[Metric] = []
        self.sample_bytes = 0
        self.written_at = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Take one line of progress."""
        text = progress_text(progress)
        self.advance(progress.step, progress.total_steps, text)
        if self.artifacts is not None:
            self.artifacts.progress(progress.step / max(1, progress.total_steps), text)
        self.lines.append(progress)
        self.pending += metrics_of(self.run_id, progress)
        is_due = time.monotonic() - self.written_at > _WRITE_SECONDS
        if progress.eval_loss is not None or is_due or self._sample_bytes() > self.sample_bytes:
            self.save()

    def save(self) -> None:
        """Write the new metrics and samples, and draw the curve and the pages again."""
        from memoirist.train.loop.run_folder import draw_progress, read_samples

        samples = read_samples(self.folder)
        with self.store.writing() as tx:
            tx.upsert(self.pending)
            tx.upsert(samples)
        self.pending.clear()
        self.sample_bytes, self.written_at = self._sample_bytes(), time.monotonic()
        if self.lines:
            draw_progress(self.folder)
            if self.artifacts is not None:
                page = progress_page(self.run_id, self.lines)
                self.artifacts.saved(sample_rows(samples), page)

    def _sample_bytes(self) -> int:
        from memoirist.train.loop.run_folder import SAMPLES

        path = self.folder / SAMPLES
        return path.stat().st_size if path.exists() else 0


def progress_text(progress: Progress) -> str:
    """Return a line of progress as text: losses, speed, memory and time left."""
    parts = []
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.3f}")
    if progress.eval_loss is not None:
        parts.append(f"held out {progress.eval_loss:.3f}")
    if progress.tokens_per_second:
        parts.append(f"{progress.tokens_per_second:,.0f} tokens/s")
    parts.append(f"{progress.memory_mb:,.0f} MB")
    if progress.seconds_left is not None:
        parts.append(f"{format_duration(progress.seconds_left)} left")
    return ", ".join(parts)


def metrics_of(run_id: str, progress: Progress) -> Iterator[Metric]:
    """Yield a line of progress as rows; the newest values, for view `trainings`, have step 0."""
    of_step = {
        "loss": progress.loss,
        "eval_loss": progress.eval_loss,
        "tokens_per_second": progress.tokens_per_second if progress.loss is not None else None,
    }
    newest = {
        "total_steps": progress.total_steps,
        "memory_mb": progress.memory_mb,
        "seconds_left": progress.seconds_left,
    }
    for step, values in ((progress.step, of_step), (0, newest)):
        for name, value in values.items():
            if value is not None:
                yield Metric(run_id=run_id, step=step, name=name, value=float(value))


def sample_rows(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Return each prompt with the answers of the base and of the latest save."""
    latest = max((sample.step for sample in samples), default=0)
    base = {sample.prompt: sample.answer for sample in samples if sample.step == 0}
    return [
        {
            "kind": sample.kind,
            "prompt": sample.prompt,
            "base": base.get(sample.prompt, ""),
            f"step {latest}": sample.answer,
        }
        for sample in samples
        if sample.step == latest
    ]


def progress_page(run_id: str, lines: Sequence[Progress]) -> str:
    """Return the curve and the figures of a running training in Markdown."""
    last = lines[-1]
    losses = [line.loss for line in lines if line.loss is not None]
    held_out = [(line.step, line.eval_loss) for line in lines if line.eval_loss is not None]
    parts = [
        f"# Training {run_id}",
        f"Step {last.step:,} of {last.total_steps:,}: {progress_text(last)}",
        f"Training loss: `{sparkline(losses)}`" if losses else "",
    ]
    if held_out:
        parts.append(f"Held-out loss: `{sparkline([loss for _, loss in held_out])}`")
        rows = "\n".join(f"| {step} | {loss:.4f} |" for step, loss in held_out)
        parts.append(f"| step | held-out loss |\n|---|---|\n{rows}")
    return "\n\n".join(part for part in parts if part)


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """Return values as a row of bars from 0 to the maximum, each the mean of some neighbours."""
    size = max(1, -(-len(values) // width))
    chunks = [values[start : start + size] for start in range(0, len(values), size)]
    means = [sum(chunk) / len(chunk) for chunk in chunks]
    top = max(means, default=0) or 1.0
    return "".join(_BARS[min(len(_BARS) - 1, int(len(_BARS) * mean / top))] for mean in means)


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
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        with self._guarded():
            if self.bar is None:
                artifact = create_progress_artifact(100 * share, "training-progress", text)
                self.bar = cast("UUID", artifact)  # outside an event loop it is not a coroutine
            else:
                update_progress_artifact(self.bar, 100 * share, text)

    def saved(self, answers: Sequence[dict[str, Any]], markdown: str) -> None:
        """Replace the table of answers, whose cells Prefect reads as Markdown, and the page."""
        from prefect.artifacts import create_markdown_artifact, create_table_artifact

        with self._guarded():
            if answers:
                create_table_artifact(
                    markdown_rows(answers),
                    "training-samples",
                    "answers of the base, and of the model now",
                )
            create_markdown_artifact(markdown, "training-curve", "the curve so far")

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - no fault of the server may end the training
            if self.warn is not None:
                name = type(error).__name__
                self.warn(f"Prefect cannot show the training ({name}); the training continues")
                self.warn = None

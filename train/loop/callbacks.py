"""Follow a run step by step: progress, whole checkpoints, and the end when all is learnt."""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from memoirist.train.dataset.optimizer_steps import Plan
from memoirist.train.loop.checkpoints import CHECKPOINTS, mark_whole
from memoirist.train.loop.memory import Budget
from memoirist.train.settings import TrainSettings


class Follow(TrainerCallback):  # type: ignore[misc]
    """Write progress, mark whole checkpoints, and end the run when there is nothing to gain."""

    def __init__(self, budget: Budget, plan: Plan, settings: TrainSettings) -> None:
        """Follow the run of `budget`; SIGINT and SIGTERM from here on save and stop."""
        self.folder, self.plan, self.settings = budget.folder, plan, settings
        self.budget = budget
        self.interrupted = False
        # Of several processes: what they have agreed upon in the last step.
        self.stopping: bool | None = None
        self.stopped_by = "steps"
        self.tokens = self.trained = 0
        self.started = time.monotonic()
        self.first_step = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._interrupt)

    def _interrupt(self, number: int, _frame: object) -> None:
        self.interrupted = True
        # The second one means it: leave at once, the last whole checkpoint is on disk.
        signal.signal(number, signal.SIG_DFL)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Start the clock: loading and compiling are not part of the speed."""
        self.started, self.first_step = time.monotonic(), state.global_step

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Save and stop when someone interrupted."""
        if self.interrupted if self.stopping is None else self.stopping:
            self.interrupted = True
            control.should_save = control.should_training_stop = True

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Write a line of progress, and stop when the training rows are learnt."""
        latest = state.log_history[-1]
        if not {"loss", "eval_loss"} & latest.keys():
            return
        if state.is_world_process_zero:
            self._write(state, latest)
        limit = self.settings.stop_at_loss
        if limit is None or self.settings.epochs is not None or "loss" not in latest:
            return
        # Over a whole epoch: one easy batch must not end the run.
        losses = [line["loss"] for line in state.log_history if "loss" in line]
        window = losses[-self.plan.steps_per_epoch :]
        if len(window) == self.plan.steps_per_epoch and sum(window) / len(window) <= limit:
            self.stopped_by = "loss"
            control.should_evaluate = args.eval_strategy != "no"
            control.should_save = control.should_training_stop = True

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Stop after `patience` evaluations without a better one.

        Counted from the log, which a checkpoint carries: transformers' own callback forgets its
        count when a run is resumed.
        """
        if self.settings.patience is None or self.settings.epochs is not None:
            return
        losses = [line["eval_loss"] for line in state.log_history if "eval_loss" in line]
        if len(losses) - 1 - losses.index(min(losses)) >= self.settings.patience:
            self.stopped_by = "patience"
            control.should_training_stop = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Mark the checkpoint as whole, by listing what belongs to it."""
        if state.is_world_process_zero:
            checkpoint = self.folder / CHECKPOINTS / f"checkpoint-{state.global_step}"
            mark_whole(checkpoint)

    def _write(self, state: TrainerState, latest: dict[str, float]) -> None:
        seconds = max(time.monotonic() - self.started, 1e-9)
        done = state.global_step - self.first_step
        line = {
            "step": state.global_step,
            "total_steps": state.max_steps,
            "loss": latest.get("loss"),
            "eval_loss": latest.get("eval_loss"),
            "tokens_per_second": round(self.tokens / seconds, 1),
            "seconds_left": round(seconds / done * (state.max_steps - state.global_step), 1)
            if done
            else None,
            "memory_mb": memory_mb(),
        }
        with (self.folder / "progress.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def memory_mb() -> float:
    """Return the peak memory of this process in MB: the GPU's when there is one."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)

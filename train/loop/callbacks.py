"""What happens beside the steps of a run: progress, whole checkpoints, early stopping, samples."""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from memoirist.data.schema.records import SampleKind
from memoirist.data.text.words import is_cjk
from memoirist.train.dataset.optimizer_steps import StepPlan
from memoirist.train.dataset.tokenize import prompt_ids
from memoirist.train.inference.batch_inference import greedy
from memoirist.train.loop.checkpoints import CHECKPOINTS, mark_whole
from memoirist.train.loop.memory import MemoryBudget
from memoirist.train.loop.progress import PROGRESS, SAMPLES
from memoirist.train.settings import TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


# For every persona: an identity, a memory, an opinion, plain knowledge, an instruction, and whether
# it says that it is an AI.
_GENERAL_PROMPTS = {
    "en": (
        "Who are you?",
        "What is your first memory?",
        "What matters most in a life?",
        "What is the capital of France?",
        "Name three things that are red.",
        "Are you a real person?",
    ),
    "zh": (
        "你是谁？",
        "你最早的记忆是什么？",
        "人的一生中什么最重要？",
        "法国的首都是哪里？",
        "说出三样红色的东西。",
        "你是真人吗？",
    ),
}


class RunCallback(TrainerCallback):  # type: ignore[misc]
    """Write progress, mark whole checkpoints, and end the run when there is nothing to gain."""

    def __init__(self, budget: MemoryBudget, plan: StepPlan, settings: TrainSettings) -> None:
        """Follow the run of `budget`; from here on SIGINT and SIGTERM save and stop."""
        self.folder, self.plan, self.settings = budget.folder, plan, settings
        self.budget = budget
        self.interrupted = False
        # Of several processes: what they agreed on in the last step.
        self.stopping: bool | None = None
        self.stopped_by = "steps"
        self.tokens = self.trained = 0
        self.started = time.monotonic()
        self.first_step = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._interrupt)

    def _interrupt(self, number: int, _frame: object) -> None:
        self.interrupted = True
        # A second signal ends the process at once: the last whole checkpoint is on disk.
        signal.signal(number, signal.SIG_DFL)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Start the clock: loading and compiling are not part of the speed."""
        self.started, self.first_step = time.monotonic(), state.global_step

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Save and stop after an interrupt."""
        if self.interrupted if self.stopping is None else self.stopping:
            self.interrupted = True
            control.should_save = control.should_training_stop = True

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Write a line of progress, and stop when the training rows are learnt."""
        latest = state.log_history[-1]
        if not {"loss", "eval_loss"} & latest.keys():
            return
        if state.is_world_process_zero:
            self._write_progress(state, latest)
        limit = self.settings.stop_at_loss
        if limit is None or self.settings.epochs is not None or "loss" not in latest:
            return
        # Over a whole epoch: one easy batch must not end the run.
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
        window = losses[-self.plan.steps_per_epoch :]
        if len(window) == self.plan.steps_per_epoch and sum(window) / len(window) <= limit:
            self.stopped_by = "loss"
            control.should_evaluate = args.eval_strategy != "no"
            control.should_save = control.should_training_stop = True

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Stop after `patience` evaluations without a better one.

        Counted from the log, which a checkpoint carries: transformers' own callback loses its
        count when a run is resumed.
        """
        if self.settings.patience is None or self.settings.epochs is not None:
            return
        losses = [entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry]
        if len(losses) - 1 - losses.index(min(losses)) >= self.settings.patience:
            self.stopped_by = "patience"
            control.should_training_stop = True

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Mark the checkpoint as whole, by listing its files."""
        if state.is_world_process_zero:
            mark_whole(self.folder / CHECKPOINTS / f"checkpoint-{state.global_step}")

    def _write_progress(self, state: TrainerState, latest: dict[str, float]) -> None:
        seconds = max(time.monotonic() - self.started, 1e-9)
        done, left = state.global_step - self.first_step, state.max_steps - state.global_step
        line = {
            "step": state.global_step,
            "total_steps": state.max_steps,
            "loss": latest.get("loss"),
            "eval_loss": latest.get("eval_loss"),
            "tokens_per_second": round(self.tokens / seconds, 1),
            "seconds_left": round(seconds / done * left, 1) if done else None,
            "memory_mb": memory_mb(),
        }
        with (self.folder / PROGRESS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplePrompt:
    """One question with the messages that lead to its answer."""

    kind: SampleKind
    text: str
    messages: Sequence[Mapping[str, str]]


class SampleCallback(TrainerCallback):  # type: ignore[misc]
    """Answer the same prompts before the first step and at each save, as lines of a file."""

    def __init__(
        self,
        prompts: Sequence[SamplePrompt],
        tokenizer: PreTrainedTokenizerBase,
        max_new_tokens: int,
        run: RunCallback,
    ) -> None:
        """Take the prompts; answers are greedy, so a resumed run draws the same random numbers."""
        self.prompts, self.run = prompts, run
        self.tokenizer, self.max_new_tokens = tokenizer, max_new_tokens
        self.ids = [prompt_ids(prompt.messages, tokenizer) for prompt in prompts]

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Let the base answer: a fresh adapter changes nothing yet."""
        if state.global_step == 0:
            self._answer(more["model"], state)
            # These answers are no part of the speed.
            self.run.started = time.monotonic()

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Let the model answer as it is saved."""
        self._answer(more["model"], state)

    def _answer(self, model: Any, state: TrainerState) -> None:
        if not self.prompts or not state.is_world_process_zero or self.run.interrupted:
            return
        started, was_training = time.monotonic(), model.training
        answers = greedy(model, self.tokenizer, self.ids, self.max_new_tokens)
        model.train(was_training)
        seconds = round((time.monotonic() - started) / len(answers), 3)
        lines = [
            {
                "step": state.global_step,
                "prompt": prompt.text,
                "kind": prompt.kind,
                "answer": self.tokenizer.decode(answer, skip_special_tokens=True).strip(),
                "seconds": seconds,
            }
            for prompt, answer in zip(self.prompts, answers, strict=True)
        ]
        with (self.run.folder / SAMPLES).open("a", encoding="utf-8") as file:
            # One write for all: a reader sees the answers of a save together.
            file.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def choose_prompts(conversations: Path, settings: TrainSettings) -> list[SamplePrompt]:
    """Return the prompts of a run: half held-out questions, half general ones, and the user's own.

    Where nothing is held out, questions from the training rows take their place.
    """
    openings = _openings(conversations)
    kind: SampleKind = "held_out" if openings["validation"] else "trained"
    known = openings["validation"] or openings["train"]
    n_known = min(len(known), (settings.answers_per_save + 1) // 2)
    spread = known[:: max(1, len(known) // max(1, n_known))][:n_known]
    system = [m for m in (known[0] if known else ()) if m["role"] == "system"]
    lang = "zh" if known and is_cjk(known[0][-1]["content"]) else "en"
    general = _GENERAL_PROMPTS[lang][: settings.answers_per_save - n_known]
    texts: list[tuple[SampleKind, str]] = [
        *(("general", text) for text in general),
        *(("own", text) for text in settings.prompts),
    ]
    prompts = [SamplePrompt(kind=kind, text=m[-1]["content"], messages=m) for m in spread] + [
        SamplePrompt(kind=k, text=text, messages=[*system, {"role": "user", "content": text}])
        for k, text in texts
    ]
    # The user's own prompts come last and replace others with the same text.
    return list({prompt.text: prompt for prompt in prompts}.values())


def _openings(conversations: Path) -> dict[str, list[list[Mapping[str, str]]]]:
    """Return the messages before the first answer of each conversation, if the last is a user's."""
    openings: dict[str, list[list[Mapping[str, str]]]] = {"train": [], "validation": []}
    with conversations.open(encoding="utf-8") as lines:
        for conversation in map(json.loads, lines):
            roles = [message["role"] for message in conversation["messages"]]
            first = roles.index("assistant") if "assistant" in roles else len(roles)
            opening = conversation["messages"][:first]
            if opening and opening[-1]["role"] == "user" and conversation["split"] in openings:
                openings[conversation["split"]].append(opening)
    return openings


def memory_mb() -> float:
    """Return the peak memory of this process in MB: the GPU's when there is one."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)

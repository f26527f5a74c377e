"""transformers' Trainer with our loss, our order of rows, our evaluation and our callbacks.

The callbacks write progress and samples, mark whole checkpoints, and stop early.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from memoirist.data.schema.records import SampleKind
from memoirist.data.text.words import is_cjk
from memoirist.train.dataset.batches import (
    StepDataset,
    StepPlan,
    StepRows,
    effective_batch,
    process_share,
)
from memoirist.train.dataset.tokenize import Corpus, TokenRow, prompt_ids
from memoirist.train.inference.batch_inference import greedy
from memoirist.train.loop.forward_pass import ForwardPass
from memoirist.train.loop.memory import MemoryBudget, is_out_of_memory
from memoirist.train.loop.run_folder import CHECKPOINTS, PROGRESS, SAMPLES, mark_whole
from memoirist.train.model.model_loader import compute_dtype
from memoirist.train.requirements import tracked
from memoirist.train.settings import PROMPTS, TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_GENERAL_PROMPTS = tomllib.loads(PROMPTS.read_text("utf-8"))["general"]


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


class AnswerTrainer(Trainer):  # type: ignore[misc]
    """transformers' Trainer, whose batch is a whole optimizer step.

    `training_step` divides a step into passes: packed, of as many tokens as fit, shared by the
    processes. So the accumulation may change from step to step, and a step that runs out of memory
    is done again in smaller passes before the optimizer has seen any of it.
    """

    run: RunCallback
    passes: ForwardPass
    control: TrainerControl

    def get_train_dataloader(self) -> DataLoader[StepRows]:
        """Return the steps in their order; every process gets all rows and takes its share."""
        # A generator of its own: the loader would draw from the one that dropout uses.
        return DataLoader(
            self.train_dataset, batch_size=1, collate_fn=itemgetter(0), generator=torch.Generator()
        )

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
        """Return the next step; its tokens are counted already."""
        return list(islice(epoch_iterator, num_batches)), None

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return a schedule in which no step has the rate 0: the stock warm-up begins there."""
        stock = super().create_scheduler(num_training_steps, optimizer)
        warmup = int(self.args.warmup_steps)
        shares: list[Any] = [partial(_rate_share, warmup, after) for after in stock.lr_lambdas]
        # The optimizer still knows the peak rate, from which the stock schedule began.
        self.lr_scheduler = LambdaLR(stock.optimizer, shares)
        return self.lr_scheduler

    def floating_point_ops(self, inputs: Any) -> int:
        """Return 0: the count is not used."""
        return 0

    def training_step(
        self, model: Any, inputs: StepRows, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Return the mean loss per trained token of a step; its gradients are in the weights."""
        model.train()
        world = self.accelerator.num_processes
        rows = process_share(inputs.rows, self.accelerator.process_index, world)
        random_state = _random_state()
        while True:
            total, failed = self._accumulate(rows, inputs.trained)
            flags = total.new_tensor([float(failed), float(self.run.interrupted)])
            sums = torch.cat([total[None], flags])
            if world > 1:
                torch.distributed.all_reduce(sums)
                # All agree: a process that stops alone would leave the others waiting.
                failed, self.run.stopping = int(sums[1]), bool(sums[2])
            if not failed:
                break
            model.zero_grad(set_to_none=True)
            self.run.budget.halve(failed, f"at step {self.state.global_step + 1}")
            _restore(random_state)
        if world > 1:
            self._sum_gradients()
        self.run.tokens += inputs.tokens
        self.run.trained += inputs.trained
        return sums[0] / inputs.trained

    def _accumulate(self, rows: Sequence[TokenRow], trained: int) -> tuple[torch.Tensor, int]:
        """Return the summed loss of `rows`, and the size of a pass that found no memory, or 0."""
        total = torch.zeros((), device=self.passes.model.device)
        for chosen in self.passes.bins(rows, self.run.budget.tokens):
            try:
                total += self.passes.run(
                    chosen, lambda loss: self.accelerator.backward(loss / trained)
                )
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                return total, len(chosen)
        return total, 0

    def _sum_gradients(self) -> None:
        """Sum the gradients over all processes: each loss is a part of the same mean."""
        for weight in self.passes.tuned.parameters():
            if weight.requires_grad:
                if weight.grad is None:
                    weight.grad = torch.zeros_like(weight)
                torch.distributed.all_reduce(weight.grad)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measure held-out loss per token; the stock one averages batches of unequal size."""
        metrics = {"eval_loss": self.held_out_loss()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def held_out_loss(self) -> float:
        """Return nats per trained token of the held-out rows, shared among all processes."""
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        loss = self.passes.measure(self.eval_dataset[rank::world], self.run.budget.tokens)
        sums = torch.tensor([loss.total, float(loss.tokens)], device=self.args.device)
        if world > 1:
            torch.distributed.all_reduce(sums)
        return float(sums[0] / sums[1])


def make_trainer(passes: ForwardPass, corpus: Corpus, run: RunCallback) -> AnswerTrainer:
    """Return the Trainer of a run with its plan and settings."""
    rows, held_out = list(corpus.train.values()), list(corpus.validation.values())
    batch = effective_batch(run.settings, corpus)
    trainer = AnswerTrainer(
        model=passes.tuned,
        args=_arguments(run, evaluates=bool(held_out)),
        train_dataset=StepDataset(rows, batch, run.plan.steps, run.settings.seed),
        eval_dataset=held_out,
        callbacks=[run],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.run, trainer.passes = run, passes
    passes.autocast = trainer.accelerator.autocast
    return trainer


def _arguments(run: RunCallback, *, evaluates: bool) -> TrainingArguments:
    settings, plan, dtype = run.settings, run.plan, compute_dtype()
    warmup_share = 0.0 if settings.scheduler == "constant" else settings.warmup_share
    return TrainingArguments(
        output_dir=str(run.folder / CHECKPOINTS),
        max_steps=plan.steps,
        per_device_train_batch_size=1,
        learning_rate=plan.learning_rate,
        lr_scheduler_type=settings.scheduler,
        lr_scheduler_kwargs={"power": settings.power} if settings.scheduler == "polynomial" else {},
        warmup_steps=max(1, round(warmup_share * plan.steps)) if warmup_share else 0,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim=settings.optimizer,
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        gradient_checkpointing=settings.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        logging_steps=max(1, plan.steps // 1000),
        eval_strategy="steps" if evaluates else "no",
        eval_steps=plan.every,
        save_strategy="steps",
        save_steps=plan.every,
        save_total_limit=settings.keep_checkpoints,
        load_best_model_at_end=evaluates,
        ddp_find_unused_parameters=False,
        disable_tqdm=True,
        report_to=tracked(settings, run.folder),
        run_name=run.folder.name,
        seed=settings.seed,
        use_cpu=not torch.cuda.is_available(),
    )


def _rate_share(warmup: int, after: Callable[[int], float], step: int) -> float:
    """Return the share of the peak rate that a step has; steps count from 0."""
    return (step + 1) / warmup if step < warmup else after(step)


def _random_state() -> list[torch.Tensor]:
    gpu = [torch.cuda.get_rng_state()] if torch.cuda.is_available() else []
    return [torch.get_rng_state(), *gpu]


def _restore(state: list[torch.Tensor]) -> None:
    torch.set_rng_state(state[0])
    if state[1:]:
        torch.cuda.set_rng_state(state[1])

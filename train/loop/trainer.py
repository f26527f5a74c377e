"""transformers' Trainer with our loss, our order of rows and our evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerControl, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from memoirist.train.dataset.corpus import Corpus
from memoirist.train.dataset.optimizer_steps import Plan, effective_batch
from memoirist.train.dataset.order import StepRows, Steps, share
from memoirist.train.dataset.tokenize import Rendered
from memoirist.train.loop.callbacks import Follow
from memoirist.train.loop.checkpoints import CHECKPOINTS
from memoirist.train.loop.forward_pass import Passes
from memoirist.train.loop.memory import Budget, is_out_of_memory
from memoirist.train.model.model_loader import compute_dtype
from memoirist.train.requirements import tracked
from memoirist.train.settings import TrainSettings


class AnswerTrainer(Trainer):  # type: ignore[misc]
    """transformers' Trainer, to which a batch is a whole optimizer step.

    The passes of a step are made here: packed, of as many tokens as fit, divided among the
    processes. So the accumulation may change from step to step, and a step that runs out of memory
    is done again in smaller passes before the optimizer has seen any of it.
    """

    follow: Follow
    passes: Passes
    budget: Budget
    control: TrainerControl

    def get_train_dataloader(self) -> DataLoader[StepRows]:
        """Return the steps in their order; every process sees all of each and takes its share."""
        # A generator of its own: the loader would draw from the one that dropout uses.
        return DataLoader(
            self.train_dataset,
            batch_size=1,
            collate_fn=_only,
            generator=torch.Generator(),
        )

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
        """Return the next step; its tokens are counted already."""
        return list(islice(epoch_iterator, num_batches)), None

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return the schedule, of which no step has the rate 0: the stock warm-up begins there."""
        made = super().create_scheduler(num_training_steps, optimizer)
        rises: list[Callable[[int], float]] = [
            partial(_rate_share, int(self.args.warmup_steps), after) for after in made.lr_lambdas
        ]
        # The rate that the first schedule began from is kept as the peak of this one.
        self.lr_scheduler = LambdaLR(made.optimizer, rises)
        return self.lr_scheduler

    def floating_point_ops(self, inputs: Any) -> int:
        """Return 0: nobody asks for the count."""
        return 0

    def training_step(
        self, model: Any, inputs: StepRows, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Return the mean loss per trained token of a step, whose gradients lie in the weights."""
        model.train()
        world = self.accelerator.num_processes
        rows = share(inputs.rows, self.accelerator.process_index, world)
        chance = _chance()
        while True:
            total, failed = self._learn(rows, inputs.trained)
            told = torch.stack(
                [total, *total.new_tensor([float(failed), float(self.follow.interrupted)])]
            )
            if world > 1:
                torch.distributed.all_reduce(told)
                # Agreed upon: a process that stops alone would leave the others waiting.
                failed, self.follow.stopping = int(told[1]), bool(told[2])
            if not failed:
                break
            model.zero_grad(set_to_none=True)
            self.budget.halve(failed, f"at step {self.state.global_step + 1}")
            _restore(chance)
        if world > 1:
            self._exchange()
        self.follow.tokens += inputs.tokens
        self.follow.trained += inputs.trained
        return told[0] / inputs.trained

    def _learn(self, rows: Sequence[Rendered], trained: int) -> tuple[torch.Tensor, int]:
        """Go through `rows`; return their summed loss and the rows of a pass without memory."""
        total = torch.zeros((), device=self.passes.model.device)
        for chosen in self.passes.bins(rows, self.budget.tokens):
            try:
                total += self.passes.run(
                    chosen, lambda loss: self.accelerator.backward(loss / trained)
                )
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                return total, len(chosen)
        return total, 0

    def _exchange(self) -> None:
        """Add up the gradients of all processes: each loss is a part of the same mean."""
        weights = [weight for weight in self.passes.tuned.parameters() if weight.requires_grad]
        parts = [w.grad if w.grad is not None else torch.zeros_like(w) for w in weights]
        whole = torch.cat([part.flatten() for part in parts])
        torch.distributed.all_reduce(whole)
        sizes = [part.numel() for part in parts]
        for weight, part in zip(weights, torch.split(whole, sizes), strict=True):
            weight.grad = part.view_as(weight)

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
        loss = self.passes.measure(self.eval_dataset[rank::world], self.budget.tokens)
        told = torch.tensor([loss.total, float(loss.tokens)], device=self.args.device)
        if world > 1:
            torch.distributed.all_reduce(told)
        return float(told[0] / told[1])


def make_trainer(
    passes: Passes, corpus: Corpus, run: tuple[Path, Plan, TrainSettings], follow: Follow
) -> AnswerTrainer:
    """Return the Trainer of the run in a folder, with its plan and settings."""
    folder, plan, settings = run
    rows = list(corpus.train.values())
    held_out = list(corpus.validation.values())
    dtype = compute_dtype()
    arguments = TrainingArguments(
        output_dir=str(folder / CHECKPOINTS),
        max_steps=plan.steps,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=1,
        learning_rate=plan.learning_rate,
        lr_scheduler_type=settings.scheduler,
        lr_scheduler_kwargs={"power": settings.power} if settings.scheduler == "polynomial" else {},
        warmup_steps=max(1, round(settings.warmup_share * plan.steps))
        if settings.warmup_share and settings.scheduler != "constant"
        else 0,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim=settings.optimizer,
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        gradient_checkpointing=settings.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        logging_steps=max(1, plan.steps // 1000),
        eval_strategy="steps" if held_out else "no",
        eval_steps=plan.every,
        prediction_loss_only=True,
        save_strategy="steps",
        save_steps=plan.every,
        save_total_limit=settings.keep_checkpoints,
        load_best_model_at_end=bool(held_out),
        metric_for_best_model="eval_loss" if held_out else None,
        greater_is_better=False if held_out else None,
        # Rows are our own, with keys that no model's signature knows.
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        ddp_find_unused_parameters=False,
        disable_tqdm=True,
        report_to=tracked(settings, folder),
        run_name=folder.name,
        seed=settings.seed,
        use_cpu=not torch.cuda.is_available(),
    )
    trainer = AnswerTrainer(
        model=passes.tuned,
        args=arguments,
        train_dataset=Steps(rows, effective_batch(settings, corpus), plan.steps, settings.seed),
        eval_dataset=held_out,
        callbacks=[follow],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.follow, trainer.passes, trainer.budget = follow, passes, follow.budget
    passes.autocast = trainer.accelerator.autocast
    return trainer


def _rate_share(warmup: int, after: Callable[[int], float], step: int) -> float:
    """Return the share of the peak rate that a step has; steps count from 0."""
    return (step + 1) / warmup if step < warmup else after(step)


def _only(steps: list[StepRows]) -> StepRows:
    return steps[0]


def _chance() -> list[torch.Tensor]:
    gpu = [torch.cuda.get_rng_state()] if torch.cuda.is_available() else []
    return [torch.get_rng_state(), *gpu]


def _restore(chance: list[torch.Tensor]) -> None:
    torch.set_rng_state(chance[0])
    if chance[1:]:
        torch.cuda.set_rng_state(chance[1])

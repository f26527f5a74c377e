"""transformers' Trainer with our loss, our order of rows and our evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from operator import itemgetter
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerControl, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from train.dataset.corpus import Corpus
from train.dataset.optimizer_steps import StepDataset, StepRows, effective_batch, process_share
from train.dataset.tokenize import TokenRow
from train.loop.callbacks import RunCallback
from train.loop.checkpoints import CHECKPOINTS
from train.loop.forward_pass import ForwardPass
from train.loop.memory import is_out_of_memory
from train.model.model_loader import compute_dtype
from train.requirements import tracked


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

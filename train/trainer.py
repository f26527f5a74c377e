"""transformers' Trainer with our loss, our order of rows and our evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import Trainer, TrainerControl, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from train.checkpoints import CHECKPOINTS
from train.follow import Follow
from train.models import batch_loss, compute_dtype, measure, pad
from train.order import Order
from train.plan import Plan
from train.ready import tracked
from train.rows import Corpus
from train.settings import TrainSettings
from train.tokens import Rendered


class AnswerTrainer(Trainer):  # type: ignore[misc]
    """transformers' Trainer with the loss of train.models: on answers, per token, padded right."""

    follow: Follow
    order: Order
    control: TrainerControl
    # The loss is divided by the tokens of the whole accumulated batch: every trained token of a
    # step weighs the same, however the batch was cut.
    loss_is_scaled_for_ga = True

    def _get_train_sampler(self, train_dataset: Any = None) -> Order:
        return self.order

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> torch.Tensor:
        """Return the loss of one forward pass, as its part of the step's mean per token."""
        self.follow.tokens += int(inputs["lengths"].sum()) * self.accelerator.num_processes
        loss = batch_loss(model, inputs["input_ids"], inputs["labels"])
        # The count is over all processes and the gradients are averaged over them.
        scaled: torch.Tensor = loss / num_items_in_batch * self.accelerator.num_processes
        return scaled

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measure held-out loss per token; the stock one averages batches of unequal size."""
        loss = measure(self.accelerator.unwrap_model(self.model), self.eval_dataset)
        metrics = {"eval_loss": loss.mean}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics


def make_trainer(
    model: PeftModel, corpus: Corpus, run: tuple[Path, Plan, TrainSettings], follow: Follow
) -> AnswerTrainer:
    """Return the Trainer of the run in a folder, with its plan and settings."""
    folder, plan, settings = run
    rows = list(corpus.train.values())
    held_out = list(corpus.validation.values())
    dtype = compute_dtype()
    arguments = TrainingArguments(
        output_dir=str(folder / CHECKPOINTS),
        max_steps=plan.steps,
        per_device_train_batch_size=plan.micro_batch,
        gradient_accumulation_steps=plan.accumulation,
        learning_rate=plan.learning_rate,
        lr_scheduler_type=settings.scheduler,
        lr_scheduler_kwargs={"power": settings.power} if settings.scheduler == "polynomial" else {},
        warmup_steps=max(1, round(settings.warmup_share * plan.steps))
        if settings.warmup_share
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
        model=model,
        args=arguments,
        data_collator=_collate,
        train_dataset=rows,
        eval_dataset=held_out,
        callbacks=[follow],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.follow = follow
    trainer.order = Order([len(row.input_ids) for row in rows], plan.micro_batch, settings.seed)
    # Asks the Trainer for the token count of the accumulated batch, see `compute_loss`.
    trainer.model_accepts_loss_kwargs = True
    return trainer


def _collate(rows: list[Rendered]) -> dict[str, torch.Tensor]:
    ids, labels = pad(rows, torch.device("cpu"))
    lengths = torch.tensor([len(row.input_ids) for row in rows])
    return {"input_ids": ids, "labels": labels, "lengths": lengths}

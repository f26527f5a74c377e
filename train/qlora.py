"""Train one adapter on a 4-bit base, in a process of its own: read it from top to bottom.

    python -m train.qlora RUN_FOLDER        (or: accelerate launch -m train.qlora RUN_FOLDER)

RUN_FOLDER holds train.json (settings and base) and conversations.jsonl. What comes out:
progress.jsonl while it runs, checkpoints/, then adapter/ (a standard PEFT folder) and, last of
all, result.json: a run without result.json is unfinished and goes on from its last whole
checkpoint when the same command is given again.
"""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
import resource
import shutil
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# Before the libraries are imported: they read these once. The base is on disk, so the hub is
# never needed, and a tokenizer that forks its own threads competes with torch for two cores.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
warnings.filterwarnings("ignore")
# bitsandbytes reports on import that an optional package is absent: the log's last line is what a
# user sees when this process dies.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoTokenizer,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_callback import PrinterCallback

from data.errors import TrainError
from train.base import PreparedBase, read_base
from train.files import write_json
from train.models import batch_loss, compute_dtype, load_base, measure, pad
from train.settings import SMALL, TrainSettings
from train.tokens import IGNORE, Rendered, need_disk, preflight, tokenize

CHECKPOINTS, WHOLE = "checkpoints", "whole.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The figures of one run that follow from its settings and its rows."""

    steps: int
    steps_per_epoch: int
    micro_batch: int
    accumulation: int
    every: int
    learning_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """The rows of a run by conversation id, and the ids that did not fit."""

    train: dict[str, Rendered]
    validation: dict[str, Rendered]
    dropped: tuple[str, ...]
    shortened: int


def main(folder: Path) -> int:
    """Train in `folder` and return the exit code; one line on stderr tells a user's mistake."""
    _end_with_parent()
    try:
        with (folder / "train.lock").open("w") as lock:
            _take(lock.fileno(), folder)
            if not (folder / "result.json").exists():
                return run(folder)
    except TrainError as error:
        write_json(folder / "error.json", {"what": error.what, "next_step": error.next_step})
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def run(folder: Path) -> int:
    """Do the whole training: rows, gate, model, base loss, steps, adapter, result."""
    started = time.monotonic()
    request = json.loads((folder / "train.json").read_text(encoding="utf-8"))
    settings = TrainSettings.model_validate(request["settings"])
    base = read_base(Path(request["base_path"]))
    if base.hash != request["base_hash"]:
        raise TrainError(
            f"the base at {str(base.path)!r} is not the one that this run was started on",
            "start a new run",
        )
    tokenizer = AutoTokenizer.from_pretrained(base.path)
    corpus = read_rows(folder / "conversations.jsonl", tokenizer, settings.max_length)
    preflight(corpus.train, corpus.validation, base.end_id, base.vocabulary)

    # The seed comes before the model: adapter weights are drawn when it is built.
    set_seed(settings.seed)
    model = load_base(base.path, settings.quantisation, _device())
    base_loss = _base_loss(folder, model, corpus)
    model = with_adapter(model, base, settings, tuple(corpus.train.values()))
    # An adapter with its two moments, for the checkpoints that are kept, and room for the last.
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    need_disk(folder, 4 * 12 * trainable)

    width = model.get_input_embeddings().weight.shape[1]
    plan = make_plan(
        settings,
        settings.rate(base.n_parameters, width),
        corpus,
        _largest_micro_batch(model, corpus, settings),
    )
    checkpoint = last_whole_checkpoint(folder / CHECKPOINTS)
    follow = Follow(folder, plan, settings)
    trainer = _trainer(model, corpus, (folder, plan, settings), follow)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if follow.interrupted:
        return 130
    if trainer.is_world_process_zero():
        _finish(folder, trainer, follow, (base_loss, corpus, time.monotonic() - started))
    return 0


def read_rows(path: Path, tokenizer: Any, max_length: int) -> Corpus:
    """Tokenize the train and validation conversations of a run; test rows stay untouched."""
    rows: dict[str, dict[str, Rendered]] = {"train": {}, "validation": {}}
    dropped, shortened = [], 0
    for line in path.read_text(encoding="utf-8").splitlines():
        conversation = json.loads(line)
        if conversation["split"] not in rows:
            continue
        row = tokenize(conversation["messages"], tokenizer, max_length)
        if row is None:
            dropped.append(conversation["id"])
            continue
        shortened += row.shortened > 0
        rows[conversation["split"]][conversation["id"]] = row
    return Corpus(
        train=rows["train"],
        validation=rows["validation"],
        dropped=tuple(dropped),
        shortened=shortened,
    )


def trained_tokens(base: PreparedBase, rows: Sequence[Rendered]) -> list[int]:
    """Return the tokens whose embedding rows are trained beside the adapter.

    Always the ChatML tokens that are new to the base. On a small base all tokens of the answers:
    it has never seen some of them, their rows in the frozen head are as good as random, and an
    adapter on the layers cannot say them. One Chinese exchange on the embedded English base stood
    at 3.1 nats a token after 60 steps without these rows and at 0.0001 with them; 100 rows of an
    English book came to a held-out 4.07 instead of 4.19 (base 4.61).
    """
    tokens = set(base.new_ids)
    if base.n_parameters < SMALL:
        for row in rows:
            tokens.update(label for label in row.labels if label != IGNORE)
    return sorted(tokens)


def with_adapter(
    model: Any, base: PreparedBase, settings: TrainSettings, rows: Sequence[Rendered] = ()
) -> PeftModel:
    """Return `model` with a fresh LoRA on its linear layers and trainable rows of some tokens."""
    token_ids = trained_tokens(base, rows)
    embedding = next(
        name for name, part in model.named_modules() if part is model.get_input_embeddings()
    ).rsplit(".", 1)[-1]
    targets: dict[str, list[int]] = {embedding: token_ids} if token_ids else {}
    head = model.get_output_embeddings()
    if targets and head is not None and head.weight is not model.get_input_embeddings().weight:
        # An untied head has rows of its own; the new end token must learn to be said there.
        targets["lm_head"] = token_ids
    # A fully trained embedding (modules_to_save) would be ten times the adapter on a tiny model
    # and a billion parameters on an 8B one, for the sake of a few rows.
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=settings.target_modules,
        trainable_token_indices=targets or None,
        task_type="CAUSAL_LM",
    )
    # Not prepare_model_for_kbit_training: it turns embeddings and head to float32 (+2 GB on 8B).
    # The one thing needed of it is a gradient that reaches the first adapter.
    model.enable_input_require_grads()
    tuned = get_peft_model(model, config)
    for weight in tuned.parameters():
        if weight.requires_grad:
            # In bfloat16 most AdamW updates round to nothing (70 % of weights never moved).
            weight.data = weight.data.float()
    return tuned


def make_plan(
    settings: TrainSettings, rate: float, corpus: Corpus, largest_micro_batch: int
) -> Plan:
    """Turn epochs and batch sizes into optimizer steps."""
    # A batch larger than the dataset would only be a smaller one under another name.
    effective = min(settings.effective_batch, len(corpus.train))
    world = int(os.environ.get("WORLD_SIZE", "1"))
    share = math.ceil(effective / world)
    micro = min(settings.micro_batch or largest_micro_batch, share)
    while share % micro:
        micro -= 1
    per_epoch = math.ceil(len(corpus.train) / (share * world))
    if settings.epochs is None:
        steps = max(3 * per_epoch, settings.min_steps)
    else:
        steps = max(1, round(settings.epochs * per_epoch))
    return Plan(
        steps=steps,
        steps_per_epoch=per_epoch,
        micro_batch=micro,
        accumulation=share // micro,
        every=settings.save_every or max(1, steps // 10),
        learning_rate=rate,
    )


class Follow(TrainerCallback):  # type: ignore[misc]
    """Write progress, mark whole checkpoints, and end the run when there is nothing to gain."""

    def __init__(self, folder: Path, plan: Plan, settings: TrainSettings) -> None:
        """Follow the run in `folder`; SIGINT and SIGTERM from here on save and stop."""
        self.folder, self.plan, self.settings = folder, plan, settings
        self.interrupted = False
        self.stopped_by = "steps"
        self.tokens = 0
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
        if self.interrupted:
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
            write_json(checkpoint / WHOLE, _sizes(checkpoint))

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


class Order(torch.utils.data.Sampler[int]):
    """Shuffle rows anew every epoch, then sort by length within a few batches to pad little.

    transformers' group_by_length sorts 50 batches at once: a small dataset would be read from
    long to short in every epoch. The order depends on seed and epoch alone, so a resumed run
    reads exactly the rows that it had left.
    """

    def __init__(self, lengths: list[int], batch: int, seed: int) -> None:
        """Take the rows' lengths in tokens and the rows per forward pass."""
        self.lengths, self.batch, self.seed, self.epoch = lengths, batch, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is next; the Trainer calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        """Yield the row numbers of one epoch."""
        chance = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        order = torch.randperm(len(self.lengths), generator=chance).tolist()
        window = 4 * self.batch
        whole, batches = len(order) - len(order) % self.batch, []
        for start in range(0, whole, window):
            near = sorted(order[start : min(start + window, whole)], key=self.lengths.__getitem__)
            batches += [near[at : at + self.batch] for at in range(0, len(near), self.batch)]
        for at in torch.randperm(len(batches), generator=chance).tolist():
            yield from batches[at]
        yield from order[whole:]


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


def last_whole_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint that was written to its end, removing torn ones."""
    whole = []
    for checkpoint in folder.glob("checkpoint-*"):
        try:
            listed = json.loads((checkpoint / WHOLE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            listed = None
        if listed == _sizes(checkpoint):
            whole.append(checkpoint)
        else:
            shutil.rmtree(checkpoint)
    return max(whole, key=lambda path: int(path.name.rsplit("-", 1)[1]), default=None)


def memory_mb() -> float:
    """Return the peak memory of this process in MB: the GPU's when there is one."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)


def _trainer(
    model: PeftModel, corpus: Corpus, run: tuple[Path, Plan, TrainSettings], follow: Follow
) -> AnswerTrainer:
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
        warmup_steps=max(1, round(settings.warmup_share * plan.steps)),
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
        save_total_limit=2,
        load_best_model_at_end=bool(held_out),
        metric_for_best_model="eval_loss" if held_out else None,
        greater_is_better=False if held_out else None,
        # Rows are our own, with keys that no model's signature knows.
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        ddp_find_unused_parameters=False,
        disable_tqdm=True,
        report_to="none",
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


def _largest_micro_batch(model: PeftModel, corpus: Corpus, settings: TrainSettings) -> int:
    """Return how many of the longest rows fit through a forward and a backward pass.

    Probed before training, on a GPU: finding out in the middle of a run changes its batches.
    On a CPU more rows at once are no faster, and 8 rows of 1024 tokens stay within bounds.
    """
    if settings.micro_batch is not None or not torch.cuda.is_available():
        return settings.micro_batch or 8
    longest = sorted(corpus.train.values(), key=lambda row: -len(row.input_ids))
    micro = min(settings.effective_batch, len(longest))
    model.train()
    while micro > 1:
        try:
            ids, labels = pad(longest[:micro], model.device)
            with torch.autocast("cuda", dtype=compute_dtype()):
                torch.autograd.backward(batch_loss(model, ids, labels))
            break
        except torch.cuda.OutOfMemoryError:
            micro //= 2
        finally:
            model.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()
    return micro


def _base_loss(folder: Path, model: Any, corpus: Corpus) -> float | None:
    """Return the held-out loss of the base, measured once for all starts of the run."""
    known = folder / "base_loss.json"
    if not known.exists():
        held_out = corpus.validation.values()
        write_json(known, {"eval_loss": measure(model, held_out).mean if held_out else None})
    loss: float | None = json.loads(known.read_text(encoding="utf-8"))["eval_loss"]
    return loss


def _finish(
    folder: Path, trainer: AnswerTrainer, follow: Follow, facts: tuple[float | None, Corpus, float]
) -> None:
    """Save the adapter under a temporary name, rename it, and write result.json last."""
    base_loss, corpus, seconds = facts
    making, adapter = folder / "adapter.making", folder / "adapter"
    for rest in (making, adapter):
        shutil.rmtree(rest, ignore_errors=True)
    model = trainer.accelerator.unwrap_model(trainer.model)
    model.save_pretrained(making, save_embedding_layers=False)
    making.rename(adapter)
    history = trainer.state.log_history
    # Measured again, on what is saved: a wrongly restored checkpoint would show here.
    held_out = measure(model, corpus.validation.values()).mean if corpus.validation else None
    spent = max(time.monotonic() - follow.started, 1e-9)
    write_json(
        folder / "result.json",
        {
            "steps": trainer.state.global_step,
            "best_step": trainer.state.best_global_step or trainer.state.global_step,
            "stopped_by": follow.stopped_by,
            "train_loss": next((line["loss"] for line in history[::-1] if "loss" in line), None),
            "base_eval_loss": base_loss,
            "eval_loss": held_out,
            "seconds": round(seconds, 2),
            "tokens": follow.tokens,
            "tokens_per_second": round(follow.tokens / spent, 1),
            "peak_memory_mb": memory_mb(),
            "n_train": len(corpus.train),
            "n_validation": len(corpus.validation),
            "shortened": corpus.shortened,
            "dropped": list(corpus.dropped),
            "plan": asdict(follow.plan),
        },
    )


def _sizes(folder: Path) -> dict[str, int]:
    return {
        path.name: path.stat().st_size
        for path in folder.iterdir()
        if path.is_file() and path.name != WHOLE
    }


def _device() -> int | None:
    # One quantised copy per GPU; 4-bit weights cannot be moved afterwards.
    return int(os.environ.get("LOCAL_RANK", "0")) if torch.cuda.is_available() else None


def _take(lock: int, folder: Path) -> None:
    """Take the run's lock, for this process and its GPUs alone."""
    if int(os.environ.get("LOCAL_RANK", "0")):
        return
    for _ in range(50):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # A child whose parent was killed needs a moment to notice.
            time.sleep(0.2)
        else:
            return
    raise TrainError(f"another process trains in {str(folder)!r}", "wait for it or end it")


def _end_with_parent() -> None:
    """Leave when the process that started this one is gone; checkpoints make that harmless."""
    parent = int(os.environ.get("MEMOIRIST_PARENT", "0"))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(3)

    if parent:
        threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

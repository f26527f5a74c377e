"""Train one adapter on a 4-bit base, in a process of its own: read it from top to bottom.

    python -m memoirist.train.qlora RUN_FOLDER
    accelerate launch -m memoirist.train.qlora RUN_FOLDER     (several GPUs)

RUN_FOLDER holds train.json (settings and base) and conversations.jsonl. The run writes
progress.jsonl and checkpoints/, then adapter/ (a standard PEFT folder) and, last of all,
result.json: a run without result.json is unfinished and continues from its last whole checkpoint
when the same command is given again.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, set_seed

from memoirist.data.schema.errors import TrainError
from memoirist.train.dataset.batches import StepPlan, plan_steps
from memoirist.train.dataset.tokenize import Corpus, TokenRow, preflight, read_rows
from memoirist.train.disk import need_disk, write_json
from memoirist.train.loop.forward_pass import ForwardPass
from memoirist.train.loop.launch import end_with_parent, lock_run
from memoirist.train.loop.memory import MemoryBudget, free_memory, is_out_of_memory
from memoirist.train.loop.run_folder import (
    CHECKPOINTS,
    base_of,
    last_whole_checkpoint,
    trained_with,
)
from memoirist.train.loop.trainer import (
    AnswerTrainer,
    RunCallback,
    SampleCallback,
    choose_prompts,
    make_trainer,
    memory_mb,
)
from memoirist.train.model.adapter import fuse_lora, fuse_token_rows, weight_hashes, with_adapter
from memoirist.train.model.model_loader import load_base
from memoirist.train.model.prepared_base import PreparedBase
from memoirist.train.requirements import fitting
from memoirist.train.settings import TrainSettings

# Before the libraries are imported: they read these once. The base is on disk, so the hub is
# never needed, and a tokenizer with threads of its own competes with torch for the cores.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
warnings.filterwarnings("ignore")


# Exit code of a process that is to be started again, with smaller passes.
START_AGAIN = 75


def main(folder: Path) -> int:
    """Train in `folder` and return the exit code; one line on stderr tells a user's mistake."""
    end_with_parent()
    try:
        with (folder / "train.lock").open("w") as lock:
            lock_run(lock.fileno(), folder)
            if not (folder / "result.json").exists():
                return run(folder)
    except TrainError as error:
        write_json(folder / "error.json", {"what": error.what, "next_step": error.next_step})
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def run(folder: Path) -> int:
    """Do the whole training: rows, model, steps, adapter, result; return the exit code."""
    started = time.monotonic()
    settings, base = trained_with(folder), base_of(folder)
    tokenizer = AutoTokenizer.from_pretrained(base.path)
    corpus = read_rows(folder / "conversations.jsonl", tokenizer, settings.max_length)
    preflight(corpus.train, corpus.validation, base.end_id, base.vocabulary)

    # The seed comes before the model: adapter weights are drawn when it is built.
    set_seed(settings.seed)
    with fitting():
        passes = make_forward_pass(base, settings, tuple(corpus.train.values()))
    model = passes.tuned
    untrained = weight_hashes(model)
    # Disk for the kept checkpoints, each an adapter with its two moments, and for the last one.
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    need_disk(folder, (settings.keep_checkpoints + 2) * 12 * trainable)

    callback = RunCallback(*plan_run(folder, passes, base, corpus, settings), settings)
    with fitting():
        trainer = make_trainer(passes, corpus, callback)
    prompts = choose_prompts(folder / "conversations.jsonl", settings)
    trainer.add_callback(SampleCallback(prompts, tokenizer, settings.answer_tokens, callback))
    base_loss = measure_base_loss(folder, trainer)
    # Again: building and trying the model has drawn random numbers.
    set_seed(settings.seed)
    if code := train_steps(folder, trainer):
        return code

    if trainer.is_world_process_zero():
        seconds = round(time.monotonic() - started, 2)
        moved = weight_hashes(model) != untrained
        save_adapter(folder, model)
        result = {**result_of(trainer, corpus), "base_eval_loss": base_loss}
        # Last of all: a run with a result is finished.
        write_json(folder / "result.json", {**result, "moved": moved, "seconds": seconds})
    return 0


def make_forward_pass(
    base: PreparedBase, settings: TrainSettings, rows: Sequence[TokenRow]
) -> ForwardPass:
    """Return the forward pass of the quantised base with a fresh adapter on it."""
    double, attention = settings.double_quantisation, settings.attention
    model = load_base(base.path, settings.quantisation, double=double, attention=attention)
    tuned = with_adapter(model, base, settings, rows)
    fuse_token_rows(tuned)
    if not torch.cuda.is_available():
        fuse_lora(tuned, free_memory() // 4)
    passes = ForwardPass(tuned, settings.packing)
    if settings.packing and not passes.packed:
        sys.stderr.write("this model does not keep packed rows apart: rows are padded instead\n")
    return passes


def plan_run(
    folder: Path, passes: ForwardPass, base: PreparedBase, corpus: Corpus, settings: TrainSettings
) -> tuple[MemoryBudget, StepPlan]:
    """Return the tokens of a pass, and the number of steps, rows and the rate."""
    rows, held_out = list(corpus.train.values()), list(corpus.validation.values())
    # On a CPU more rows at once are no faster, and 8 rows of 1024 tokens need little memory.
    micro_batch = settings.micro_batch or 8
    if settings.micro_batch is None and torch.cuda.is_available():
        micro_batch = passes.largest_micro_batch(rows, settings.effective_batch)
    # The width of the layers: OPT's embedding may be narrower.
    width = passes.model.config.get_text_config().hidden_size
    plan = plan_steps(settings, settings.rate(base.n_parameters, width), corpus, micro_batch)
    longest = max(len(row.input_ids) for row in [*rows, *held_out])
    return MemoryBudget.of_run(folder, plan.micro_batch, longest), plan


def measure_base_loss(folder: Path, trainer: AnswerTrainer) -> float | None:
    """Return the held-out loss of the base, measured once for all starts of the run.

    A fresh adapter changes nothing, so it need not be switched off.
    """
    path = folder / "base_loss.json"
    if path.exists():
        loss: float | None = json.loads(path.read_text(encoding="utf-8"))["eval_loss"]
        return loss
    loss = trainer.held_out_loss() if trainer.eval_dataset else None
    if trainer.is_world_process_zero():
        write_json(path, {"eval_loss": loss})
    return loss


def train_steps(folder: Path, trainer: AnswerTrainer) -> int:
    """Train from the last whole checkpoint on; return 0 at the end, else the exit code."""
    checkpoint = last_whole_checkpoint(folder / CHECKPOINTS)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        # Outside of a step's passes: the optimizer may have moved half of the weights.
        budget = trainer.run.budget
        budget.halve(budget.micro_batch, "between two steps")
        return start_again(folder)
    return 130 if trainer.run.interrupted else 0


def start_again(folder: Path) -> int:
    """Continue from the last whole checkpoint in a process whose memory is empty.

    A single process is replaced, unnoticed by its parent; several end, and whoever launched them
    starts them again.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return START_AGAIN
    sys.stderr.flush()
    return os.execv(  # noqa: S606 - this very program
        sys.executable, [sys.executable, "-m", "memoirist.train.qlora", str(folder)]
    )


def save_adapter(folder: Path, model: Any) -> None:
    """Save the adapter under a temporary name and rename it."""
    temporary, adapter = folder / "adapter.making", folder / "adapter"
    for rest in (temporary, adapter):
        shutil.rmtree(rest, ignore_errors=True)
    model.save_pretrained(temporary, save_embedding_layers=False)
    temporary.rename(adapter)


def result_of(trainer: AnswerTrainer, corpus: Corpus) -> dict[str, Any]:
    """Return the figures of a finished training for result.json."""
    callback, state = trainer.run, trainer.state
    seconds = max(time.monotonic() - callback.started, 1e-9)
    held_out = list(corpus.validation.values())
    # Measured again, on what is saved: a wrongly restored checkpoint would show here.
    loss = trainer.passes.measure(held_out, callback.budget.tokens).mean if held_out else None
    losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
    return {
        "steps": state.global_step,
        "best_step": state.best_global_step or state.global_step,
        "stopped_by": callback.stopped_by,
        "train_loss": losses[-1] if losses else None,
        "eval_loss": loss,
        "tokens": callback.tokens,
        "trained_tokens": callback.trained,
        "tokens_per_second": round(callback.tokens / seconds, 1),
        "peak_memory_mb": memory_mb(),
        "n_train": len(corpus.train),
        "n_validation": len(corpus.validation),
        "shortened": corpus.shortened,
        "dropped": list(corpus.dropped),
        "notes": callback.budget.notes,
        "plan": asdict(callback.plan),
    }


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

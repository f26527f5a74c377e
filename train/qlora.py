"""Train one adapter on a 4-bit base, in a process of its own: read it from top to bottom.

    python -m memoirist.train.qlora RUN_FOLDER
    accelerate launch -m memoirist.train.qlora RUN_FOLDER     (several GPUs)

RUN_FOLDER holds train.json (settings and base) and conversations.jsonl. What comes out:
progress.jsonl while it runs, checkpoints/, then adapter/ (a standard PEFT folder) and, last of
all, result.json: a run without result.json is unfinished and goes on from its last whole
checkpoint when the same command is given again.
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
from memoirist.train.atomic_files import write_json
from memoirist.train.dataset.corpus import Corpus, read_rows
from memoirist.train.dataset.gate import preflight
from memoirist.train.dataset.optimizer_steps import make_plan
from memoirist.train.dataset.tokenize import Rendered, need_disk
from memoirist.train.loop.answers import Answers, choose
from memoirist.train.loop.callbacks import Follow, memory_mb
from memoirist.train.loop.checkpoints import CHECKPOINTS, last_whole_checkpoint
from memoirist.train.loop.forward_pass import Passes
from memoirist.train.loop.free_memory import free_memory
from memoirist.train.loop.memory import Budget, is_out_of_memory
from memoirist.train.loop.probe import largest_micro_batch
from memoirist.train.loop.process import end_with_parent, gpu, take
from memoirist.train.loop.trainer import AnswerTrainer, make_trainer
from memoirist.train.model.adapter import marks_of, with_adapter
from memoirist.train.model.fused_lora import fuse
from memoirist.train.model.model_loader import load_base
from memoirist.train.model.prepared_base import PreparedBase, read_base
from memoirist.train.model.token_rows import lighten
from memoirist.train.requirements import fitting
from memoirist.train.settings import TrainSettings

# Before the libraries are imported: they read these once. The base is on disk, so the hub is
# never needed, and a tokenizer that forks its own threads competes with torch for two cores.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
warnings.filterwarnings("ignore")


# Exit code of a process that wants to be started again, with less in memory at once.
AGAIN = 75


def main(folder: Path) -> int:
    """Train in `folder` and return the exit code; one line on stderr tells a user's mistake."""
    end_with_parent()
    try:
        with (folder / "train.lock").open("w") as lock:
            take(lock.fileno(), folder)
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
    settings = TrainSettings.model_validate(request["settings"]).resolved()
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
    rows = tuple(corpus.train.values())
    with fitting():
        passes = make_passes(made(base, settings, rows), settings)
    fresh = marks_of(passes.tuned)
    # An adapter with its two moments, for the checkpoints that are kept, and room for the last.
    trainable = sum(weight.numel() for weight in passes.tuned.parameters() if weight.requires_grad)
    need_disk(folder, (settings.keep_checkpoints + 2) * 12 * trainable)

    # Of the layers: OPT's embedding may be narrower than they are.
    width = passes.model.config.get_text_config().hidden_size
    plan = make_plan(
        settings,
        settings.rate(base.n_parameters, width),
        corpus,
        largest_micro_batch(passes, rows, settings),
    )
    longest = max(len(row.input_ids) for row in [*rows, *corpus.validation.values()])
    budget = Budget.of_run(folder, plan.micro_batch, longest)
    checkpoint = last_whole_checkpoint(folder / CHECKPOINTS)
    follow = Follow(budget, plan, settings)
    with fitting():
        trainer = make_trainer(passes, corpus, (folder, plan, settings), follow)
    prompts = choose(folder / "conversations.jsonl", settings)
    trainer.add_callback(Answers(prompts, tokenizer, settings.answer_tokens, follow))
    base_loss = _base_loss(folder, trainer)
    # Once more: what was tried out on the model has drawn numbers.
    set_seed(settings.seed)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        # Outside of a step's passes: the optimizer may have moved half of the weights.
        budget.halve(budget.micro_batch, "between two steps")
        return start_again(folder)
    if follow.interrupted:
        return 130
    if trainer.is_world_process_zero():
        moved = marks_of(trainer.accelerator.unwrap_model(trainer.model)) != fresh
        _finish(folder, trainer, follow, (base_loss, corpus, time.monotonic() - started, moved))
    return 0


def start_again(folder: Path) -> int:
    """Go on from the last whole checkpoint in a process whose memory is empty.

    One process becomes the new one, and its parent notices nothing; several end, and whoever
    launched them starts them again.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return AGAIN
    sys.stderr.flush()
    return os.execv(  # noqa: S606 - this very program
        sys.executable, [sys.executable, "-m", "memoirist.train.qlora", str(folder)]
    )


def made(base: PreparedBase, settings: TrainSettings, rows: Sequence[Rendered]) -> Any:
    """Return the base, held as the settings say, with a fresh adapter on it."""
    double, attention = settings.double_quantisation, settings.attention
    model = load_base(base.path, settings.quantisation, gpu(), double=double, attention=attention)
    return with_adapter(model, base, settings, rows)


def make_passes(tuned: Any, settings: TrainSettings) -> Passes:
    """Return how rows go through the model with its adapter, and say what it does not allow."""
    lighten(tuned)
    if not torch.cuda.is_available():
        fuse(tuned, free_memory() // 4)
    passes = Passes(tuned, settings.packing)
    if settings.packing and not passes.packed:
        sys.stderr.write("this model does not keep packed rows apart: rows are padded instead\n")
    return passes


def _base_loss(folder: Path, trainer: AnswerTrainer) -> float | None:
    """Return the held-out loss of the base, measured once for all starts of the run.

    A fresh adapter changes nothing, so the base needs no passes of its own.
    """
    known = folder / "base_loss.json"
    if not known.exists():
        found = trainer.held_out_loss() if trainer.eval_dataset else None
        if not trainer.is_world_process_zero():
            return found
        write_json(known, {"eval_loss": found})
    loss: float | None = json.loads(known.read_text(encoding="utf-8"))["eval_loss"]
    return loss


def _finish(
    folder: Path,
    trainer: AnswerTrainer,
    follow: Follow,
    facts: tuple[float | None, Corpus, float, bool],
) -> None:
    """Save the adapter under a temporary name, rename it, and write result.json last."""
    base_loss, corpus, seconds, moved = facts
    making, adapter = folder / "adapter.making", folder / "adapter"
    for rest in (making, adapter):
        shutil.rmtree(rest, ignore_errors=True)
    model = trainer.accelerator.unwrap_model(trainer.model)
    model.save_pretrained(making, save_embedding_layers=False)
    making.rename(adapter)
    history = trainer.state.log_history
    # Measured again, on what is saved: a wrongly restored checkpoint would show here.
    kept = list(corpus.validation.values())
    held_out = trainer.passes.measure(kept, trainer.budget.tokens).mean if kept else None
    spent = max(time.monotonic() - follow.started, 1e-9)
    write_json(
        folder / "result.json",
        {
            "steps": trainer.state.global_step,
            "best_step": trainer.state.best_global_step or trainer.state.global_step,
            "moved": moved,
            "stopped_by": follow.stopped_by,
            "train_loss": next((line["loss"] for line in history[::-1] if "loss" in line), None),
            "base_eval_loss": base_loss,
            "eval_loss": held_out,
            "seconds": round(seconds, 2),
            "tokens": follow.tokens,
            "trained_tokens": follow.trained,
            "tokens_per_second": round(follow.tokens / spent, 1),
            "peak_memory_mb": memory_mb(),
            "n_train": len(corpus.train),
            "n_validation": len(corpus.validation),
            "shortened": corpus.shortened,
            "dropped": list(corpus.dropped),
            "notes": follow.budget.notes,
            "plan": asdict(follow.plan),
        },
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

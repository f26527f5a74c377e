"""Trained tokens per second, held-out loss and memory beside the usual recipe and trl, on a CPU.

The same base, rows, steps, rate, rank and seed for all; each is a process of its own, and only its
steps are measured, in seconds of CPU time (the machine may be busy) and of the clock. A trained
token is one of an answer, whatever else a recipe trains on. Held-out loss is measured here, by
one program, on what each has saved. trl comes from .venv-bench where it is made (peers.txt).
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
PEERS = Path(os.environ.get("MEMOIRIST_BENCH_PYTHON", ROOT / ".venv-bench/bin/python"))
WAYS = ("plain", "trl", "trl-packed")
BATCH, SEED = 8, 42


@dataclass(frozen=True)
class Case:
    """One base and how long it is trained."""

    name: str
    base: str
    epochs: int
    rate: float


def main(only: str = "") -> None:
    """Print one line for each way and base, or for the bases whose name holds `only`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = [
            Case("embedded base, 4 M", "tiny", 2, 2e-3),
            Case("random Llama, 43 M", str(_random_llama(folder / "random")), 1, 1e-3),
        ]
        for case in cases:
            if only not in case.name:
                continue
            _compare(case, folder / case.name.replace(" ", "-"))


def _compare(case: Case, folder: Path) -> None:
    from transformers import AutoTokenizer

    from memoirist.train.dataset.batches import trained_count
    from memoirist.train.dataset.tokenize import tokenize
    from memoirist.train.model.prepared_base import prepare_base

    base = prepare_base(case.base, folder / "bases")
    tokenizer = AutoTokenizer.from_pretrained(base.path)
    rows = list(pairs())
    held, train = rows[:8], rows[8:]
    made = [tokenize(row, tokenizer, 2048) for row in train]
    kept = [row for row in made if row is not None]
    per_epoch = trained_count(kept)
    steps = case.epochs * len(train) // BATCH
    folder.mkdir(parents=True, exist_ok=True)
    _tell(
        f"{case.name}: {len(train)} rows of {min(len(r.input_ids) for r in kept)} to"
        f" {max(len(r.input_ids) for r in kept)} tokens, {per_epoch} trained an epoch,"
        f" {steps} steps of {BATCH} rows"
    )
    asked = {
        "base": str(base.path),
        "rows": train,
        "steps": steps,
        "epochs": case.epochs,
        "batch": BATCH,
        "rate": case.rate,
        "warmup": max(1, round(0.03 * steps)),
        "rank": 16,
        "alpha": 32,
        "seed": SEED,
        "pack": sum(len(r.input_ids) for r in kept) // len(kept) * BATCH,
    }
    ways = ["memoirist", *(way for way in WAYS if way == "plain" or PEERS.exists())]
    told = {way: _run(way, folder / way, asked) for way in ways}
    for way, figures in told.items():
        tokens = per_epoch * case.epochs * (figures["steps"] - 1) / steps
        figures["per_cpu_second"] = tokens / figures["cpu_seconds"]
        figures["per_second"] = tokens / figures["wall_seconds"]
        figures["loss"] = _held_out(base.path, folder / way / "adapter", held)
    ours = told["memoirist"]
    for way, figures in told.items():
        _tell(
            f"  {way:<11} {figures['per_cpu_second']:7.0f} trained tokens a CPU second"
            f" ({ours['per_cpu_second'] / figures['per_cpu_second']:.2f} x),"
            f" {figures['per_second']:7.0f} a second, held-out loss {figures['loss']:.3f},"
            f" peak {figures['peak_mb']:.0f} MB"
        )


def _run(way: str, folder: Path, asked: dict[str, Any]) -> dict[str, Any]:
    folder.mkdir()
    asked = {**asked, "scratch": str(folder / "scratch")}
    (folder / "rival.json").write_text(json.dumps(asked), "utf-8")
    script = Path(__file__).with_name("rival_training.py")
    python = sys.executable if way in ("memoirist", "plain") else str(PEERS)
    command = [python, str(script), way, str(folder)]
    if way == "memoirist":
        command = [python, "-m", "tests.benchmarks.training", "ours", str(folder)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{way} failed:\n{done.stderr[-3000:]}")
    told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return told


def ours(folder: Path) -> None:
    """Train in `folder` by our own program, its steps measured as those of the others."""
    import torch

    import memoirist.train.qlora as program
    from memoirist.train.model.prepared_base import read_base
    from memoirist.train.settings import TrainSettings
    from tests.benchmarks.rival_training import Clock

    asked = json.loads((folder / "rival.json").read_text("utf-8"))
    base = read_base(Path(asked["base"]))
    settings = TrainSettings(
        base_model=asked["base"],
        epochs=asked["epochs"],
        learning_rate=asked["rate"],
        effective_batch=asked["batch"],
        max_length=2048,
        save_every=asked["steps"] + 1,
        answers_per_save=0,
        stop_at_loss=None,
        seed=asked["seed"],
    )
    lines = [
        {"id": str(number), "split": "train", "messages": row}
        for number, row in enumerate(asked["rows"])
    ]
    (folder / "conversations.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    request = {
        "settings": settings.model_dump(),
        "base_path": asked["base"],
        "base_hash": base.hash,
    }
    (folder / "train.json").write_text(json.dumps(request), "utf-8")
    clock = Clock()
    make = program.make_trainer

    def clocked(*arguments: Any) -> Any:
        trainer = make(*arguments)
        trainer.add_callback(clock)
        return trainer

    program.make_trainer = clocked
    if program.run(folder) or torch.cuda.is_available():
        sys.exit("the run did not end, or not on a CPU")
    result = json.loads((folder / "result.json").read_text("utf-8"))
    told = {
        "cpu_seconds": clock.cpu,
        "wall_seconds": clock.wall,
        "steps": result["steps"],
        "peak_mb": result["peak_memory_mb"],
    }
    sys.stdout.write(json.dumps(told) + "\n")


def _held_out(base: Path, adapter: Path, rows: list[list[dict[str, str]]]) -> float:
    from peft import PeftModel
    from transformers import AutoTokenizer

    from memoirist.train.dataset.tokenize import tokenize
    from memoirist.train.inference.batch_inference import measure
    from memoirist.train.model.model_loader import load_base

    tokenizer = AutoTokenizer.from_pretrained(base)
    made = [tokenize(row, tokenizer, 2048) for row in rows]
    model = PeftModel.from_pretrained(load_base(base, "nf4"), adapter)
    return measure(model, [row for row in made if row is not None]).mean


def pairs() -> Iterator[list[dict[str, str]]]:
    """Yield pairs of the bundled memoir: its paragraphs in order, joined to uneven lengths."""
    text = (ROOT / "data" / "samples" / "memoir.md").read_text("utf-8")
    paragraphs = [p for p in text.split("\n\n") if len(p.split()) > 12 and p[0] not in "#[>"]
    chance, answers, joined = random.Random(SEED), list[str](), list[str]()
    wanted = 80.0
    for paragraph in paragraphs:
        joined.append(paragraph)
        if sum(len(p.split()) for p in joined) >= wanted:
            answers.append("\n\n".join(joined))
            joined, wanted = [], min(350, chance.lognormvariate(4.7, 0.7))
    chance.shuffle(answers)
    for number, answer in enumerate(answers[: len(answers) // BATCH * BATCH]):
        question = f"Tell me about {' '.join(answer.split()[2:5])}, part {number}."
        yield [
            {"role": "system", "content": "You are Edith Thackwray."},
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]


def _random_llama(folder: Path) -> Path:
    """Write a random Llama with 32,768 tokens, of which the embedded tokenizer knows 4,080."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from memoirist.train.model.prepared_base import TINY

    torch.manual_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    config = LlamaConfig(
        vocab_size=32768,
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        ours(Path(sys.argv[2]))
    else:
        main(*sys.argv[1:])

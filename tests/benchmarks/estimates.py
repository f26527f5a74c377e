"""How far the estimate of memory and time is off, on children that really train.

    python -m tests.benchmarks.estimates [NAME...]

Two bases, the embedded one and a random Llama of 60 million parameters, under settings that move
each part of the estimate. Prints a Markdown table, from which
the constants of train/requirements.py come.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from memoirist.data.schema.records import Conversation, Split
from memoirist.flows.planning.training_estimate import training_work
from memoirist.train.loop.launch import train
from memoirist.train.model.prepared_base import TINY, PreparedBase, prepare_base
from memoirist.train.requirements import estimate, shape_of, this_machine
from memoirist.train.settings import TrainSettings
from memoirist.train.token_stats import preview

# isort: split


WORDS = "the mill was old and my father stood there by the river when she came back".split()
# Name: base, words of an answer, settings.
CASES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "tiny, short rows": ("tiny", 40, {}),
    "tiny, long rows": ("tiny", 300, {}),
    "tiny, padded, 4 rows": ("tiny", 300, {"micro_batch": 4, "packing": False}),
    "tiny, checkpointing": ("tiny", 300, {"gradient_checkpointing": True}),
    "60M, 1 row": ("llama", 300, {"micro_batch": 1}),
    "60M, 4 rows": ("llama", 300, {"micro_batch": 4}),
    "60M, 4 rows, checkpointing": (
        "llama",
        300,
        {"micro_batch": 4, "gradient_checkpointing": True},
    ),
    "60M, not quantised": ("llama", 300, {"micro_batch": 4, "quantisation": "none"}),
    "60M, rank 64, 8-bit": (
        "llama",
        100,
        {"micro_batch": 2, "rank": 64, "alpha": 64, "quantisation": "int8"},
    ),
}


def llama(folder: Path) -> Path:
    """Write a random Llama of 60 million parameters with the embedded base's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    config = LlamaConfig(
        vocab_size=32_000,
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=8,
        num_attention_heads=8,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def rows(n_words: int) -> list[Conversation]:
    """Return 18 conversations whose answers have `n_words` words; two are held out."""
    draw = random.Random(n_words)
    splits: tuple[Split, ...] = (*("train",) * 16, *("validation",) * 2)
    return [
        Conversation(
            id=f"c{n}",
            dataset_id="d",
            split=split,
            pair_ids=(),
            messages=[
                {"role": "user", "content": f"What of number {n}?"},
                {"role": "assistant", "content": " ".join(draw.choices(WORDS, k=n_words))},
            ],
            n_tokens=0,
        )
        for n, split in enumerate(splits)
    ]


def measure(base: PreparedBase, n_words: int, chosen: dict[str, Any], folder: Path) -> str:
    """Train, and return the cells of estimate and measurement."""
    told = {"epochs": 1, "save_every": 2, "answers_per_save": 0, **chosen}
    settings = TrainSettings.model_validate(told)
    conversations = rows(n_words)
    plan = preview(conversations, base, settings).plan
    shape = shape_of(str(base.path))
    found = estimate(shape, settings, training_work(plan, settings), this_machine(shape.width))
    started = time.monotonic()
    result = train(folder, conversations, base, settings)
    seconds = time.monotonic() - started
    peak, guess = result.peak_memory_mb * 2**20 / 1e6, found.memory_bytes / 1e6
    low, high = found.seconds
    return (
        f"{guess:,.0f} | {peak:,.0f} | {100 * (guess / peak - 1):+.0f} % |"
        f" {low:.0f}-{high:.0f} | {seconds:.0f} | {result.tokens_per_second:,.0f}"
    )


def main(wanted: list[str]) -> None:
    """Print the table."""
    out = sys.stdout.write
    out(
        "| case | estimate MB | peak MB | off | estimate s | took s | tokens/s |\n|---|---|---|---|"
    )
    out("---|---|---|\n")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        bases = {
            "tiny": prepare_base("tiny", place / "bases"),
            "llama": prepare_base(str(llama(place / "llama")), place / "bases"),
        }
        for number, (case, (base, n_words, chosen)) in enumerate(CASES.items()):
            if wanted and not any(each in case for each in wanted):
                continue
            cells = measure(bases[base], n_words, chosen, place / f"run{number}")
            out(f"| {case} | {cells} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])

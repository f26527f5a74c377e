"""Train as others do, on the rows and the base of `tests.benchmarks.training`: stands alone.

`python rival_training.py plain|trl|trl-packed FOLDER` reads FOLDER/rival.json, saves the adapter in
FOLDER/adapter and prints one JSON line. `plain` is the recipe most guides give: transformers'
Trainer, padded to the longest row of the batch, all tokens trained, whole logits, embedding and
head trained for the new tokens. `trl` is SFTTrainer with answers alone trained and rows flattened
without padding, `trl-packed` with its best-fit packing on top. trl 1.16 reads the bias of the head
and finds none on peft's trainable rows: it trains LoRA alone, which is less work than ours.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
warnings.filterwarnings("ignore")

import torch  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)


class Clock(TrainerCallback):
    """Measure the steps alone, from the second on: the first one allocates and compiles."""

    def __init__(self) -> None:
        self.cpu = self.wall = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 1:
            self.cpu, self.wall = -time.process_time(), -time.monotonic()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.cpu += time.process_time()
        self.wall += time.monotonic()


def main(way: str, folder: Path) -> None:
    asked = json.loads((folder / "rival.json").read_text("utf-8"))
    set_seed(asked["seed"])
    tokenizer = AutoTokenizer.from_pretrained(asked["base"])
    model = AutoModelForCausalLM.from_pretrained(
        asked["base"],
        dtype=torch.float32,
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        ),
    )
    for module in model.modules():
        # Else the first evaluation repacks the weights, and no gradient passes them any more.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    clock = Clock()
    made = (_plain if way == "plain" else _trl)(way, model, tokenizer, asked)
    made.add_callback(clock)
    made.train()
    made.model.save_pretrained(folder / "adapter")
    told = {
        "cpu_seconds": clock.cpu,
        "wall_seconds": clock.wall,
        "steps": made.state.global_step,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    sys.stdout.write("\n" + json.dumps(told) + "\n")


def _arguments(asked: dict[str, Any], folder: str) -> dict[str, Any]:
    return {
        "output_dir": folder,
        "max_steps": asked["steps"],
        "per_device_train_batch_size": asked["batch"],
        "learning_rate": asked["rate"],
        "lr_scheduler_type": "cosine",
        "warmup_steps": asked["warmup"],
        "optim": "adamw_torch",
        "logging_steps": 10**6,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "seed": asked["seed"],
    }


def _plain(way: str, model: Any, tokenizer: Any, asked: dict[str, Any]) -> Trainer:
    config = LoraConfig(
        r=asked["rank"],
        lora_alpha=asked["alpha"],
        target_modules="all-linear",
        modules_to_save=["embed_tokens", "lm_head"],
        ensure_weight_tying=bool(model.config.tie_word_embeddings),
        task_type="CAUSAL_LM",
    )
    model.enable_input_require_grads()
    rows = [
        tokenizer.apply_chat_template(row, tokenize=True, return_dict=True)["input_ids"]
        for row in asked["rows"]
    ]

    def collate(batch: list[list[int]]) -> dict[str, torch.Tensor]:
        longest = max(map(len, batch))
        fill = [[0] * (longest - len(ids)) for ids in batch]
        return {
            "input_ids": torch.tensor([ids + f for ids, f in zip(batch, fill, strict=True)]),
            "attention_mask": torch.tensor(
                [[1] * len(ids) + f for ids, f in zip(batch, fill, strict=True)]
            ),
            "labels": torch.tensor(
                [ids + [-100] * len(f) for ids, f in zip(batch, fill, strict=True)]
            ),
        }

    return Trainer(
        model=get_peft_model(model, config),
        args=TrainingArguments(**_arguments(asked, asked["scratch"]), remove_unused_columns=False),
        train_dataset=rows,
        data_collator=collate,
    )


def _trl(way: str, model: Any, tokenizer: Any, asked: dict[str, Any]) -> Any:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    packed = way == "trl-packed"
    arguments = _arguments(asked, asked["scratch"])
    if packed:
        # A pack is as long as the rows of a step are together, on the mean.
        arguments["per_device_train_batch_size"] = 1
    config = LoraConfig(
        r=asked["rank"],
        lora_alpha=asked["alpha"],
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return SFTTrainer(
        model=model,
        args=SFTConfig(
            **arguments,
            max_length=asked["pack"] if packed else None,
            packing=packed,
            padding_free=True,
            assistant_only_loss=True,
            gradient_checkpointing=False,
            shuffle_dataset=True,
        ),
        train_dataset=Dataset.from_list([{"messages": row} for row in asked["rows"]]),
        processing_class=tokenizer,
        peft_config=config,
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

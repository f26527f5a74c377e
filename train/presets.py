"""Presets of training by memory, and the names that its settings take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Preset = Literal["cpu", "8gb", "12gb", "24gb", "80gb"]
Quantisation = Literal["nf4", "fp4", "int8", "none"]
Scheduler = Literal[
    "linear", "constant", "constant_with_warmup", "cosine", "inverse_sqrt", "polynomial"
]
Template = Literal["chatml", "native"]
Attention = Literal["auto", "sdpa", "eager", "flash_attention_2"]
Tracker = Literal["none", "tensorboard", "wandb", "mlflow", "trackio"]

# Sized by train/estimate.py for a base of 8 billion parameters in NF4 with a vocabulary of 128,000:
# 7 GB under `8gb`, 9 under `12gb`, 13 under `24gb` (14 billion: 19), 29 under `80gb` (14 billion:
# 41); a base of 0.6 billion takes 7 GB under `cpu`. Explicit keys win.
PRESETS: Mapping[Preset, Mapping[str, Any]] = {
    "cpu": {
        "quantisation": "nf4",
        "micro_batch": 2,  # many rows at once are no faster there
        "max_length": 512,
        "gradient_checkpointing": False,
        "optimizer": "adamw_torch",
    },
    "8gb": {
        "quantisation": "nf4",
        "micro_batch": 1,
        "max_length": 512,
        "gradient_checkpointing": True,
        "optimizer": "paged_adamw_8bit",
    },
    "12gb": {
        "quantisation": "nf4",
        "micro_batch": 2,
        "max_length": 1024,
        "gradient_checkpointing": True,
        "optimizer": "paged_adamw_8bit",
    },
    "24gb": {
        "quantisation": "nf4",
        "micro_batch": 4,
        "max_length": 2048,
        "gradient_checkpointing": True,
        "optimizer": "adamw_torch",
    },
    "80gb": {
        "quantisation": "nf4",
        "micro_batch": 8,
        "max_length": 4096,
        "gradient_checkpointing": True,
        "optimizer": "adamw_torch_fused",
    },
}

# Transformers' optimizers that need no further library, each seen to step on a CPU with
# transformers 5.23 and bitsandbytes 0.50.2, and the bytes of state that each keeps for a trained
# weight: two moments of 4 bytes, or of 1 where they are 8-bit, one where there is one.
OPTIMIZERS: Mapping[str, float] = {
    "adamw_torch": 8,
    "adamw_torch_fused": 8,
    "adamw_8bit": 2,
    "adamw_bnb_8bit": 2,
    "paged_adamw_32bit": 8,
    "paged_adamw_8bit": 2,
    "ademamix": 12,
    "ademamix_8bit": 3,
    "paged_ademamix_32bit": 12,
    "paged_ademamix_8bit": 3,
    "lion_32bit": 4,
    "lion_8bit": 1,
    "paged_lion_32bit": 4,
    "paged_lion_8bit": 1,
    "adafactor": 0.1,
    "adagrad": 4,
    "rmsprop": 4,
    "rmsprop_bnb": 4,
    "rmsprop_bnb_8bit": 1,
    "rmsprop_bnb_32bit": 4,
    "sgd": 0,
}

# Keys that leave the trained weights as they are: a run goes on when one of them changes. The
# micro-batch is decided by a machine's memory, and a preset counts by the keys that it sets.
WITHOUT_EFFECT = frozenset(
    {
        "base_model",
        "preset",
        "micro_batch",
        "gradient_checkpointing",
        "tracker",
        "prompts",
        "answers_per_save",
        "answer_tokens",
        "keep_checkpoints",
        "packing",
        "gpus",
    }
)

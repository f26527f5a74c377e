"""Presets of training by memory, and the values that its settings take."""

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


def _preset(micro_batch: int, max_length: int, checkpointing: bool, optimizer: str) -> Any:
    return {
        "quantisation": "nf4",
        "micro_batch": micro_batch,
        "max_length": max_length,
        "gradient_checkpointing": checkpointing,
        "optimizer": optimizer,
    }


# Sized by train/resource_estimate.py for a base of 8 billion parameters in NF4 with a vocabulary of
# 128,000: 7 GB under `8gb`, 9 under `12gb`, 13 under `24gb` (14 billion: 19), 29 under `80gb` (14
# billion: 41); a base of 0.6 billion takes 7 GB under `cpu`. Keys that the user gives win.
PRESETS: Mapping[Preset, Mapping[str, Any]] = {
    "cpu": _preset(2, 512, False, "adamw_torch"),  # on a CPU more rows at once are no faster
    "8gb": _preset(1, 512, True, "paged_adamw_8bit"),
    "12gb": _preset(2, 1024, True, "paged_adamw_8bit"),
    "24gb": _preset(4, 2048, True, "adamw_torch"),
    "80gb": _preset(8, 4096, True, "adamw_torch_fused"),
}

# Transformers' optimizers that need no further library, each tried on a CPU with transformers 5.23
# and bitsandbytes 0.50.2, by the bytes of state that they keep for a trained weight: two moments of
# 4 bytes, or of 1 in the 8-bit ones; some keep a single moment.
OPTIMIZERS: Mapping[str, float] = {
    name: state_bytes
    for state_bytes, names in (
        (8, "adamw_torch adamw_torch_fused paged_adamw_32bit"),
        (2, "adamw_8bit adamw_bnb_8bit paged_adamw_8bit"),
        (12, "ademamix paged_ademamix_32bit"),
        (3, "ademamix_8bit paged_ademamix_8bit"),
        (4, "lion_32bit paged_lion_32bit adagrad rmsprop rmsprop_bnb rmsprop_bnb_32bit"),
        (1, "lion_8bit paged_lion_8bit rmsprop_bnb_8bit"),
        (0.1, "adafactor"),
        (0, "sgd"),
    )
    for name in names.split()
}

# Keys that leave the trained weights as they are: a run continues when one of them changes. The
# micro-batch depends on a machine's memory, and a preset counts by the keys that it sets.
WITHOUT_EFFECT = frozenset(
    "base_model preset micro_batch gradient_checkpointing tracker prompts answers_per_save "
    "answer_tokens keep_checkpoints packing gpus".split()
)

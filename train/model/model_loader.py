"""Load a base, with or without an adapter, as it is trained, merged and evaluated."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from memoirist.train.settings import Attention, Quantisation, TrainSettings

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


def quiet() -> None:
    """Silence the libraries: what matters reaches the user as progress or as an error."""
    # Of calls that the libraries make of one another; the tests check ours.
    for library in ("transformers", "peft", "bitsandbytes", "accelerate", "torch"):
        warnings.filterwarnings("ignore", module=rf"{library}(\.|$)")
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def compute_dtype() -> torch.dtype:
    """Return the type in which 4-bit weights are multiplied on this machine.

    float32 on a CPU: on the tiny base bfloat16 was not measurably faster, and the merged float32
    model then repeats the trained one to 1e-6. fp16 on GPUs before Ampere, which emulate bfloat16.
    """
    if not torch.cuda.is_available():
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability() >= (8, 0) else torch.float16


def load_base(
    path: Path,
    quantisation: Quantisation,
    *,
    double: bool = True,
    attention: Attention = "auto",
    dtype: torch.dtype | None = None,
) -> PreTrainedModel:
    """Load a prepared base or a merged model on this process's GPU, if there is one.

    `double` quantises the scales of a 4-bit base as well; `dtype` is by default the machine's
    compute type.
    """
    quiet()
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    dtype = dtype or compute_dtype()
    options: dict[str, Any] = {"dtype": dtype, "use_safetensors": True}
    if torch.cuda.is_available():
        # One quantised copy per GPU; 4-bit weights cannot be moved afterwards.
        options["device_map"] = {"": int(os.environ.get("LOCAL_RANK", "0"))}
    if attention != "auto":
        options["attn_implementation"] = attention
    if quantisation == "int8":
        options["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)
    elif quantisation != "none":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=quantisation,
            bnb_4bit_use_double_quant=double,
            bnb_4bit_compute_dtype=dtype,
        )
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(path, **options)
    _keep_four_bit_layout(model)
    return model


def load_tuned(base_path: Path, adapter: Path, trained: TrainSettings) -> PeftModel:
    """Load base + adapter as they were trained."""
    from peft import PeftModel

    base = load_base(base_path, trained.quantisation, double=trained.double_quantisation)
    return PeftModel.from_pretrained(base, adapter)


def context_length(model: PreTrainedModel) -> int:
    """Return how many tokens the model's context holds."""
    config = model.config.get_text_config()
    return int(getattr(config, "max_position_embeddings", None) or 4096)


def _keep_four_bit_layout(model: torch.nn.Module) -> None:
    """Keep bitsandbytes from repacking weights for CPU inference.

    With AVX512-BF16 the first forward pass in eval mode repacks every 4-bit weight in place for a
    kernel that rounds to bfloat16 and has no gradient: one evaluation in the middle of a run
    would stop the layers below from learning, without an error (bitsandbytes 0.50.2,
    nn/modules.py, Linear4bit.forward).
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010 - no nn.Module has it

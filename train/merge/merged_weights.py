"""Write the base's weights with the adapter's changes, holding one weight at a time.

A merge walks the safetensors files of the base; the base is never held whole.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors import safe_open

from memoirist.train.model.adapter import non_text_linears
from memoirist.train.model.model_loader import compute_dtype
from memoirist.train.settings import TrainSettings

if TYPE_CHECKING:
    from peft import PeftModel


Way = Literal["dequantised", "original"]
Change = Callable[[str, torch.Tensor], torch.Tensor]

INDEX = "model.safetensors.index.json"
_ADAPTER = "default"
# The format's own names (https://github.com/huggingface/safetensors, "Format").
_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
_FLOATS = {"F64", "F32", "BF16", "F16"}
_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "BF16": 2, "F16": 2, "I16": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraDelta:
    """The low-rank change of one weight: `scaling * b @ a`; DoRA adds the rows' lengths."""

    a: torch.Tensor
    b: torch.Tensor
    scaling: float
    magnitude: torch.Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deltas:
    """All changes of an adapter by the name of the weight in the model.

    `rows` holds token ids and their trained rows; `quantised` names the weights that were quantised
    in training.
    """

    loras: Mapping[str, LoraDelta] = field(default_factory=dict)
    rows: Mapping[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    quantised: frozenset[str] = frozenset()

    @property
    def touched(self) -> set[str]:
        """Return the names of all weights that a merge changes."""
        return {*self.loras, *self.rows, *self.quantised}


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """One weight in a file, not read yet."""

    file: str
    key: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def numbers(self) -> int:
        """Return how many numbers the weight has."""
        return math.prod(self.shape)


def deltas_of(model: PeftModel) -> Deltas:
    """Return the changes by the adapter on a loaded base, on the CPU and in float32."""
    from peft.tuners.lora import LoraLayer
    from peft.tuners.trainable_tokens import TrainableTokensLayer

    loras, rows, quantised = {}, {}, set()
    base = model.get_base_model()
    # Layers that text never passes are merged unchanged: they were quantised but not trained.
    untrained = {f"{path}.weight" for path in non_text_linears(base)}
    for path, module in base.named_modules():
        name = f"{path.replace('.base_layer', '').removesuffix('.token_adapter')}.weight"
        if isinstance(module, LoraLayer) and _ADAPTER in module.lora_A:
            lengths = module.lora_magnitude_vector
            loras[name] = LoraDelta(
                a=_plain(module.lora_A[_ADAPTER].weight),
                b=_plain(module.lora_B[_ADAPTER].weight),
                scaling=float(module.scaling[_ADAPTER]),
                magnitude=_plain(lengths[_ADAPTER].weight) if _ADAPTER in lengths else None,
            )
        elif isinstance(module, TrainableTokensLayer) and module.tied_adapter is None:
            ids = torch.tensor(module.token_indices[_ADAPTER])
            rows[name] = (ids, _plain(module.trainable_tokens_delta[_ADAPTER]))
        elif type(module).__name__ in {"Linear4bit", "Linear8bitLt"}:
            # A wrapped layer's own class has the same name; the branch above has handled it.
            quantised.add(name)
    return Deltas(loras=loras, rows=rows, quantised=frozenset(quantised - untrained))


def merge_weight(
    name: str, weight: torch.Tensor, deltas: Deltas, way: Way, trained: TrainSettings
) -> torch.Tensor:
    """Return one weight of the base with the adapter in it, in float32.

    Never into a quantised weight: adding and rounding again loses most of what was learnt.
    """
    if way == "dequantised" and name in deltas.quantised:
        weight = _as_trained(weight, trained)
    weight = weight.float()
    if lora := deltas.loras.get(name):
        device = weight.device
        weight = weight + (lora.b.to(device) @ lora.a.to(device)) * lora.scaling
        if lora.magnitude is not None:
            # Liu et al. 2024, arXiv 2402.09353, equation 5: direction and length are separate.
            length = torch.linalg.norm(weight, dim=1)
            weight = weight * (lora.magnitude.to(device) / length)[:, None]
    if name in deltas.rows:
        ids, values = deltas.rows[name]
        weight = weight.index_copy(0, ids.to(weight.device), values.to(weight.device))
    return weight


def keys_in_files(base: Path) -> dict[str, str]:
    """Return the key under which the files of a model hold the weight of each plain layer.

    Some families' files carry older names than their modules (GPT-NeoX: `embed_out` for
    `lm_head`). Layers whose weight is transposed or fused in the files are left out.
    """
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.core_model_loading import revert_weight_conversion

    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base))
    keys = {}
    for path, module in model.named_modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            name = f"{path}.weight"
            in_files = revert_weight_conversion(model, {name: module.weight})
            if len(in_files) == 1:
                keys[name] = next(iter(in_files))
    return keys


def stored_weights(folder: Path) -> list[StoredWeight]:
    """Return all weights of a model, file by file, without reading them."""
    return [stored for path in sorted(folder.glob("*.safetensors")) for stored in _stored_in(path)]


def _stored_in(path: Path) -> list[StoredWeight]:
    with safe_open(path, framework="pt") as file:
        parts = [(key, file.get_slice(key)) for key in file.keys()]  # noqa: SIM118 - no mapping
        return [
            StoredWeight(path.name, key, tuple(part.get_shape()), part.get_dtype())
            for key, part in parts
        ]


def rewrite_weights(source: Path, target: Path, change: Change, dtype: torch.dtype) -> int:
    """Write every weight of `source` to `target` as `change` returns it, in `dtype`.

    Files and keys stay the same; integers keep their type. Returns the bytes written. One weight
    and the result of `change` are held at a time.
    """
    total = 0
    for path in sorted(source.glob("*.safetensors")):
        total += _rewrite_file(path, target / path.name, change, dtype)
    if (source / INDEX).exists():
        index = json.loads((source / INDEX).read_text("utf-8"))
        index["metadata"] = {**index.get("metadata", {}), "total_size": total}
        (target / INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")
    return total


def _rewrite_file(source: Path, target: Path, change: Change, dtype: torch.dtype) -> int:
    weights = _stored_in(source)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for stored in weights:
        kind = _NAMES[dtype] if stored.dtype in _FLOATS else stored.dtype
        end = at + stored.numbers * _BYTES.get(kind, 1)
        header[stored.key] = {"dtype": kind, "shape": stored.shape, "data_offsets": [at, end]}
        at = end
    head = json.dumps(header, separators=(",", ":")).encode()
    # Readers map the file into memory: the numbers begin at a multiple of eight.
    head += b" " * (-len(head) % 8)
    with target.open("wb") as out:
        out.write(len(head).to_bytes(8, "little") + head)
        for stored in weights:
            # Opened for each weight: as long as a file is open, what was read stays in memory.
            with safe_open(source, framework="pt") as file:
                weight = change(stored.key, file.get_tensor(stored.key))
            if weight.is_floating_point():
                weight = weight.to(dtype)
            flat = weight.contiguous().cpu().reshape(-1)
            flat.view(torch.uint8).numpy().tofile(out)
    return at


def _as_trained(weight: torch.Tensor, trained: TrainSettings) -> torch.Tensor:
    """Quantise and dequantise a weight, by the calls that loading and training made."""
    from bitsandbytes import functional
    from bitsandbytes.nn import Params4bit

    weight = weight.to(compute_dtype()).contiguous()
    if trained.quantisation == "int8":
        packed, scales, _ = functional.int8_vectorwise_quant(weight.half())
        full: torch.Tensor = functional.int8_vectorwise_dequant(packed, scales)
        return full
    quantised = Params4bit(
        weight,
        requires_grad=False,
        quant_type=trained.quantisation,
        compress_statistics=trained.double_quantisation,
    ).to(weight.device)
    dequantised: torch.Tensor = functional.dequantize_4bit(quantised.data, quantised.quant_state)
    return dequantised


def _plain(weight: torch.Tensor) -> torch.Tensor:
    return weight.detach().float().cpu().clone()

"""What an adapter changes, weight by weight, and how one weight takes it in.

The base is never held whole: a merge walks its files and asks here for each weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from memoirist.train.model.adapter import beside_the_text
from memoirist.train.model.model_loader import compute_dtype
from memoirist.train.settings import TrainSettings

if TYPE_CHECKING:
    from peft import PeftModel


Way = Literal["dequantised", "original"]
_ADAPTER = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """The low-rank change of one weight: `scaling * b @ a`; DoRA has the rows' lengths as well."""

    a: torch.Tensor
    b: torch.Tensor
    scaling: float
    magnitude: torch.Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deltas:
    """All changes of an adapter by the name of the weight in the model.

    `rows` holds token ids and the rows that they have now; `quantised` names the weights that
    training saw in few bits.
    """

    loras: Mapping[str, Lora] = field(default_factory=dict)
    rows: Mapping[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    quantised: frozenset[str] = frozenset()

    @property
    def touched(self) -> set[str]:
        """Return the names of all weights that a merge changes."""
        return {*self.loras, *self.rows, *self.quantised}


def deltas_of(model: PeftModel) -> Deltas:
    """Return what the adapter on a loaded base changes, on the CPU and in float32."""
    from peft.tuners.lora import LoraLayer
    from peft.tuners.trainable_tokens import TrainableTokensLayer

    loras, rows, quantised = {}, {}, set()
    held = model.get_base_model()
    # What text never passes is merged as it was: it has not been trained, only held in few bits.
    beside = {f"{path}.weight" for path in beside_the_text(held)}
    for path, module in held.named_modules():
        name = f"{path.replace('.base_layer', '').removesuffix('.token_adapter')}.weight"
        if isinstance(module, LoraLayer) and _ADAPTER in module.lora_A:
            lengths = module.lora_magnitude_vector
            loras[name] = Lora(
                a=_plain(module.lora_A[_ADAPTER].weight),
                b=_plain(module.lora_B[_ADAPTER].weight),
                scaling=float(module.scaling[_ADAPTER]),
                magnitude=_plain(lengths[_ADAPTER].weight) if _ADAPTER in lengths else None,
            )
        elif isinstance(module, TrainableTokensLayer) and module.tied_adapter is None:
            ids = torch.tensor(module.token_indices[_ADAPTER])
            rows[name] = (ids, _plain(module.trainable_tokens_delta[_ADAPTER]))
        elif type(module).__name__ in {"Linear4bit", "Linear8bitLt"}:
            # A wrapped layer's own class has the same name; it was taken by the branch above.
            quantised.add(name)
    return Deltas(loras=loras, rows=rows, quantised=frozenset(quantised - beside))


def changed(
    name: str, weight: torch.Tensor, deltas: Deltas, way: Way, trained: TrainSettings
) -> torch.Tensor:
    """Return one weight of the base with the adapter in it, in float32.

    Never into few bits: adding and rounding again loses most of what was learnt.
    """
    if way == "dequantised" and name in deltas.quantised:
        weight = _as_trained(weight, trained)
    weight = weight.float()
    if lora := deltas.loras.get(name):
        device = weight.device
        weight = weight + (lora.b.to(device) @ lora.a.to(device)) * lora.scaling
        if lora.magnitude is not None:
            # Liu et al. 2024, arXiv 2402.09353, equation 5: direction and length apart.
            length = torch.linalg.norm(weight, dim=1)
            weight = weight * (lora.magnitude.to(device) / length)[:, None]
    if name in deltas.rows:
        ids, values = deltas.rows[name]
        weight = weight.index_copy(0, ids.to(weight.device), values.to(weight.device))
    return weight


def names_in_files(base: Path) -> dict[str, str]:
    """Return the key under which the files of a model hold the weight of each plain layer.

    Some families' files carry older names than their modules (GPT-NeoX: `embed_out` for
    `lm_head`). Layers whose weight is turned round or fused in the files are left out.
    """
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.core_model_loading import revert_weight_conversion

    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base))
    found = {}
    for path, module in model.named_modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            name = f"{path}.weight"
            in_files = revert_weight_conversion(model, {name: module.weight})
            if len(in_files) == 1:
                found[name] = next(iter(in_files))
    return found


def _as_trained(weight: torch.Tensor, trained: TrainSettings) -> torch.Tensor:
    """Quantise a weight and make it full again, by the calls that loading and training made."""
    from bitsandbytes import functional
    from bitsandbytes.nn import Params4bit

    weight = weight.to(compute_dtype()).contiguous()
    if trained.quantisation == "int8":
        packed, scales, _ = functional.int8_vectorwise_quant(weight.half())
        full: torch.Tensor = functional.int8_vectorwise_dequant(packed, scales)
        return full
    held = Params4bit(
        weight,
        requires_grad=False,
        quant_type=trained.quantisation,
        compress_statistics=trained.double_quantisation,
    ).to(weight.device)
    dequantised: torch.Tensor = functional.dequantize_4bit(held.data, held.quant_state)
    return dequantised


def _plain(weight: torch.Tensor) -> torch.Tensor:
    return weight.detach().float().cpu().clone()

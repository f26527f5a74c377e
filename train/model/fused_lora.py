"""The linear layers with their adapters as one operation, on weights that stay dequantised.

On a CPU bitsandbytes makes every 4-bit weight full again at each pass, forward and backward, and
peft adds a copy of each output. The numbers are the same here, without either: the full weights
are kept beside the packed ones where memory has room for them.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch.nn.functional import linear


class _Adapted(torch.autograd.Function):
    """x W' + b + s (x A') B', with W and b frozen."""

    @staticmethod
    def forward(  # noqa: PLR0913 - the operands of the formula
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        inner = flat @ a.T
        result = linear(flat, weight, bias).addmm_(inner, b.T, alpha=scale)
        ctx.save_for_backward(flat, inner, weight, a, b)
        ctx.scale = scale
        return result.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        flat, inner, weight, a, b = ctx.saved_tensors
        gradient = gradients[0].reshape(-1, weight.shape[0])
        towards = (gradient @ b).mul_(ctx.scale)
        of_a = towards.T @ flat
        of_b = (gradient.T @ inner).mul_(ctx.scale)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (gradient @ weight).addmm_(towards, a).view(*gradients[0].shape[:-1], -1)
        return of_x, None, None, of_a, of_b, None


def fuse(model: torch.nn.Module, room_bytes: int) -> int:
    """Give the adapted linear layers of a model on the CPU one operation each; return how many.

    None are where their full weights would take more than `room_bytes`, or for what one operation
    does not cover: dropout, DoRA, 8 bits, several adapters. Such layers stay peft's.
    """
    from peft.tuners.lora import LoraLayer

    layers: list[Any] = [
        part for part in model.modules() if isinstance(part, LoraLayer) and _plain(part)
    ]
    needed = 4 * sum(layer.in_features * layer.out_features for layer in layers)
    if needed > room_bytes:
        return 0
    for layer in layers:
        layer.full_weight = [_full(layer.get_base_layer())]
        layer.forward = MethodType(_forward, layer)
    return len(layers)


def _plain(layer: Any) -> bool:
    base = layer.get_base_layer()
    if not isinstance(base, torch.nn.Linear) or base.weight.device.type != "cpu":
        return False
    if hasattr(base, "state") or len(layer.lora_A) != 1 or layer.lora_variant:
        return False
    dropouts = layer.lora_dropout.values()
    biased = any(part.bias is not None for part in layer.lora_B.values())
    return not biased and all(isinstance(part, torch.nn.Identity) for part in dropouts)


def _full(base: Any) -> torch.Tensor:
    state = getattr(base.weight, "quant_state", None)
    if state is None:
        weight: torch.Tensor = base.weight.detach()
        return weight
    from bitsandbytes.functional import dequantize_4bit

    full: torch.Tensor = dequantize_4bit(base.weight.data, state)
    return full.to(torch.float32).contiguous()


def _forward(layer: Any, x: torch.Tensor, *arguments: Any, **named: Any) -> torch.Tensor:
    name = layer.active_adapters[0] if len(layer.active_adapters) == 1 else None
    if layer.disable_adapters or layer.merged or named or name not in layer.lora_A:
        plain: torch.Tensor = type(layer).forward(layer, x, *arguments, **named)
        return plain
    result: torch.Tensor = _Adapted.apply(  # type: ignore[no-untyped-call]
        x,
        layer.full_weight[0],
        layer.get_base_layer().bias,
        layer.lora_A[name].weight,
        layer.lora_B[name].weight,
        layer.scaling[name],
    )
    return result

"""Faster forward and backward passes for LoRA layers and trained token rows, with equal results.

On a CPU bitsandbytes dequantises every 4-bit weight at each pass, forward and backward, and peft
adds a copy of each output. Here the full weights are kept beside the packed ones where memory has
room for them, and a layer with its adapter is one operation.

peft writes trained token rows into a copy of the whole matrix, forward, and makes a gradient of
that size, backward: with a vocabulary of 32,000 that was a third of a training step on a CPU. Here
the frozen matrix is read as it is and the rows are put in their places afterwards.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch.nn.functional import embedding, linear


class _LoraLinear(torch.autograd.Function):
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
        of_inner = (gradient @ b).mul_(ctx.scale)
        of_a = of_inner.T @ flat
        of_b = (gradient.T @ inner).mul_(ctx.scale)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (gradient @ weight).addmm_(of_inner, a).view(*gradients[0].shape[:-1], -1)
        return of_x, None, None, of_a, of_b, None


def fuse_lora(model: torch.nn.Module, room_bytes: int) -> int:
    """Make each adapted linear layer of a model on the CPU one operation; return how many.

    None, where their full weights would take more than `room_bytes`. Layers that the operation
    does not cover stay peft's: dropout, DoRA, 8 bits, several adapters.
    """
    from peft.tuners.lora import LoraLayer

    layers: list[Any] = [
        part for part in model.modules() if isinstance(part, LoraLayer) and _is_covered(part)
    ]
    if 4 * sum(layer.in_features * layer.out_features for layer in layers) > room_bytes:
        return 0
    for layer in layers:
        # In a list, so that torch does not take it for a weight of the model.
        layer.full_weight = [_full_weight(layer.get_base_layer())]
        layer.forward = MethodType(_lora_forward, layer)
    return len(layers)


def _is_covered(layer: Any) -> bool:
    base = layer.get_base_layer()
    if not isinstance(base, torch.nn.Linear) or base.weight.device.type != "cpu":
        return False
    if hasattr(base, "state") or len(layer.lora_A) != 1 or layer.lora_variant:
        return False
    dropouts = layer.lora_dropout.values()
    biased = any(part.bias is not None for part in layer.lora_B.values())
    return not biased and all(isinstance(part, torch.nn.Identity) for part in dropouts)


def _full_weight(base: Any) -> torch.Tensor:
    state = getattr(base.weight, "quant_state", None)
    if state is None:
        weight: torch.Tensor = base.weight.detach()
        return weight
    from bitsandbytes.functional import dequantize_4bit

    full: torch.Tensor = dequantize_4bit(base.weight.data, state)
    return full.to(torch.float32).contiguous()


def _lora_forward(layer: Any, x: torch.Tensor, *arguments: Any, **named: Any) -> Any:
    name = layer.active_adapters[0] if len(layer.active_adapters) == 1 else None
    if layer.disable_adapters or layer.merged or named or name not in layer.lora_A:
        return type(layer).forward(layer, x, *arguments, **named)
    return _LoraLinear.apply(  # type: ignore[no-untyped-call]
        x,
        layer.full_weight[0],
        layer.get_base_layer().bias,
        layer.lora_A[name].weight,
        layer.lora_B[name].weight,
        layer.scaling[name],
    )


def fuse_token_rows(model: torch.nn.Module) -> int:
    """Give layers with trained token rows their faster forward pass; return how many there are."""
    from peft.tuners.trainable_tokens import TrainableTokensLayer

    layers = [part for part in model.modules() if isinstance(part, TrainableTokensLayer)]
    for layer in layers:
        layer.forward_adapters = MethodType(_token_rows_forward, layer)
    return len(layers)


def active_token_rows(layer: Any) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return the ids and the weights of a layer's trained rows, None when they are not in use."""
    active = list(layer.active_adapters)
    if layer.disable_adapters or layer.merged or len(active) != 1:
        return None
    device = layer.base_layer.weight.device
    ids = torch.tensor(layer.token_indices[active[0]], device=device)
    return ids, layer.trainable_tokens_delta[active[0]]


def _token_rows_forward(
    layer: Any, x: torch.Tensor, active_adapters: Any, *_: Any, **__: Any
) -> Any:
    active, base = active_token_rows(layer), layer.base_layer
    if active is None:
        return type(layer).forward_adapters(layer, x, active_adapters)
    ids, rows = active
    weight = base.weight
    if isinstance(base, torch.nn.Embedding):
        row_of_token = torch.full((weight.shape[0],), -1, device=weight.device, dtype=torch.long)
        row_of_token[ids] = torch.arange(len(ids), device=weight.device)
        at = row_of_token[x]
        own = embedding(at.clamp(min=0), rows).to(weight.dtype)
        result = torch.where((at >= 0)[..., None], own, embedding(x, weight))
        scale = layer._get_embed_scale()
        return result if scale is None else result * scale.to(result.dtype)
    logits = linear(x, weight, base.bias)
    # The difference between trained and frozen rows; adding it copies no logits in the backward.
    difference = linear(x, (rows - weight[ids].to(rows.dtype)).to(x.dtype)).to(logits.dtype)
    return logits.index_add(-1, ids, difference)

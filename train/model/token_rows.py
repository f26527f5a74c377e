"""Trainable rows of an embedding and a head, without a copy of the matrix at every pass.

peft writes the trained rows into a copy of the whole matrix, forward, and makes a gradient of that
size, backward: with a vocabulary of 32,000 that was a third of a training step on a CPU. Here the
frozen matrix is read as it is and the rows are put in their places afterwards.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch.nn.functional import embedding, linear


def lighten(model: torch.nn.Module) -> int:
    """Give every layer of trainable rows its lighter forward pass; return how many there are."""
    from peft.tuners.trainable_tokens import TrainableTokensLayer

    layers = [part for part in model.modules() if isinstance(part, TrainableTokensLayer)]
    for layer in layers:
        layer.forward_adapters = MethodType(_forward, layer)
    return len(layers)


def rows_in_use(layer: Any) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return the ids and the weights of a layer's trained rows, None when they are not in use."""
    active = list(layer.active_adapters)
    if layer.disable_adapters or layer.merged or len(active) != 1:
        return None
    device = layer.base_layer.weight.device
    ids = torch.tensor(layer.token_indices[active[0]], device=device)
    return ids, layer.trainable_tokens_delta[active[0]]


def _forward(layer: Any, x: torch.Tensor, active_adapters: Any, *_: Any, **__: Any) -> torch.Tensor:
    found, base = rows_in_use(layer), layer.base_layer
    if found is None:
        plain: torch.Tensor = type(layer).forward_adapters(layer, x, active_adapters)
        return plain
    ids, rows = found
    weight = base.weight
    if isinstance(base, torch.nn.Embedding):
        place = torch.full((weight.shape[0],), -1, device=weight.device, dtype=torch.long)
        place[ids] = torch.arange(len(ids), device=weight.device)
        at = place[x]
        own = embedding(at.clamp(min=0), rows).to(weight.dtype)
        result = torch.where((at >= 0)[..., None], own, embedding(x, weight))
        scale = layer._get_embed_scale()
        return result if scale is None else result * scale.to(result.dtype)
    logits = linear(x, weight, base.bias)
    # What the rows say beyond the frozen ones; adding it needs no copy of the logits backward.
    more = linear(x, (rows - weight[ids].to(rows.dtype)).to(x.dtype)).to(logits.dtype)
    return logits.index_add(-1, ids, more)

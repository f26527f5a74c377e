"""The loss at the places that have a label: the head's products are never kept whole.

With a vocabulary of 128,000 the logits of 2,048 tokens take a gigabyte in float32, three times
over until the backward pass is done. Here a few hundred places at a time give their loss and their
gradient at once, and what stays is as small as the hidden states.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import linear

from memoirist.train.model.token_rows import rows_in_use

# Logits at a time, in numbers: 32 MB in float32, which stays near a CPU's caches; 512 MB on a GPU.
CPU_LOGITS, GPU_LOGITS = 2**23, 2**27


@dataclass(frozen=True, slots=True)
class Head:
    """The linear layer that makes logits of hidden states, and its trained rows if it has any."""

    layer: torch.nn.Linear
    trained: Any = None

    def loss(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the summed negative log-likelihood of `targets`, places x width in."""
        weight = self.layer.weight
        found = None if self.trained is None else rows_in_use(self.trained)
        ids, rows = (None, None) if found is None else found
        budget = CPU_LOGITS if weight.device.type == "cpu" else GPU_LOGITS
        chunk = max(1, budget // weight.shape[0])
        # Asked here: within the function below gradients are off in any case.
        wanted = torch.is_grad_enabled()
        fixed = (weight, self.layer.bias, targets, ids, chunk, wanted)
        loss: torch.Tensor = _HeadLoss.apply(  # type: ignore[no-untyped-call]
            hidden.to(weight.dtype), rows, fixed
        )
        return loss


class _HeadLoss(torch.autograd.Function):
    """Cross entropy of a frozen head; its gradient is made in the forward pass, chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, rows: torch.Tensor | None, fixed: Any
    ) -> torch.Tensor:
        weight, _, targets, ids, chunk, wanted = fixed
        more = None if rows is None else (rows - weight[ids].to(rows.dtype)).to(hidden.dtype)
        of_hidden = torch.empty_like(hidden, dtype=torch.float32) if wanted else None
        of_rows = torch.zeros_like(rows) if wanted and rows is not None else None
        total = torch.zeros((), device=hidden.device)
        for start in range(0, len(targets), chunk):
            part = slice(start, start + chunk)
            logits, loss = _logits_and_loss(hidden[part], targets[part], more, fixed)
            total += loss
            if of_hidden is None:
                continue
            gradient = logits.to(hidden.dtype)
            of_hidden[part] = gradient @ weight
            if more is not None and of_rows is not None:
                own = gradient[:, ids]
                of_hidden[part] += own @ more
                of_rows += (own.T @ hidden[part]).to(of_rows.dtype)
        ctx.save_for_backward(of_hidden, of_rows)
        ctx.dtype = hidden.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        of_hidden, of_rows = ctx.saved_tensors
        factor = gradients[0]
        of_hidden = (of_hidden * factor).to(ctx.dtype)
        return of_hidden, None if of_rows is None else of_rows * factor, None


def _logits_and_loss(
    hidden: torch.Tensor, targets: torch.Tensor, more: torch.Tensor | None, fixed: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradient of the loss by the logits, in their place, and the loss."""
    weight, bias, _, ids, *_ = fixed
    logits = linear(hidden, weight, bias).float()
    if more is not None:
        logits.index_add_(1, ids, linear(hidden, more).float())
    wanted = targets[:, None]
    top = logits.logsumexp(dim=1, keepdim=True)
    loss = (top - logits.gather(1, wanted)).sum()
    gradient = logits.sub_(top).exp_()
    gradient.scatter_add_(1, wanted, gradient.new_full(wanted.shape, -1.0))
    return gradient, loss


def decoder_of(model: Any) -> Any:
    """Return the part of a causal model that makes hidden states."""
    return model.get_decoder()


def plain_head(model: Any) -> Head | None:
    """Return the head of a causal model whose logits are just its product with hidden states.

    Gemma caps them, Granite and Cohere scale them: None, and the model's own forward pass is
    used. Found by trying: hidden states a thousand times as large show any such step.
    """
    whole = model.get_output_embeddings()
    trained = getattr(whole, "token_adapter", None)
    layer = whole if trained is None else trained.base_layer
    if not isinstance(layer, torch.nn.Linear) or not layer.weight.is_floating_point():
        return None
    seen: list[torch.Tensor] = []

    def enlarge(_: Any, __: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state * 1000
        seen.append(output.last_hidden_state)
        return output

    handle = decoder_of(model).register_forward_hook(enlarge)
    was_training = model.training
    model.eval()
    ids = torch.arange(1, 9, device=layer.weight.device)[None]
    try:
        with torch.inference_mode():
            told = model(input_ids=ids, use_cache=False).logits.float()
            ours = whole(seen[0].to(layer.weight.dtype)).float()
    finally:
        handle.remove()
        model.train(was_training)
    return Head(layer, trained) if torch.allclose(told, ours, rtol=0.02, atol=0.5) else None

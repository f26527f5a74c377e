"""Run rows through a model, forward and backward: packed rows kept apart, and the loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy, linear
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from memoirist.train.dataset.batches import (
    Pack,
    best_fit,
    lay_end_to_end,
    pad_right,
    padded_bins,
    trained_count,
)
from memoirist.train.dataset.tokenize import TokenRow
from memoirist.train.inference.batch_inference import Loss
from memoirist.train.loop.memory import is_out_of_memory
from memoirist.train.model.adapter import active_token_rows

ROW_BY_ROW = "row_by_row"
# Largest difference between a row alone and in a pack, as a share of the largest value: in float32
# only rounding; in 16 bits other kernels round differently. A leak is a hundred times as large.
TOLERANCE = {torch.float32: 1e-4}
COARSE_TOLERANCE = 5e-2
# Logits at a time, in numbers: 32 MB in float32, which stays near a CPU's caches; 512 MB on a GPU.
CPU_LOGITS, GPU_LOGITS = 2**23, 2**27


class ForwardPass:
    """How rows go through a model with its adapter: packed where the model keeps them apart."""

    def __init__(self, tuned: Any, packing: bool) -> None:
        """Try out what `tuned`, with a fresh adapter, allows."""
        self.tuned = tuned
        self.model = tuned.get_base_model()
        self.head = plain_head(self.model)
        # On a GPU the Trainer sets this to its mixed precision.
        self.autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
        self.packed = False
        if packing:
            implementation = self.model.config.get_text_config()._attn_implementation
            by_row = _attend_row_by_row(self.model)
            self.packed = self._is_packable()
            if not self.packed and by_row:
                # The mask that transformers makes of restarting positions may still work.
                self.model.set_attn_implementation(implementation)
                self.packed = self._is_packable()

    def _is_packable(self) -> bool:
        vocabulary = self.model.get_input_embeddings().weight.shape[0]
        try:
            return _keeps_rows_apart(self.model.get_decoder(), vocabulary)
        except (TypeError, ValueError, RuntimeError):
            # The model takes no positions, or needs a mask.
            return False

    def bins(self, rows: Sequence[TokenRow], capacity: int) -> list[list[TokenRow]]:
        """Return `rows` by pass, each of at most `capacity` tokens or a single row."""
        lengths = [len(row.input_ids) for row in rows]
        split = best_fit if self.packed else padded_bins
        return [[rows[at] for at in numbers] for numbers in split(lengths, capacity)]

    def run(
        self, rows: Sequence[TokenRow], backward: Callable[[torch.Tensor], None] | None = None
    ) -> torch.Tensor:
        """Return the loss summed over the trained tokens of `rows`, after `backward` of it."""
        device = self.model.device
        pack = lay_end_to_end(rows, device) if self.packed else pad_right(rows, device)
        with _rows_apart(pack.lengths):
            with self.autocast():
                loss = self._loss(pack)
            if backward is not None:
                backward(loss)
        return loss.detach()

    def measure(self, rows: Iterable[TokenRow], capacity: int) -> Loss:
        """Return the loss over all trained tokens of `rows`; halve passes that find no memory."""
        was_training = self.tuned.training
        self.tuned.eval()
        loss, queue = Loss(), [list(rows)]
        with torch.inference_mode():
            while queue:
                for chosen in self.bins(queue.pop(), capacity):
                    try:
                        total = float(self.run(chosen))
                        loss += Loss(total=total, tokens=trained_count(chosen))
                    except (RuntimeError, MemoryError) as error:
                        if not is_out_of_memory(error) or len(chosen) == 1:
                            raise
                        half = len(chosen) // 2
                        queue += [chosen[:half], chosen[half:]]
        self.tuned.train(was_training)
        return loss

    def largest_micro_batch(self, rows: Sequence[TokenRow], limit: int) -> int:
        """Return how many of the longest rows, up to `limit`, fit through a pass on a GPU.

        Tried before training, beside what the optimizer will hold: finding out in the middle of a
        run costs the step that it happens in.
        """
        longest = sorted(rows, key=lambda row: -len(row.input_ids))
        micro = min(limit, len(longest))
        weights = [weight for weight in self.tuned.parameters() if weight.requires_grad]
        self.tuned.train()
        while micro > 1:
            moments: list[torch.Tensor] = []
            try:
                moments = [torch.empty_like(weight) for weight in [*weights, *weights]]
                self.run(longest[:micro], torch.autograd.backward)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                micro //= 2
            finally:
                del moments
                self.tuned.zero_grad(set_to_none=True)
                torch.cuda.empty_cache()
        return micro

    def _loss(self, pack: Pack) -> torch.Tensor:
        inputs = {"input_ids": pack.input_ids, "use_cache": False}
        if self.packed:
            # Not of padded rows: every model knows their positions, and not all take them.
            inputs["position_ids"] = pack.positions
        if self.head is not None:
            hidden = self.model.get_decoder()(**inputs).last_hidden_state
            return self.head.loss(hidden.flatten(0, 1)[pack.places], pack.targets)
        length = pack.input_ids.shape[1]
        columns = torch.unique(pack.places % length)
        logits = self.tuned(**inputs, logits_to_keep=columns).logits
        row, column = pack.places // length, torch.searchsorted(columns, pack.places % length)
        return cross_entropy(logits[row, column].float(), pack.targets, reduction="sum")


# Rows that lie end to end are kept apart by calling attention row by row.

# The rows of the pack that is in the model, by length. Of the module and not of a thread: with
# gradient checkpointing autograd runs the layers again in a thread of its own.
_lengths: list[tuple[int, ...]] = []


@contextmanager
def _rows_apart(lengths: tuple[int, ...]) -> Iterator[None]:
    """Let attention see `lengths` tokens at a time, forward and backward."""
    if not lengths:
        yield
        return
    _lengths.append(lengths)
    try:
        yield
    finally:
        _lengths.pop()


def _attend_row_by_row(model: Any) -> bool:
    """Switch a model from SDPA to the same kernel called row by row; False for another kernel.

    A mask over the whole pack would cost the square of its length, and its rows are short.
    """
    config = model.config.get_text_config()
    if config._attn_implementation != "sdpa":
        return False
    AttentionInterface.register(ROW_BY_ROW, _attention)
    AttentionMaskInterface.register(ROW_BY_ROW, _mask)
    model.set_attn_implementation(ROW_BY_ROW)
    return True


def _keeps_rows_apart(decoder: Any, vocabulary: int) -> bool:
    """Tell whether a row gives the same in a pack as alone, whatever lies before it."""
    was_training = decoder.training
    decoder.eval()
    device = next(decoder.parameters()).device
    generator = torch.Generator().manual_seed(1)
    first, other, row = (
        torch.randint(vocabulary, (1, length), generator=generator).to(device)
        for length in (23, 23, 41)
    )
    try:
        with torch.inference_mode():
            alone = _hidden_states(decoder, [row])
            packed = _hidden_states(decoder, [first, row])
            swapped = _hidden_states(decoder, [other, row])
    finally:
        decoder.train(was_training)
    scale = alone.abs().max()
    tolerance = TOLERANCE.get(alone.dtype, COARSE_TOLERANCE)
    leaked = (packed[23:] - swapped[23:]).abs().max() > 1e-3 * scale * (tolerance / 1e-4) ** 0.5
    changed = (packed[23:] - alone).abs().max() > tolerance * scale
    return not bool(leaked) and not bool(changed)


def _hidden_states(decoder: Any, rows: Sequence[torch.Tensor]) -> torch.Tensor:
    lengths = tuple(row.shape[1] for row in rows)
    positions = torch.cat([torch.arange(n, device=rows[0].device) for n in lengths])
    with _rows_apart(lengths):
        states: torch.Tensor = decoder(
            input_ids=torch.cat(list(rows), dim=1), position_ids=positions[None], use_cache=False
        ).last_hidden_state[0]
    return states


def _mask(*arguments: Any, **named: Any) -> Any:
    return None if _lengths else sdpa_mask(*arguments, **named)


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **named: Any,
) -> Any:
    if not _lengths:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **named)
    lengths = list(_lengths[-1])
    if query.shape[2] != sum(lengths):
        raise RuntimeError(f"a pack of {sum(lengths)} tokens came as {query.shape[2]}")
    rows = zip(*(torch.split(part, lengths, dim=2) for part in (query, key, value)), strict=True)
    pieces = [
        sdpa_attention_forward(module, *row, _window_mask(row[0], named), **named)[0]
        for row in rows
    ]
    return torch.cat(pieces, dim=1), None


def _window_mask(query: torch.Tensor, named: dict[str, Any]) -> torch.Tensor | None:
    """Return the mask of a row that is longer than the layer's sliding window, else None."""
    window, length = named.get("sliding_window"), query.shape[2]
    if window is None or length <= window:
        return None
    at = torch.arange(length, device=query.device)
    distance = at[:, None] - at[None, :]
    mask: torch.Tensor = (distance >= 0) & (distance < window)
    return mask[None, None]


# The loss at the places that have a label, without ever holding all logits. With a vocabulary of
# 128,000 the logits of 2,048 tokens take a gigabyte in float32, three times over until the backward
# pass is done. Here a few hundred places at a time give their loss and their gradient at once, and
# what stays is as small as the hidden states.


@dataclass(frozen=True, slots=True)
class Head:
    """The linear layer that makes logits of hidden states, and its trained rows if it has any."""

    layer: torch.nn.Linear
    trained: Any = None

    def loss(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the summed negative log-likelihood of `targets`; `hidden` is places x width."""
        weight = self.layer.weight
        active = None if self.trained is None else active_token_rows(self.trained)
        ids, rows = active or (None, None)
        budget = CPU_LOGITS if weight.device.type == "cpu" else GPU_LOGITS
        chunk = max(1, budget // weight.shape[0])
        # Asked here: inside the function below gradients are always off.
        with_gradient = torch.is_grad_enabled()
        fixed = (weight, self.layer.bias, targets, ids, chunk, with_gradient)
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
        weight, _, targets, ids, chunk, with_gradient = fixed
        # What the trained rows add to the frozen ones.
        more = None if rows is None else (rows - weight[ids].to(rows.dtype)).to(hidden.dtype)
        of_hidden = torch.empty_like(hidden, dtype=torch.float32) if with_gradient else None
        of_rows = torch.zeros_like(rows) if with_gradient and rows is not None else None
        total = torch.zeros((), device=hidden.device)
        for start in range(0, len(targets), chunk):
            part = slice(start, start + chunk)
            logits, loss = _gradient_and_loss(hidden[part], targets[part], more, fixed)
            total += loss
            if of_hidden is None:
                continue
            gradient = logits.to(hidden.dtype)
            of_hidden[part] = gradient @ weight
            if more is not None and of_rows is not None:
                of_ids = gradient[:, ids]
                of_hidden[part] += of_ids @ more
                of_rows += (of_ids.T @ hidden[part]).to(of_rows.dtype)
        ctx.save_for_backward(of_hidden, of_rows)
        ctx.dtype = hidden.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        of_hidden, of_rows = ctx.saved_tensors
        factor = gradients[0]
        of_hidden = (of_hidden * factor).to(ctx.dtype)
        return of_hidden, None if of_rows is None else of_rows * factor, None


def _gradient_and_loss(
    hidden: torch.Tensor, targets: torch.Tensor, more: torch.Tensor | None, fixed: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradient of the loss by the logits, in their memory, and the loss."""
    weight, bias, _, ids, *_ = fixed
    logits = linear(hidden, weight, bias).float()
    if more is not None:
        logits.index_add_(1, ids, linear(hidden, more).float())
    column = targets[:, None]
    top = logits.logsumexp(dim=1, keepdim=True)
    loss = (top - logits.gather(1, column)).sum()
    gradient = logits.sub_(top).exp_()
    gradient.scatter_add_(1, column, gradient.new_full(column.shape, -1.0))
    return gradient, loss


def plain_head(model: Any) -> Head | None:
    """Return the head of a causal model whose logits are just its product with hidden states.

    None for models such as Gemma, which caps its logits, Granite and Cohere, which scale them:
    their own forward pass is used. This is tried out: hidden states a thousand times as large show
    any such step.
    """
    output_layer = model.get_output_embeddings()
    trained = getattr(output_layer, "token_adapter", None)
    layer = output_layer if trained is None else trained.base_layer
    if not isinstance(layer, torch.nn.Linear) or not layer.weight.is_floating_point():
        return None
    states: list[torch.Tensor] = []

    def enlarge(_: Any, __: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state * 1000
        states.append(output.last_hidden_state)
        return output

    handle = model.get_decoder().register_forward_hook(enlarge)
    was_training = model.training
    model.eval()
    ids = torch.arange(1, 9, device=layer.weight.device)[None]
    try:
        with torch.inference_mode():
            logits = model(input_ids=ids, use_cache=False).logits.float()
            product = output_layer(states[0].to(layer.weight.dtype)).float()
    finally:
        handle.remove()
        model.train(was_training)
    return Head(layer, trained) if torch.allclose(logits, product, rtol=0.02, atol=0.5) else None

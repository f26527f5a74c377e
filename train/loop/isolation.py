"""Keep rows that lie end to end apart: attention row by row, and the test that nothing leaks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ROW_BY_ROW = "row_by_row"
# Largest difference, of the largest value, between a row alone and in a pack: of rounding alone
# in float32; in 16 bits other kernels round otherwise. A leak is a hundred times as large.
TOLERANCE = {torch.float32: 1e-4}
COARSE = 5e-2

# The rows of the pack that is in the model, by length. Of the module and not of a thread: with
# gradient checkpointing the layers run again in a thread of autograd's.
_rows: list[tuple[int, ...]] = []


@contextmanager
def rows_apart(lengths: Sequence[int]) -> Iterator[None]:
    """Let attention see `lengths` tokens at a time, forward and backward."""
    if not lengths:
        yield
        return
    _rows.append(tuple(lengths))
    try:
        yield
    finally:
        _rows.pop()


def attend_by_row(model: Any) -> bool:
    """Switch a model from SDPA to the same kernel called row by row; False where it has another.

    A mask over the whole pack would cost the square of its length, and its rows are short.
    """
    config = model.config.get_text_config()
    if config._attn_implementation != "sdpa":
        return False
    AttentionInterface.register(ROW_BY_ROW, _attention)
    AttentionMaskInterface.register(ROW_BY_ROW, _mask)
    model.set_attn_implementation(ROW_BY_ROW)
    return True


def keeps_apart(decoder: Any, vocabulary: int) -> bool:
    """Tell whether a row in a pack comes out as it does alone, whatever lies before it."""
    was_training = decoder.training
    decoder.eval()
    device = next(decoder.parameters()).device
    chance = torch.Generator().manual_seed(1)
    first, other, row = (
        torch.randint(vocabulary, (1, length), generator=chance).to(device)
        for length in (23, 23, 41)
    )
    try:
        with torch.inference_mode():
            alone = _hidden(decoder, [row])
            packed, swapped = _hidden(decoder, [first, row]), _hidden(decoder, [other, row])
    finally:
        decoder.train(was_training)
    scale = alone.abs().max()
    allowed = TOLERANCE.get(alone.dtype, COARSE)
    leaked = (packed[23:] - swapped[23:]).abs().max() > 1e-3 * scale * (allowed / 1e-4) ** 0.5
    changed = (packed[23:] - alone).abs().max() > allowed * scale
    return not bool(leaked) and not bool(changed)


def _hidden(decoder: Any, rows: Sequence[torch.Tensor]) -> torch.Tensor:
    lengths = [row.shape[1] for row in rows]
    positions = torch.cat([torch.arange(n, device=rows[0].device) for n in lengths])
    with rows_apart(lengths):
        found: torch.Tensor = decoder(
            input_ids=torch.cat(list(rows), dim=1), position_ids=positions[None], use_cache=False
        ).last_hidden_state[0]
    return found


def _mask(*arguments: Any, **named: Any) -> Any:
    return None if _rows else sdpa_mask(*arguments, **named)


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **named: Any,
) -> tuple[torch.Tensor, None]:
    if not _rows:
        whole: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **named
        )
        return whole
    lengths = list(_rows[-1])
    if query.shape[2] != sum(lengths):
        raise RuntimeError(f"a pack of {sum(lengths)} tokens came as {query.shape[2]}")
    pieces = [
        sdpa_attention_forward(module, *parts, _window(parts[0], named), **named)[0]
        for parts in zip(
            *(torch.split(part, lengths, dim=2) for part in (query, key, value)), strict=True
        )
    ]
    return torch.cat(pieces, dim=1), None


def _window(query: torch.Tensor, named: dict[str, Any]) -> torch.Tensor | None:
    """Return the mask of a row that is longer than the layer's sliding window, else None."""
    window, length = named.get("sliding_window"), query.shape[2]
    if window is None or length <= window:
        return None
    at = torch.arange(length, device=query.device)
    distance = at[:, None] - at[None, :]
    seen: torch.Tensor = (distance >= 0) & (distance < window)
    return seen[None, None]
